"""One question on Chat's stream, for as long as its client is there.

Whoever waits for an answer waits for the client's leaving too: then the call is cancelled, and with it the model's work. That a server is lost
midway the client does not notice (`ChatCall`).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final, Self, TypeAlias

import grpc
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from malha.api.chat.v1 import chat_pb2 as api
from malha.edge.calls import Bidi, Metadata
from malha.edge.chat_call import ChatCall
from malha.edge.settings import EdgeSettings
from malha.runtime.errors import DeadlineExceeded
from malha.runtime.mesh import Mesh
from malha.runtime.relay_client import RelayChannel

Channel: TypeAlias = grpc.aio.Channel | RelayChannel

CHAT: Final = "/malha.api.chat.v1.ChatService/Chat"
ANSWER_SECONDS: Final = 630.0
"""The longest an answer may take by its contract, and some more."""
KEEP_ALIVE_SECONDS: Final = 15.0
"""A stream that has nothing to tell says so each time: proxies cut connections that are silent."""
READ_SECONDS: Final = 60.0
"""How long a client may leave a piece of its answer unread."""
END_SECONDS: Final = 1.0
KEEP_ALIVE: Final = b": keep-alive\n\n"
DONE: Final = b"data: [DONE]\n\n"


def chat_channel(settings: EdgeSettings, mesh: Mesh) -> Channel:
    """The way to Chat: in a relay a question is one message each way, in a stream of its own five and as many wakings of both processes."""
    return mesh.relay("chat") if settings.relay else mesh.channel("chat")


class Asking:
    """A question under way, as an async context manager that gives it up where it is not over."""

    def __init__(self, request: Request, channel: Channel, identity: Metadata, requests: Sequence[api.ChatRequest]) -> None:
        """``request``: its body is read."""
        self.opened = api.Opened()
        self._call = ChatCall(lambda: Bidi(channel.stream_stream(CHAT)(metadata=identity), api.ChatResponse), requests)
        self._gone = asyncio.create_task(_gone(request), name="edge-chat-gone")
        self._reading: asyncio.Task[api.ChatResponse | None] | None = None
        self._until = asyncio.get_running_loop().time() + ANSWER_SECONDS
        self._answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def event(self) -> api.ChatResponse | None:
        """The next delta or end of the answer; None where a while went by without. Raises MalhaError, ClientDisconnect."""
        while True:
            response = await self._next(KEEP_ALIVE_SECONDS)
            if response is None or response.WhichOneof("event") in {"delta", "message_end"}:
                self._answered = response is not None and response.HasField("message_end")
                return response
            self.opened = response.opened

    async def whole(self) -> tuple[str, api.MessageEnd]:
        """All of the answer. Raises MalhaError, ClientDisconnect."""
        text: list[str] = []
        while True:
            event = await self.event()
            if event is not None and event.HasField("message_end"):
                return "".join(text), event.message_end
            if event is not None:
                text.append(event.delta.text)

    async def close(self) -> None:
        """Let the stream end by itself after its answer, give it up otherwise."""
        if self._answered:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._rest(), END_SECONDS)
        tasks = [task for task in (self._gone, self._reading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._call.cancel()

    async def _next(self, seconds: float) -> api.ChatResponse | None:
        loop = asyncio.get_running_loop()
        if self._reading is None:
            self._reading = asyncio.create_task(self._call.read(), name="edge-chat-read")
        await asyncio.wait({self._reading, self._gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._reading.done():
            reading, self._reading = self._reading, None
            return reading.result()
        if self._gone.done():
            raise ClientDisconnect
        if loop.time() > self._until:
            raise DeadlineExceeded(f"no answer came within {ANSWER_SECONDS:g} s", reason="ANSWER_TIMEOUT")
        return None

    async def _rest(self) -> None:
        while await self._call.read() is not None:
            pass


class Events(StreamingResponse):
    """Server-sent events. What makes them watches for the client's leaving. ``held`` is closed when they are over."""

    def __init__(self, events: AsyncGenerator[bytes], held: contextlib.AsyncExitStack) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._events = events
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive

        async def told(message: Any) -> None:
            async with asyncio.timeout(READ_SECONDS):
                await send(message)

        async with self._held, contextlib.aclosing(self._events):
            with contextlib.suppress(ClientDisconnect, TimeoutError):
                await self.stream_response(told)


def data(value: dict[str, Any], event: str = "") -> bytes:
    """One server-sent event."""
    name = b"event: " + event.encode() + b"\n" if event else b""
    return name + b"data: " + orjson.dumps(value) + b"\n\n"


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
