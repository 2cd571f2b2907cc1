"""``POST /api/v1/conversations/{id}/continue`` and ``/continue-stream``: the next message of a kept conversation, and its answer.

Chat keeps both. What a client should not wait for (it says so, or the message is long) becomes a job, which outlives the process that works on it;
``GET .../status`` tells how it stands.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import grpc
from starlette.requests import Request
from starlette.responses import Response

from malha.api.chat.v1 import chat_pb2 as api
from malha.api.jobs.v1 import jobs_pb2
from malha.edge.bodies import json_body
from malha.edge.calls import Metadata, bearer, failure, metadata
from malha.edge.chat_completions import told_of, usage_of
from malha.edge.chat_errors import failed
from malha.edge.chat_request import MOST_CHARACTERS, stream_of
from malha.edge.chat_stream import DONE, KEEP_ALIVE, Asking, Events, chat_channel, data
from malha.edge.errors import InvalidField
from malha.edge.events import error_fields
from malha.edge.fields import Fields
from malha.edge.jobs import CREATE
from malha.edge.replies import json_response
from malha.edge.settings import EdgeSettings
from malha.runtime.errors import MalhaError
from malha.runtime.mesh import Mesh

COMPLEX_CHARACTERS: Final = 12_000
"""A longer message is a job, unless the client says that it is not."""
MOST_NAME: Final = 128
CREATE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Continuation:
    """What was asked for."""

    conversation_id: str
    message: str
    alias: str
    knowledge_base: str
    language: str
    complex: bool | None
    """None: as long as the message is."""


class Conversations:
    """Goes on with conversations."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh) -> None:
        self._settings = settings
        self._mesh = mesh

    async def go_on(self, request: Request) -> Response:
        """``POST .../continue``: 200 with the answer, or 202 with a job."""
        identity = metadata(bearer(request.headers.get("authorization", "")))
        wanted = await self._wanted(request)
        if wanted.complex or (wanted.complex is None and len(wanted.message) > COMPLEX_CHARACTERS):
            return await self._begin_job(wanted, identity)
        async with self._ask(request, wanted, identity) as asking:
            text, end = await asking.whole()
        if (error := failed(end)) is not None:
            raise error
        return json_response({"answer": text, **_end_fields(end)})

    async def stream(self, request: Request) -> Response:
        """``POST .../continue-stream``: the events `delta`, `end` or `error`, and ``[DONE]``."""
        identity = metadata(bearer(request.headers.get("authorization", "")))
        wanted = await self._wanted(request)
        if wanted.complex:
            raise InvalidField("complex", "is for `continue`: a job has no stream")
        async with AsyncExitStack() as stack:
            asking = await stack.enter_async_context(self._ask(request, wanted, identity))
            first = await asking.event()
            if first is not None and first.HasField("message_end") and (error := failed(first.message_end)) is not None:
                raise error
            return Events(_events(asking, first), stack.pop_all())

    async def _wanted(self, request: Request) -> Continuation:
        return continuation_of(Fields(await json_body(request, self._settings.max_body_bytes)), request.path_params["conversation_id"])

    def _ask(self, request: Request, wanted: Continuation, identity: Metadata) -> Asking:
        opening = api.Open(
            alias=wanted.alias, conversation_id=wanted.conversation_id, knowledge_base=wanted.knowledge_base, language=wanted.language
        )
        return Asking(request, chat_channel(self._settings, self._mesh), identity, stream_of(opening, (api.Message(text=wanted.message),)))

    async def _begin_job(self, wanted: Continuation, identity: Metadata) -> Response:
        job = jobs_pb2.ChatJob(
            conversation_id=wanted.conversation_id,
            message=wanted.message,
            alias=wanted.alias,
            knowledge_base=wanted.knowledge_base,
            language=wanted.language,
        )
        method = self._mesh.channel("jobs").unary_unary(
            CREATE,
            request_serializer=jobs_pb2.CreateJobRequest.SerializeToString,
            response_deserializer=jobs_pb2.CreateJobResponse.FromString,
        )
        try:
            made = await method(jobs_pb2.CreateJobRequest(chat=job), metadata=identity, timeout=CREATE_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise failure(error) from None
        headers = {"Location": f"/api/v1/jobs/{made.job.id}"}
        return json_response({"job_id": made.job.id, "status": "running"}, 202, headers)


def continuation_of(fields: Fields, conversation_id: str) -> Continuation:
    """The request of a body. Raises InvalidField."""
    wanted = Continuation(
        conversation_id,
        fields.text("message"),
        fields.text("alias"),
        fields.text("knowledge_base"),
        fields.text("language"),
        fields.optional_flag("complex"),
    )
    unknown = fields.unknown()
    if unknown:
        raise InvalidField(unknown[0], "is not known: there are message, alias, knowledge_base, language and complex")
    if not wanted.message.strip():
        raise InvalidField("message", "is required")
    if len(wanted.message) > MOST_CHARACTERS:
        raise InvalidField("message", f"must be at most {MOST_CHARACTERS} characters")
    if len(conversation_id) > MOST_NAME:
        raise InvalidField("conversation_id", f"must be at most {MOST_NAME} characters")
    return wanted


async def _events(asking: Asking, first: api.ChatResponse | None) -> AsyncGenerator[bytes]:
    """The events of an answer, the first of which has come, or lets itself be waited for."""
    event = first
    try:
        while event is None or not event.HasField("message_end"):
            yield KEEP_ALIVE if event is None else data({"text": event.delta.text}, "delta")
            event = await asking.event()
        if (error := failed(event.message_end)) is not None:
            raise error
        yield data(_end_fields(event.message_end), "end") + DONE
    except MalhaError as error:
        yield data({"error": error_fields(error)}, "error") + DONE


def _end_fields(end: api.MessageEnd) -> dict[str, Any]:
    return {"finish_reason": end.finish_reason, "usage": usage_of(end), **told_of(end)}
