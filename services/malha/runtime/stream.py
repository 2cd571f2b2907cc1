"""The rules of Malha's bidirectional streams, once for every capability (ARCHITECTURE.md, "Stream rules").

Only this module touches a stream's ServicerContext. A service sees a `Stream`: the opening message, an async iterator of the messages
after it, and `send`/`emit`. Three facts of grpc.aio shape what is here: a ``read()`` that times out loses the stream, concurrent
``write()`` calls fail, and losing the client cancels the handler at whatever it awaits. So the session runs in a task of its own,
which alone reads; one writer task alone writes; and the handler only waits for them.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message

from malha.runtime import logs, metrics
from malha.runtime.auth import Principal
from malha.runtime.errors import DeadlineExceeded, InvalidArgument, InvalidOrder, MalhaError, Unavailable
from malha.runtime.logs import Event

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)

log = logs.get("runtime.stream")

CANCEL_AFTER_STATUS_SECONDS, END_SECONDS = 0.1, 5.0
COUNT_BATCH = 64
"""Messages received are added to the process's figures so many at a time: a counter takes a lock."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds of one stream. Sources: DESIGN rules 2, 3 and 14."""

    open_seconds: float = 30.0
    """How long the first message may take."""
    eof_grace_seconds: float = 0.5
    """A lost client reads as the end of the requests first and as cancelled about 2 ms later; an end that stands this long is a finish."""
    max_waiting: int = 256
    """Events that may wait for a slow reader; partials replace each other and count once."""
    max_behind_seconds: float = 5.0
    """How long an event may wait for a slow reader."""
    send_window: int = 16
    """`send` waits while this many events wait."""
    flush_seconds: float = 5.0
    """How long the last events may take to leave once the session is over."""


class ReaderSlow(Unavailable):
    """The client does not read its events. Nothing is lost: reconnect and resume, and read faster."""

    default_reason = "READER_SLOW"


class MalformedMessage(InvalidArgument):
    """The bytes are not the protobuf message this method takes."""

    default_reason = "MALFORMED_MESSAGE"


@dataclass(slots=True)
class _Waiting:
    response: Message | None
    since: float
    key: Hashable | None = None


class Stream(Generic[Req, Resp]):
    """One client's stream, as its session sees it. Iterating gives the messages after the opening one and ends at `finish`."""

    def __init__(
        self,
        context: grpc.aio.ServicerContext[Req, Resp],
        opening: Req,
        principal: Principal,
        metadata: Mapping[str, str],
        limits: StreamLimits,
        service: str,
        validate: Callable[[Message], None],
    ) -> None:
        self.opening = opening
        self.principal = principal
        self.metadata = metadata
        self.dropped_partials = 0
        self.on_go_away: Callable[[float], None] | None = None
        """Called with the seconds left when the server begins to drain."""
        self._context = context
        self._write_now: Callable[[Message], bool] = getattr(context, "write_now", _never)
        self._limits = limits
        self._service = service
        self._validate = validate
        self._loop = asyncio.get_running_loop()
        self._openings = openings_of(opening)
        self._finished = False
        self._outbox: deque[_Waiting] = deque()
        self._partials: dict[Hashable, _Waiting] = {}
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = False
        self._writing = False
        self._reading = False
        self._failure: ReaderSlow | None = None
        self._session: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[MalhaError] = self._loop.create_future()
        self._count = 0
        self._received = metrics.MESSAGES.labels(service, "received")
        self._sent = metrics.MESSAGES.labels(service, "sent")

    def __aiter__(self) -> AsyncIterator[Req]:
        return self

    async def __anext__(self) -> Req:
        if self._finished:
            raise StopAsyncIteration
        self._reading = True
        message = await self._context.read()
        self._reading = False
        if self._failure is not None:
            raise self._failure
        if message is grpc.aio.EOF:
            # A lost client cancels this task while it sleeps.
            await asyncio.sleep(self._limits.eof_grace_seconds)
            self._finished = True
            raise StopAsyncIteration
        self._count += 1
        if self._count == COUNT_BATCH:
            self._received.inc(self._count)
            self._count = 0
        if isinstance(message, MalformedMessage):
            raise message
        self._validate(message)
        kind = message.WhichOneof("request")
        if kind == "finish":
            self._finished = True
            raise StopAsyncIteration
        if kind in self._openings:
            raise InvalidOrder(f"`{kind}` comes first and once: open a new stream for a new session")
        return cast("Req", message)

    def emit(self, response: Resp, *, partial_of: Hashable | None = None) -> None:
        """Queue an event without waiting. A newer partial of the same thing replaces one that still waits, and so does the
        event that settles it; over the limits the stream ends with ReaderSlow. Sessions that make events slower than a
        client can read (one per utterance) use this; others use `send`.
        """
        if partial_of is not None:
            older = self._partials.get(partial_of)
            if older is not None:
                older.response = response
                self._count_dropped()
                return
        if self._leaves(response):
            return
        waiting = _Waiting(response, self._loop.time(), partial_of)
        if partial_of is not None:
            self._partials[partial_of] = waiting
        elif self._is_behind():
            self._fail_slow()
            return
        self._outbox.append(waiting)
        self._wake.set()

    def retract(self, partial_of: Hashable) -> None:
        """Take back a partial that still waits, because the event that settles it is about to be emitted."""
        older = self._partials.pop(partial_of, None)
        if older is not None:
            older.response = None
            self._count_dropped()

    async def send(self, response: Resp) -> None:
        """Queue an event once there is room: for sessions that could make events faster than the client reads."""
        while len(self._outbox) >= self._limits.send_window:
            self._room.clear()
            await self._room.wait()
        if self._leaves(response):
            return
        self._outbox.append(_Waiting(response, self._loop.time()))
        self._wake.set()

    def end(self, error: MalhaError) -> None:
        """End it from outside its session, with a status that says why. What waits to be sent may be lost. The first one holds."""
        if not self._ended.done():
            self._ended.set_result(error)

    def _leaves(self, response: Resp) -> bool:
        """Whether an event goes at once: where nothing waits before it, and whatever carries the call has room, it needs no writer task."""
        if self._outbox or self._writing or not self._write_now(response):
            return False
        self._sent.inc()
        return True

    def _count_dropped(self) -> None:
        self.dropped_partials += 1
        metrics.DROPPED.labels(self._service).inc()

    def _is_behind(self) -> bool:
        outbox = self._outbox
        return len(outbox) >= self._limits.max_waiting or (
            len(outbox) > 1 and self._loop.time() - outbox[0].since > self._limits.max_behind_seconds
        )

    def _fail_slow(self) -> None:
        if self._failure is None:
            self._failure = ReaderSlow("events are not read fast enough: reconnect, resume and read them as they come", retry_seconds=0.1)
            log.warning(Event.STREAM_SLOW_READER, service=self._service, waiting=len(self._outbox))
            if self._session is not None and not self._reading:  # cancelling a read() would lose the stream, and the reason with it
                self._session.cancel()

    async def _write(self) -> None:
        """The writer task: the only one to call ``context.write``."""
        while True:
            while self._outbox:
                waiting = self._outbox.popleft()
                if waiting.key is not None and self._partials.get(waiting.key) is waiting:
                    del self._partials[waiting.key]
                if waiting.response is not None:
                    self._writing = True
                    await self._context.write(waiting.response)
                    self._writing = False
                    self._sent.inc()
                self._room.set()
            if self._closing:
                return
            self._wake.clear()
            await self._wake.wait()

    async def _run(self, session: Callable[[Stream[Req, Resp]], Awaitable[None]]) -> None:
        """Run the session beside the writer; when it is over, let the last events leave."""
        writer = self._loop.create_task(self._write(), name="stream-writer")
        try:
            await session(self)
        except asyncio.CancelledError:
            if self._failure is not None:
                raise self._failure from None
            raise
        except ExceptionGroup as group:
            raise _cause(group) from None  # a session's TaskGroup wraps what its body raised
        finally:
            self._received.inc(self._count)
            self._closing = True
            self._wake.set()
            if self._failure is not None:
                self._outbox.clear()  # the write under way ends, and the status leaves, as soon as the client reads again
            with contextlib.suppress(asyncio.CancelledError, TimeoutError, grpc.aio.UsageError, grpc.RpcError):
                await asyncio.wait_for(writer, self._limits.flush_seconds)


def _never(_: Message) -> bool:
    """grpc.aio's own context writes in a coroutine alone."""
    return False


def _cause(group: ExceptionGroup[Exception]) -> Exception:
    """The first error of a group, a MalhaError where there is one."""
    leaves = [_cause(error) if isinstance(error, ExceptionGroup) else error for error in group.exceptions]
    return next((error for error in leaves if isinstance(error, MalhaError)), leaves[0])


def openings_of(request: Message) -> frozenset[str]:
    """Which messages may open a stream: `open`, and where the contract has them `resume` (Audio) and `watch` (FineTune)."""
    return frozenset({"open", "resume", "watch"} & {field.name for field in request.DESCRIPTOR.oneofs_by_name["request"].fields})


def decoder(message_type: type[Message]) -> Callable[[bytes], Message | MalformedMessage]:
    """A deserializer that hands bad bytes on as an error: raised inside grpc it would end the call as INTERNAL."""
    parse = message_type.FromString

    def decode(data: bytes) -> Message | MalformedMessage:
        try:
            return parse(data)
        except DecodeError:
            return MalformedMessage(f"these bytes are not a {message_type.DESCRIPTOR.full_name}")

    return decode


async def first_message(context: grpc.aio.ServicerContext[Any, Any], limits: StreamLimits, validate: Callable[[Message], None]) -> Message:
    """Read, validate and check the message that opens a stream."""
    reading = asyncio.ensure_future(context.read())
    try:
        await asyncio.wait({reading}, timeout=limits.open_seconds)
    except asyncio.CancelledError:
        reading.cancel()
        raise
    if not reading.done():  # it ends with the RPC; cancelled now, it would take the status below with it
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise DeadlineExceeded(f"no `open` within {limits.open_seconds:g} s", reason="OPEN_TIMEOUT")
    message = await reading
    if message is grpc.aio.EOF:
        raise InvalidOrder("the stream ended before `open`: send the configuration first")
    if isinstance(message, MalformedMessage):
        raise message
    validate(message)
    request = cast("Message", message)
    kind, allowed = request.WhichOneof("request"), openings_of(request)
    if kind not in allowed:
        raise InvalidOrder(f"`{kind}` came first: send {' or '.join(f'`{name}`' for name in sorted(allowed))} before it")
    return request


def _stopping() -> Unavailable:
    return Unavailable("this server is stopping: connect again", reason="DRAINING", retry_seconds=0.25)


class Streams:
    """All streams of a server: it owns their session tasks, bounds their number and tells them to go away."""

    def __init__(self, max_streams: int, limits: StreamLimits | None = None) -> None:
        self.limits = limits or StreamLimits()
        self._max = max_streams
        self._running: dict[asyncio.Task[None], Stream[Any, Any]] = {}
        self._stopping = False

    def __len__(self) -> int:
        return len(self._running)

    @property
    def full(self) -> bool:
        """Whether one more is too many."""
        return len(self._running) >= self._max

    async def run(self, stream: Stream[Req, Resp], session: Callable[[Stream[Req, Resp]], Awaitable[None]], service: str) -> None:
        """Run a session to its end. Called by the RPC's handler; when that is cancelled (the client is lost) so is the session."""
        task = asyncio.get_running_loop().create_task(stream._run(session), name="stream-session")  # noqa: SLF001 - one module, two classes
        stream._session = task  # noqa: SLF001
        self._running[task] = stream
        gauge = metrics.STREAMS.labels(service)
        gauge.inc()
        task.add_done_callback(lambda done: self._forget(done, gauge.dec))
        ended = stream._ended  # noqa: SLF001
        either: set[asyncio.Future[Any]] = {task, ended}
        if self._stopping:
            stream.end(_stopping())
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            # The status must leave first: cancelling the session's read() would take it along.
            asyncio.get_running_loop().call_later(CANCEL_AFTER_STATUS_SECONDS, task.cancel)
            raise ended.result().with_traceback(None)  # it may be told to many streams
        await task

    def go_away(self, seconds: float) -> None:
        """Tell every stream that the server stops in so many seconds."""
        for stream in list(self._running.values()):
            if stream.on_go_away is not None:
                stream.on_go_away(seconds)

    async def wait_closed(self, seconds: float) -> bool:
        """Wait for all streams to end; whether they did."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)
        return not self._running

    async def end(self) -> None:
        """End what is left, with a status that says so, and wait for it."""
        tasks = set(self._running)
        self._stopping = True
        for stream in self._running.values():
            stream.end(_stopping())
        if tasks:
            await asyncio.wait(tasks, timeout=END_SECONDS)

    def _forget(self, task: asyncio.Task[None], count: Callable[[], None]) -> None:
        self._running.pop(task, None)
        count()
        if not task.cancelled():
            task.exception()  # seen by the handler unless the client was lost first; then nobody is left to tell
