"""Jobs that answer a message of a conversation: for questions that take a model longer than a client waits.

Chat keeps question and answer in the conversation; the job says whether there will be one, and outlives the process that works on it. Chat runs in
this very process, where a caller who was let in needs no token: the job asks as the tenant who made it.
"""

import asyncio
import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Final

import grpc

from malha.api.chat.v1 import chat_pb2 as chat_api
from malha.api.insight.v1 import rules_pb2
from malha.api.jobs.v1 import jobs_pb2 as api
from malha.jobs import store
from malha.jobs.attempts import Attempt, Attempting
from malha.jobs.recording import AudioChannel
from malha.jobs.settings import JobSettings
from malha.runtime.auth import Principal, current_principal
from malha.runtime.errors import FailedPrecondition, MalhaError, Unavailable
from malha.runtime.scopes import STREAM
from malha.runtime.status import from_rpc_error
from malha.store.database import Database
from malha.store.roles import Connection
from malha.text.pii import scrub_text

_CHAT: Final = "/malha.api.chat.v1.ChatService/Chat"
_ANSWER_SECONDS: Final = 600
"""The longest an answer may take by Chat's contract."""
_FOR_GOOD: Final = frozenset({"BUDGET_EXHAUSTED", "MODEL_REFUSED"})
"""Reasons that another attempt does not change."""


class Chatting(Attempting[None]):
    """Runs them. ``chat`` gives the channel to Chat in this process."""

    def __init__(self, database: Database, chat: AudioChannel, settings: JobSettings) -> None:
        super().__init__(database, settings)
        self._chat = chat

    def _work(self, attempt: Attempt) -> "Question":
        return Question(self._chat(), attempt.tenant, attempt.job)

    async def _keep(self, connection: Connection, attempt: Attempt, done: None) -> bool:
        del done
        return await store.answered(connection, attempt.job, attempt.session)

    def _discard(self, tenant: uuid.UUID, job: uuid.UUID) -> None:
        """Nothing is kept beside the row."""


class Question:
    """One question on its way through Chat."""

    def __init__(self, channel: grpc.aio.Channel, tenant: uuid.UUID, job: store.JobRow) -> None:
        self._channel = channel
        self._job = job
        self._principal = Principal(str(tenant), secrets.token_urlsafe(32), tenant, f"job:{job.id}", frozenset({STREAM}))
        self.progress = 0.0

    async def run(self) -> None:
        """Have it answered. Raises what Chat says; Unavailable where no model answered, FailedPrecondition where asking again would not help."""
        current_principal.set(self._principal)
        metadata = (("authorization", f"Bearer {self._principal.token}"),)
        try:
            end = await self._ask(metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        if end.finish_reason in {"error", "cancelled"}:
            raise self._failure(end.reason or "MODEL_UNAVAILABLE")

    async def _ask(self, metadata: tuple[tuple[str, str], ...]) -> chat_api.MessageEnd:
        call: Any = self._channel.stream_stream(
            _CHAT, request_serializer=chat_api.ChatRequest.SerializeToString, response_deserializer=chat_api.ChatResponse.FromString
        )(metadata=metadata)
        try:
            for request in _requests(self._job):
                await call.write(request)
            while (response := await call.read()) is not grpc.aio.EOF:
                if response.HasField("delta"):
                    self.progress = 0.5
                elif response.HasField("message_end"):
                    end: chat_api.MessageEnd = response.message_end
                    await call.read()
                    return end
        except asyncio.InvalidStateError:
            await call.read()  # the call is over, and says why
        finally:
            call.cancel()
        raise Unavailable("Chat ended the answer without a word", reason="SERVICE_AWAY")

    def _failure(self, reason: str) -> MalhaError:
        """What was said in part is kept and not said again."""
        if self.progress or reason in _FOR_GOOD:
            return FailedPrecondition("the answer could not be given, or only in part", reason=reason)
        return Unavailable("no model could answer", reason=reason)


def input_of(wanted: api.ChatJob, configuration: rules_pb2.Configuration) -> Mapping[str, str]:
    """What a job keeps of its question, without personal data unless the tenant keeps it. Takes milliseconds per thousand words."""
    text = wanted.message
    if not configuration.keep_personal_data:
        names = tuple(configuration.names)
        text = "\n".join(scrub_text(line, wanted.language, names) for line in text.splitlines())
    return {
        "conversation_id": wanted.conversation_id,
        "message": text,
        "alias": wanted.alias,
        "knowledge_base": wanted.knowledge_base,
        "language": wanted.language,
    }


def _requests(job: store.JobRow) -> list[chat_api.ChatRequest]:
    """By the job's name Chat knows the question again, and an answer that an earlier attempt, whose process ended, has kept."""
    given = job.input
    opening = chat_api.Open(
        alias=given["alias"], conversation_id=str(job.conversation_id), knowledge_base=given["knowledge_base"], language=given["language"]
    )
    opening.timeout.FromSeconds(_ANSWER_SECONDS)
    return [
        chat_api.ChatRequest(open=opening),
        chat_api.ChatRequest(message=chat_api.Message(text=given["message"], external_id=str(job.id))),
        chat_api.ChatRequest(finish=chat_api.Finish()),
    ]
