"""Where the chat of a conversation stands: read off its messages and jobs, and off what this process is answering."""

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from malha.api.chat.v1 import chat_pb2 as api
from malha.chat.store import history
from malha.runtime.auth import Principal
from malha.runtime.errors import FailedPrecondition
from malha.store.database import Database

_AUTHORS: Final = {"customer": api.AUTHOR_USER, "agent": api.AUTHOR_ASSISTANT, "bot": api.AUTHOR_ASSISTANT}
_WAITING: Final = frozenset({"queued", "running"})


class Underway:
    """The conversations in which this process is answering."""

    def __init__(self) -> None:
        self._answers: Counter[uuid.UUID] = Counter()

    def __contains__(self, conversation: uuid.UUID) -> bool:
        return self._answers[conversation] > 0

    @contextmanager
    def answering(self, conversation: uuid.UUID | None) -> Iterator[None]:
        """Holds while an answer is given and kept."""
        if conversation is None:
            yield
            return
        self._answers[conversation] += 1
        try:
            yield
        finally:
            self._answers[conversation] -= 1
            if not self._answers[conversation]:
                del self._answers[conversation]


async def get_status(database: Database | None, underway: Underway, request: api.GetStatusRequest, who: Principal) -> api.GetStatusResponse:
    """The answer to `GetStatus`. Raises NotFound, FailedPrecondition without a database."""
    if database is None or who.tenant_id is None:
        raise FailedPrecondition(
            "this server keeps no conversations: set MALHA_DATABASE_URL, or run `malha up`", reason="STORE_NOT_CONFIGURED"
        )
    async with database.tenant_tx(who.tenant_id) as connection:
        conversation = await history.find(connection, request.conversation_id)
        last = await history.last(connection, conversation)
        job = await history.newest_job(connection, conversation)
    answer = api.GetStatusResponse(status=_status(conversation in underway, last, job))
    if last is not None:
        answer.last_message.CopyFrom(_message(last))
    if job is not None:
        answer.job_id = str(job["id"])
        answer.reason = job["reason"] if answer.status == "failed" else ""
    return answer


def _status(answering: bool, last: Mapping[str, Any] | None, job: Mapping[str, Any] | None) -> str:
    if answering or (job is not None and job["status"] in _WAITING):
        return "running"
    failed = job is not None and job["status"] == "failed"
    if failed and job is not None and (last is None or last["created_at"] <= job["ended_at"]):
        return "failed"
    if last is None or last["sender_type"] != "bot":
        return "idle"
    return "partial" if last["partial"] else "done"


def _message(row: Mapping[str, Any]) -> api.KeptMessage:
    written = Timestamp()
    written.FromDatetime(row["created_at"])
    return api.KeptMessage(
        id=str(row["id"]), author=_AUTHORS.get(row["sender_type"], api.AUTHOR_SYSTEM), text=row["text"], create_time=written
    )
