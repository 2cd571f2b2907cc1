"""The worker side of the engine host: a process that computes for several streams, started as ``python -m malha.runtime.worker FD MODULE:FACTORY``.

Engines that keep the GIL, hold global state or may crash live here, away from the event loop. One thread computes, taking turns between
streams: one input, or one step of the generator an input led to, at a time, so that a long stream does not starve the others. A second
thread reads the socket. It lets cancels be seen between two steps, and it ends the process when the host is gone, even within a long step.

Background streams get a turn when no other stream wants one, so a live one waits for the step being done and no more. Where live streams
alone want more than there is, background ones get the share that `malha.runtime.precedence` leaves them.

An engine offers a factory ``def factory(options) -> Worker``; an attribute ``info`` of the worker is told to the host. Where a stream's last
output is what somebody waits for (the final of an utterance), the worker says ``ended_first = True``: streams whose input has ended then go
before those that still get some, the one that ended first before all. Whatever a stream raises fails that stream only.
"""

import contextlib
import importlib
import math
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NoReturn, Protocol

from malha.runtime.precedence import Precedence
from malha.runtime.wire import COUNT, HEADER, WAITED, Configuration, Defect, Kind, decode, encode, pack

_END: Final = object()
_OPENINGS: Final = frozenset({Kind.OPEN, Kind.OPEN_BACKGROUND})
_INPUTS: Final = _OPENINGS | {Kind.FEED, Kind.FINISH}

PAUSE: Final = object()
"""Yielded instead of an output: other streams may have a turn here. Says also that the work goes on, to who watches for workers that are stuck."""


class WorkerStream(Protocol):
    """One stream's computation, on the worker's computing thread."""

    def feed(self, item: object) -> Iterator[object]:
        """Take one input and yield any number of outputs, or `PAUSE`. Between two of them other streams get their turn."""

    def finish(self) -> Iterator[object]:
        """Take the end of the input and yield what remains."""

    def close(self) -> None:
        """Free what the stream holds. Called once, also when it failed or was cancelled."""


class Worker(Protocol):
    """A loaded engine."""

    def open(self, arguments: object) -> WorkerStream:
        """Begin a stream."""


@dataclass(frozen=True, slots=True)
class Interim:
    """Wraps an output that a later one supersedes: it is not counted, and not repeated when a stream moves to another worker."""

    item: object


def spare_capacity() -> bool:
    """Whether no other live stream of this worker waits for its turn: then there is time for partial results. True outside a worker."""
    return _Turns.current is None or not _Turns.current.live


@dataclass(slots=True, eq=False)
class _Stream:
    """A stream as the worker sees it. ``queued`` is true while it waits for its turn or has it."""

    identifier: int
    credit: int
    background: bool
    inbox: deque[tuple[int, bytes, float]]
    work: WorkerStream | None = None
    steps: Iterator[object] | None = None
    waited: float = 0.0
    last: bool = False
    queued: bool = False
    cancelled: bool = False
    ended_at: float = math.inf
    """When its input ended: the end may lie in the inbox yet."""

    @property
    def runnable(self) -> bool:
        return self.cancelled or (bool(self.inbox) if self.steps is None else self.credit > 0)


class _Turns:
    """The streams, and whose turn it is. Filled by the reading thread, emptied by the computing one."""

    current: "_Turns | None" = None

    def __init__(self, credit: int) -> None:
        self.ended_first = False
        self.live: deque[_Stream] = deque()
        self._background: deque[_Stream] = deque()
        self._cancelled: deque[_Stream] = deque()
        self._precedence = Precedence()
        self._streams: dict[int, _Stream] = {}
        self._credit = credit
        self._changed = threading.Condition(threading.Lock())

    def accept(self, kind: int, identifier: int, body: bytes) -> None:
        """Take a frame of the host. One for a stream that has ended meanwhile is dropped."""
        with self._changed:
            if kind in _OPENINGS:
                self._streams[identifier] = _Stream(identifier, self._credit, kind == Kind.OPEN_BACKGROUND, deque())
            stream = self._streams.get(identifier)
            if stream is None:
                return
            if kind in _INPUTS:
                now = time.monotonic()
                stream.inbox.append((kind, body, now))
                if kind == Kind.FINISH:
                    stream.ended_at = now
            elif kind == Kind.CREDIT:
                stream.credit += COUNT.unpack(body)[0]
            elif kind == Kind.CANCEL:
                stream.cancelled = True
            self._queue(stream)

    def take(self) -> _Stream | None:
        """The stream whose turn it is (cancelled ones first, background ones last but for their share), or None."""
        with self._changed:
            if self._cancelled:
                return self._cancelled.popleft()
            if self._precedence.background_next(live=bool(self.live), background=bool(self._background)):
                return self._background.popleft()
            return self._next_live() if self.live else None

    def wait(self) -> None:
        """Block until some stream can run."""
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self.live or self._background)

    def give_back(self, stream: _Stream) -> None:
        """Put a stream that had its turn behind the others, if it has more to do.

        A background one stays the first of its kind: nobody waits for one of them more than for another, and what is begun holds memory.
        """
        with self._changed:
            stream.queued = False
            if stream.identifier in self._streams:
                self._queue(stream, first=stream.background)

    def spend(self, stream: _Stream) -> None:
        """Count one output, on which the host waits to give credit again."""
        with self._changed:
            stream.credit -= 1

    def forget(self, stream: _Stream) -> None:
        with self._changed:
            del self._streams[stream.identifier]

    def _next_live(self) -> _Stream:
        if not self.ended_first:
            return self.live.popleft()
        stream = min(self.live, key=lambda stream: stream.ended_at)  # of those without an end, the one whose turn it is
        self.live.remove(stream)
        return stream

    def _queue(self, stream: _Stream, *, first: bool = False) -> None:
        queue = self._background if stream.background else self.live
        if stream.queued and stream.cancelled and stream in queue:
            queue.remove(stream)
        elif stream.queued or not stream.runnable:
            return
        stream.queued = True
        queue = self._cancelled if stream.cancelled else queue
        if first:
            queue.appendleft(stream)
        else:
            queue.append(stream)
        self._changed.notify()


class _Server:
    """The computing thread's loop. What it has to say is sent before each step and before it waits."""

    def __init__(self, connection: socket.socket, worker: Worker, turns: _Turns, step_seconds: float) -> None:
        self._connection = connection
        self._worker = worker
        self._turns = turns
        self._step_seconds = step_seconds
        self._announced = 0
        self._unsent: list[bytes] = []

    def serve(self) -> NoReturn:
        while True:
            stream = self._turns.take()
            if stream is None:
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._send()
                self._turns.wait()
                continue
            if stream.identifier != self._announced:
                self._announced = stream.identifier
                self._unsent.append(pack(Kind.WORKING, stream.identifier))
            self._send()
            # The host ends a worker that is stuck. Without a host, one stuck in code that keeps the GIL could not see that it is
            # alone: the kernel ends it then.
            signal.setitimer(signal.ITIMER_REAL, self._step_seconds)
            self._step(stream)
            self._turns.give_back(stream)

    def _send(self) -> None:
        if self._unsent:
            frames, self._unsent = self._unsent, []
            self._connection.sendall(b"".join(frames))

    def _step(self, stream: _Stream) -> None:
        if stream.cancelled:
            self._close(stream, None)
            return
        try:
            if stream.steps is None:
                self._take_input(stream)
            self._advance(stream)
        except Exception as error:
            self._close(stream, error)

    def _take_input(self, stream: _Stream) -> None:
        kind, body, arrived = stream.inbox.popleft()
        stream.waited = time.monotonic() - arrived
        stream.last = kind == Kind.FINISH
        if stream.work is None:
            stream.work = self._worker.open(decode(body))
            stream.steps = iter(())
        else:
            stream.steps = iter(stream.work.finish() if stream.last else stream.work.feed(decode(body)))

    def _advance(self, stream: _Stream) -> None:
        assert stream.steps is not None
        output = next(stream.steps, _END)
        if output is _END:
            stream.steps = None
            self._unsent.append(pack(Kind.ACK, stream.identifier, WAITED.pack(stream.waited)))
            if stream.last:
                self._close(stream, None)
            return
        if output is PAUSE:
            self._unsent.append(pack(Kind.WORKING, stream.identifier))
            return
        kind, item = (Kind.INTERIM, output.item) if isinstance(output, Interim) else (Kind.OUTPUT, output)
        self._unsent.append(encode(kind, stream.identifier, item))
        self._turns.spend(stream)

    def _close(self, stream: _Stream, error: Exception | None) -> None:
        try:
            with contextlib.ExitStack() as closing:
                if stream.work is not None:
                    closing.callback(stream.work.close)
                if isinstance(stream.steps, Generator):
                    closing.callback(stream.steps.close)
        except Exception as raised:
            error = error or raised
        self._turns.forget(stream)
        self._unsent.append(pack(Kind.DONE, stream.identifier) if error is None else _failure(stream.identifier, error))


def _failure(stream: int, error: Exception) -> bytes:
    """A MalhaError goes as it is; of anything else only the type and the place, for its message may hold user content."""
    errors = sys.modules.get("malha.runtime.errors")  # imported if and only if someone could have raised one
    if errors is not None and isinstance(error, errors.MalhaError):
        try:
            body = pickle.dumps(error, protocol=5)
            decode(body)
            return pack(Kind.FAILED, stream, body)
        except Exception as raised:
            error = raised
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    where = " ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames)
    return encode(Kind.FAILED, stream, Defect(type(error).__name__, where))


def _read_frame(source: BinaryIO) -> tuple[int, int, bytes]:
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    length, kind, stream = HEADER.unpack(header)
    body = source.read(length)
    if len(body) < length:
        raise EOFError
    return kind, stream, body


def _read_until_end(source: BinaryIO, turns: _Turns) -> None:
    """The reading thread. No clean-up at the end: nobody is left to care, and the computing thread may be stuck."""
    status = os.EX_SOFTWARE
    try:
        while True:
            turns.accept(*_read_frame(source))
    except (EOFError, ConnectionError):
        status = os.EX_OK
    finally:
        os._exit(status)


def _load(factory: str, options: object) -> Worker:
    module, _, name = factory.partition(":")
    make: Any = getattr(importlib.import_module(module), name)
    worker: Worker = make(options)
    return worker


def _serve(factory: str, configuration: Configuration, connection: socket.socket, turns: _Turns) -> None:
    try:
        worker = _load(factory, configuration.options)
        turns.ended_first = getattr(worker, "ended_first", False)
        ready = encode(Kind.READY, 0, getattr(worker, "info", None))
    except Exception as error:
        connection.sendall(_failure(0, error))
        return
    connection.sendall(ready)
    _Server(connection, worker, turns, 2 * configuration.item_seconds + 1).serve()


def main() -> None:
    """Serve the socket given as a file descriptor until its other end closes."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal group; the host decides when to end
    for ending in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(ending, signal.SIG_DFL)
    source = connection.makefile("rb")
    try:
        configuration = decode(_read_frame(source)[2])
    except (EOFError, ConnectionError):
        return
    if not isinstance(configuration, Configuration):
        raise TypeError("the first frame must be a Configuration")
    os.nice(configuration.nice)
    turns = _Turns.current = _Turns(configuration.outputs_ahead)
    threading.Thread(target=_read_until_end, args=(source, turns), daemon=True).start()
    with contextlib.suppress(ConnectionError):  # the host is gone: the reading thread ends the process
        _serve(sys.argv[2], configuration, connection, turns)


if __name__ == "__main__":
    # Engines import this module by its name: were `__main__` another copy of it, its `Interim` would be another class.
    from malha.runtime.worker import main as serve_worker

    serve_worker()
