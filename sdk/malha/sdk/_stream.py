"""The one wrapper around a bidirectional gRPC call.

A raw grpc.aio stub hangs when the caller's request iterator raises, loses the call when a read is cancelled or two writes meet, and goes on
after the caller has left the loop. Here a writer task sends what ``_produce`` makes, a reader task fills a bounded queue of events, and

- an error of the caller's own input cancels the call and comes out of the iteration, as does the server's status as an error of ours;
- leaving ``async for`` (break, an exception, cancellation) cancels the call at once; inside ``async with`` the block owns it instead, and
  iteration may stop and go on;
- there is no deadline.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import betterproto2
import grpc

from malha.sdk._rpc import CallOver, Rpc
from malha.sdk._wire import serialised
from malha.sdk.errors import AlreadyClosed, ServerError

EventT = TypeVar("EventT")

_QUEUED_EVENTS = 256
"""Events read ahead of the caller. Beyond, the server is held back by flow control, and drops partials."""


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class EventStream(ABC, Generic[EventT]):
    """A call as an async iterator of its events. The call begins at the first use."""

    def __init__(self, running: set["EventStream[Any]"]) -> None:
        """``running`` holds this call from its begin to its end, for the client to close it."""
        self._running = running
        self._events: asyncio.Queue[EventT | _End] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._rpc: Rpc | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._helpers: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._left = False
        self._cut = False
        self._over = False
        self._entered = False

    @abstractmethod
    def _connect(self) -> Rpc:
        """Begin the call."""

    @abstractmethod
    async def _produce(self) -> None:
        """Write all requests, ``finish`` the last. Runs in the writer task."""

    @abstractmethod
    def _translate(self, response: bytes) -> EventT | None:
        """The event of a response; None where it is not one for the caller. Runs in the reader task, as soon as the response is there."""

    @abstractmethod
    def _explain(self, error: grpc.aio.AioRpcError | None) -> Exception | None:
        """The error to raise for how the call ended (None: with status OK); None where all is well."""

    def __aiter__(self) -> AsyncIterator[EventT]:
        return self if self._entered else _OwningIterator(self, asyncio.get_running_loop())

    async def __anext__(self) -> EventT:
        self._start()
        item = await self._events.get()
        if not isinstance(item, _End):
            self._room.set()
            return item
        self._events.put_nowait(_End(None))  # whoever asks again, or waits beside, ends too
        if item.error is not None:
            raise item.error
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        self._entered = True
        self._start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the call now, without ``finish``, and wait until its tasks are gone. Does nothing where the call is over."""
        self.cancel()
        tasks = [task for task in (*self._tasks, *self._helpers) if task is not asyncio.current_task()]
        if tasks:
            await asyncio.wait(tasks)

    def cancel(self) -> None:
        """End the call now, without ``finish``. Events not yet taken are dropped."""
        if self._left:
            return
        self._left = True
        if self._rpc is None:
            self._cut_off()
            return
        if not self._over:  # else the reader only waits for the writer
            self._stop()
        self._tasks[0].cancel()

    def _stop(self) -> None:
        """End the reader, and with it the call."""
        if self._rpc is not None:
            self._rpc.cancel()
        self._tasks[1].cancel()

    def _start(self) -> None:
        if self._rpc is None and not self._left:
            self._rpc = self._connect()
            reader = asyncio.create_task(self._run_reader(self._rpc))
            self._tasks = (asyncio.create_task(self._run_writer()), reader)
            self._running.add(self)
            reader.add_done_callback(self._on_read)

    def _on_read(self, reader: asyncio.Task[None]) -> None:
        self._running.discard(self)
        if reader.cancelled():  # before its first step
            self._cut_off()

    async def _write(self, request: betterproto2.Message | bytes) -> None:
        """Send one request; one at a time. Cancelling it cancels the call. Raises CallOver."""
        if self._rpc is None or self._left or self._over:
            raise CallOver
        await self._rpc.write(request if isinstance(request, bytes) else serialised(request))

    async def _half_close(self) -> None:
        """Tell the server that nothing follows."""
        if self._rpc is not None:
            await self._rpc.half_close()

    async def _run_writer(self) -> None:
        try:
            await self._produce()
        except CallOver:
            return
        except (Exception, asyncio.CancelledError) as error:
            if not self._left and not self._over:
                self._failure = error
                self._stop()

    async def _run_reader(self, rpc: Rpc) -> None:
        error: BaseException | None = None
        try:
            error = await self._read(rpc)
        except asyncio.CancelledError:
            error = self._failure or AlreadyClosed("the call was cancelled")
        except Exception as defect:
            error = defect
        if error is not None and self._rpc is not None:
            self._rpc.cancel()
        self._over = True
        writer = self._tasks[0]
        writer.cancel()
        await asyncio.wait((writer,))
        if self._left:
            self._cut_off()
        else:
            self._events.put_nowait(_End(error))

    async def _read(self, rpc: Rpc) -> Exception | None:
        """Take all events; the error to raise at their end, None where all is well."""
        try:
            await self._read_all(rpc)
        except grpc.aio.AioRpcError as status:
            return self._explain(status)
        return self._explain(None)

    async def _read_all(self, rpc: Rpc) -> None:
        async for response in rpc.responses():
            await self._take(response)

    async def _take(self, response: bytes) -> None:
        """Hand a response on, once there is room."""
        try:
            event = self._translate(response)
        except Exception as defect:
            raise ServerError("the server sent what is not a message of its contract", reason="MALFORMED_RESPONSE") from defect
        if event is not None:
            self._events.put_nowait(event)
            if self._events.qsize() >= _QUEUED_EVENTS:
                self._room.clear()
                await self._room.wait()

    def _cut_off(self) -> None:
        self._cut = True
        while not self._events.empty():
            self._events.get_nowait()
        self._events.put_nowait(_End(None))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task beside reader and writer, awaited by ``aclose``. That the call ended under it is no error of its own."""
        task = asyncio.create_task(work)
        self._helpers.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._helpers.discard(task)
        if not task.cancelled():
            task.exception()

    async def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what a caller asked for while the call goes on. A cancelled caller does not cancel the write, which would cancel the call."""
        if self._left or self._over:
            work.close()
            raise AlreadyClosed("the call is over")
        self._start()
        try:
            await asyncio.shield(self._spawn(work))
        except CallOver:
            raise AlreadyClosed("the call is over") from None


async def all_of(stream: EventStream[EventT]) -> AsyncIterator[EventT]:
    """All events, for a result that is told whole: closing the stream, or its client, ends an iteration as if that were all.

    Raises AlreadyClosed then, and what the stream raises.
    """
    async for event in stream:
        yield event
    if stream._cut:  # noqa: SLF001 - one module
        raise AlreadyClosed("the call was closed before its end")


class _OwningIterator(Generic[EventT]):
    """What a plain ``async for`` holds: when the loop lets go of it the call is cancelled."""

    def __init__(self, stream: EventStream[EventT], loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventT:
        try:
            return await anext(self._stream)
        except BaseException:  # the traceback keeps this object alive: do not wait for __del__
            self._stream.cancel()
            raise

    def __del__(self) -> None:
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._stream.cancel()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the call with it
                self._loop.call_soon_threadsafe(self._stream.cancel)
