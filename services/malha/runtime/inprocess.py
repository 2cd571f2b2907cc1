"""A channel to the services of this very process: the same handlers, checks and statuses as over a socket, without the bytes.

``live`` serves Audio and Transcribe. Over its own socket each utterance, some 100 KB, would be copied through the kernel and two HTTP/2
transports: a third of what the process spends on a call. grpc has such a channel for C++, Go and Java, and none for Python; this one has
what the clients in Malha use of ``grpc.aio.Channel``. Messages are passed as they are: whoever writes one must not change it afterwards.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message

from malha.runtime.carried import Context, Metadata, Status, find, wake

ROOM = 4
"""Messages that may wait each way: a writer that is further ahead waits for the reader."""


class _Pipe:
    """Messages one way, from one writer to one reader."""

    __slots__ = ("_ended", "_messages", "_reader", "_writer")

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    async def put(self, message: Message) -> bool:
        """Hand a message over; False once the pipe has ended."""
        while len(self._messages) >= ROOM and not self._ended:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
        if self._ended:
            return False
        self._messages.append(message)
        wake(self._reader)
        return True

    def put_now(self, message: Message) -> bool:
        """Hand a message over, or drop it once the pipe has ended; False if there is no room."""
        if self._ended:
            return True
        if len(self._messages) >= ROOM:
            return False
        self._messages.append(message)
        wake(self._reader)
        return True

    async def get(self) -> Message | None:
        """The next message; None after the last."""
        while not self._messages:
            if self._ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        wake(self._writer)
        return self._messages.popleft()

    def end(self) -> None:
        """Take no more; what is there can still be read."""
        self._ended = True
        wake(self._reader)
        wake(self._writer)


class InProcessCall:
    """A bidirectional call, as ``grpc.aio.StreamStreamCall`` has it."""

    def __init__(self, handler: Callable[[Any, Any], Any], metadata: Metadata) -> None:
        self._requests, self._responses = _Pipe(), _Pipe()
        self._context = Context(metadata, self._requests, self._responses)
        self._over = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(handler(None, self._context), name="in-process-call")
        self.task.add_done_callback(self._end)  # not the handler's own last step: one that is cancelled before its first has none

    async def write(self, request: Message) -> None:
        """Send a message. Raises asyncio.InvalidStateError once the call is over."""
        if not await self._requests.put(request):
            raise asyncio.InvalidStateError("the call is over")

    async def done_writing(self) -> None:
        """Tell that no more messages follow."""
        self._requests.end()

    async def read(self) -> Any:
        """The next message, EOF after the last. Raises grpc.aio.AioRpcError if the call failed."""
        message = await self._responses.get()
        if message is not None:
            return message
        if self._context.status.code is not grpc.StatusCode.OK:
            raise self._context.status.error()
        return grpc.aio.EOF

    def cancel(self) -> bool:
        """Give the call up."""
        return self.task.cancel()

    async def code(self) -> grpc.StatusCode:
        """How it ended, once it has."""
        await self._over.wait()
        return self._context.status.code

    async def details(self) -> str:
        """The text that goes with `code`."""
        await self._over.wait()
        return self._context.status.message

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """None is sent."""
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """What came with the status, once there is one."""
        await self._over.wait()
        return self._context.status.trailing

    def _end(self, task: asyncio.Task[None]) -> None:
        self._context.ended(task)
        self._requests.end()
        self._responses.end()
        self._over.set()


class InProcessChannel:
    """Calls by method name, answered by a server's own handlers."""

    def __init__(self, handlers: Sequence[grpc.GenericRpcHandler[Any, Any]]) -> None:
        self._handlers = handlers
        self._calls: set[asyncio.Task[None]] = set()

    def stream_stream(self, method: str, **_: Any) -> Callable[..., InProcessCall]:
        """What makes calls of a bidirectional method."""

        def start(*, metadata: Metadata = ()) -> InProcessCall:
            call = InProcessCall(self._find(method, metadata).stream_stream, metadata)
            self._calls.add(call.task)
            call.task.add_done_callback(self._calls.discard)
            return call

        return start

    def unary_unary(self, method: str, **_: Any) -> Callable[..., Any]:
        """What makes calls of a unary method."""

        async def ask(request: Message, *, metadata: Metadata = (), timeout: float | None = None) -> Any:  # noqa: ASYNC109 - grpc's own parameter
            context = Context(metadata, _Pipe(), _Pipe())
            try:
                async with asyncio.timeout(timeout):
                    return await self._find(method, metadata).unary_unary(request, context)
            except grpc.aio.AbortError:
                status = context.status
            except TimeoutError:
                status = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")
            raise status.error()

        return ask

    async def close(self, grace: float | None = None) -> None:
        """Give every open call up."""
        del grace
        for task in self._calls:
            task.cancel()
        if self._calls:
            await asyncio.wait(self._calls)

    def _find(self, method: str, metadata: Metadata) -> Any:
        handler = find(self._handlers, method, metadata)
        if handler is None:
            raise Status(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not served in this process").error()
        return handler
