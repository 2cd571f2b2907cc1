"""A real grpc.aio server with ChatService's contract, whose streams end wherever a test says: each message has a step before and one after.

It answers with ``PIECES``. What it is told was received must be how they begin, and the rest follows.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from fakes.audio_server import error_info, status_details
from malha.api.chat.v1 import chat_pb2 as api
from malha.api.chat.v1 import chat_pb2_grpc
from malha.runtime.relay import RelayServer

PIECES = ("A entrega ", "leva ", "cinco ", "dias ", "úteis.")
ANSWER = "".join(PIECES)


@dataclass
class Asked:
    """One stream: what came."""

    alias: str = ""
    timeout_seconds: float = 0.0
    texts: list[str] = field(default_factory=list)
    received: str = ""
    name: str = ""


@dataclass(frozen=True)
class Ending:
    """How a stream ends before its time. Without a reason: as a connection does."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    reason: str = ""
    retry_seconds: float = 0.0


LOST = Ending()


class FakeChat(chat_pb2_grpc.ChatServiceServicer):
    """``breaks``: numbers of steps. ``refusals``: of the streams to come, one each, right after they were heard; None: goes well."""

    def __init__(self, *, breaks: Collection[int] = (), ending: Ending = LOST) -> None:
        self.breaks = set(breaks)
        self.ending = ending
        self.refusals: list[Ending | None] = []
        self.steps = 0
        self.asked: list[Asked] = []
        self.between_seconds = 0.0
        self.opens = True
        self.stopped = 0
        """Streams whose client left them."""
        self.port = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def Chat(self, _iterator, context) -> None:
        asked = Asked()
        self.asked.append(asked)
        try:
            await self._answer(context, asked)
        except asyncio.CancelledError:
            self.stopped += 1
            raise

    async def _answer(self, context, asked: Asked) -> None:
        schema = await self._hear(context, asked)
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            await self._end(context, refusal)
        if not self.opens:
            await asyncio.Event().wait()
        await self._send(context, opened=api.Opened(alias=asked.alias or "main", model="tiny", engine="openai"))
        if not ANSWER.startswith(asked.received) or (schema and asked.received):
            await self._end(context, Ending(grpc.StatusCode.INVALID_ARGUMENT, "RECEIVED_DIFFERS"))
        for piece in [ANSWER] if schema else _rest(len(asked.received)):
            await asyncio.sleep(self.between_seconds)
            await self._send(context, delta=api.Delta(text=piece))
        await self._send(context, message_end=api.MessageEnd(model="tiny", finish_reason="stop", completion_tokens=len(PIECES)))
        await self._send(context, closed=api.Closed(answers=1))

    async def _hear(self, context, asked: Asked) -> str:
        """All requests; the schema that is asked for."""
        schema = ""
        while True:
            await self._step(context)
            request = await context.read()
            await self._step(context)
            match request.WhichOneof("request"):
                case "open":
                    asked.alias, schema = request.open.alias, request.open.response_schema
                    asked.timeout_seconds = request.open.timeout.ToNanoseconds() / 1e9
                case "message":
                    asked.texts.append(request.message.text)
                    asked.received, asked.name = request.message.received, request.message.external_id
                case "finish":
                    return schema

    async def _send(self, context, **event) -> None:
        await self._step(context)
        await context.write(api.ChatResponse(**event))
        await self._step(context)

    async def _step(self, context) -> None:
        self.steps += 1
        if self.steps in self.breaks:
            await self._end(context, self.ending)

    async def _end(self, context, ending: Ending) -> None:
        if not ending.reason:
            await context.abort(ending.code, "lost")
        details: list = [error_info(ending.reason)]
        if ending.retry_seconds:
            delay = Duration()
            delay.FromNanoseconds(round(ending.retry_seconds * 1e9))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        text = ending.reason.lower()
        await context.abort(ending.code, text, status_details(ending.code, text, *details))


def _rest(length: int) -> Iterator[str]:
    """The pieces of the answer after so many characters."""
    for piece in PIECES:
        if length < len(piece):
            yield piece[length:]
        length = max(0, length - len(piece))


@asynccontextmanager
async def serving(fake: FakeChat) -> AsyncIterator[FakeChat]:
    """On a free port of the loopback; the relay is there too."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    chat_pb2_grpc.add_ChatServiceServicer_to_server(fake, server)
    method = grpc.stream_stream_rpc_method_handler(fake.Chat, api.ChatRequest.FromString, api.ChatResponse.SerializeToString)
    handlers = grpc.method_handlers_generic_handler("malha.api.chat.v1.ChatService", {"Chat": method})
    server.add_generic_rpc_handlers((RelayServer([handlers]).handler(),))
    fake.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)
