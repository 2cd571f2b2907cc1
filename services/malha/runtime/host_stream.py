"""A stream to an engine, as its user holds it: flow control both ways, and what it takes to repeat it on another worker.

The stream keeps the frames it sent. When its worker dies, they are sent again to the next one and the outputs that were already received are
skipped, so the user of the stream notices a delay and nothing else. This asks of an engine that the same inputs lead to the same number of
outputs, interim ones aside.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from malha.runtime.errors import EngineCrashed, InvalidArgument, MalhaError
from malha.runtime.wire import COUNT, Kind, decode, encode, pack

MAX_DEATHS: Final = 2
"""So many workers may die while they compute for one stream; then the stream is what kills them."""
MAX_MOVES: Final = 10
"""So many workers in all may die under a stream, whoever's fault it is."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a stream. An interim one is superseded by a later one."""

    item: object
    interim: bool


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How far the two sides of a stream may drift apart."""

    inputs_ahead: int
    """Inputs sent and not yet done, at which `HostStream.send` waits."""
    outputs_ahead: int
    """Outputs received and not yet taken, at which the worker leaves the stream aside."""
    replay_bytes: int
    """Inputs kept to be repeated after a crash. A stream that sent more does not survive one."""


class Link(Protocol):
    """What a stream needs of its worker."""

    @property
    def writable(self) -> bool:
        """False while the worker is behind with reading."""

    def write(self, frame: bytes) -> None: ...


class HostStream:
    """Send inputs with `send` and `finish`, iterate over the outputs.

    Do both at the same time, in two tasks, where outputs may be many: who sends without taking them waits for itself in the end.
    """

    def __init__(self, identifier: int, arguments: object, limits: StreamLimits, *, background: bool = False) -> None:
        self.identifier = identifier
        self.background = background
        self._limits = limits
        self._link: Link | None = None
        self._log = deque([encode(Kind.OPEN_BACKGROUND if background else Kind.OPEN, identifier, arguments)])
        self._log_bytes = len(self._log[0])
        self._forgotten = 0  # frames dropped from the front of the log
        self._sent = self._acknowledged = 0  # frames, at the present worker
        self._repeating_until = 0  # acknowledged frames, at an earlier worker
        self._received = self._seen = 0  # outputs that are not interim: in all, from the present worker
        self._credit = limits.outputs_ahead  # outputs the worker may still send
        self._returnable = 0  # credit to give back
        self._stale = 0  # outputs of an earlier worker that still lie in the outbox
        self._deaths = self._moves = 0
        self._outbox: deque[Output] = deque()
        self._finished = False
        self._ended = False
        self._error: MalhaError | None = None
        self._changed = asyncio.Event()  # an output, the end
        self._room = asyncio.Event()  # an acknowledgement, the end

    async def send(self, item: object) -> None:
        """Send one input; waits while too many are under way. Once the stream's context was left, inputs are dropped.

        Raises what the worker raised, EngineCrashed, and InvalidArgument for an item beyond the frame limit.
        """
        if self._finished:
            raise RuntimeError("nothing can be sent after finish()")
        try:
            frame = encode(Kind.FEED, self.identifier, item)
        except ValueError as error:
            raise InvalidArgument(str(error), reason="ITEM_TOO_LARGE") from None
        while self._unacknowledged >= self._limits.inputs_ahead and not self._ended:
            self._room.clear()
            await self._room.wait()
        if self._error is not None:
            raise self._error
        self._append(frame)

    async def finish(self) -> None:
        """Tell the worker that no more input comes: it sends the remaining outputs and the iteration ends."""
        if not self._finished:
            self._finished = True
            self._append(pack(Kind.FINISH, self.identifier))

    def __aiter__(self) -> AsyncIterator[Output]:
        return self

    async def __anext__(self) -> Output:
        while not self._outbox:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        output = self._outbox.popleft()
        if self._stale:
            self._stale -= 1
        else:
            self._return_credit()
        return output

    # What follows is for the host and its workers.

    @property
    def waiting_inputs(self) -> int:
        """Inputs the worker has not done."""
        return 0 if self._ended else self._unacknowledged

    @property
    def working(self) -> bool:
        """Whether a worker that does nothing for this stream is stuck: it has input, and somewhere to put the outputs."""
        return self._link is not None and self._sent > self._acknowledged and self._credit > 0 and not self._ended

    def attach(self, link: Link) -> None:
        """Give the stream to a worker, from its first frame on."""
        self._link = link
        self._sent = self._acknowledged = self._seen = self._returnable = 0
        self._credit = self._limits.outputs_ahead
        self._stale = len(self._outbox)
        self.pump()

    def pump(self) -> None:
        """Send what the worker has room for."""
        link = self._link
        while (
            link is not None
            and link.writable
            and self._sent < self._length
            and self._sent - self._acknowledged <= self._limits.inputs_ahead
        ):
            frame = self._log[self._sent - self._forgotten]
            self._sent += 1
            link.write(frame)

    def acknowledge(self) -> None:
        self._acknowledged += 1
        if self._forgotten or self._log_bytes > self._limits.replay_bytes:
            while self._forgotten < self._acknowledged:
                self._log_bytes -= len(self._log.popleft())
                self._forgotten += 1
        self._room.set()
        self.pump()

    def deliver(self, body: bytes, *, interim: bool) -> None:
        """Take an output of the worker, unless an earlier worker already sent it."""
        self._credit -= 1
        self._seen += not interim
        if (self._acknowledged < self._repeating_until) if interim else (self._seen <= self._received):
            self._return_credit()
            return
        self._received += not interim
        self._outbox.append(Output(decode(body), interim))
        self._changed.set()

    def detach(self, *, blamed: bool) -> bool:
        """The worker died, computing for this stream if ``blamed``. Returns whether the stream can go to another one."""
        self._link = None
        self._deaths += blamed
        self._moves += 1
        self._repeating_until = max(self._repeating_until, self._acknowledged)
        if self._deaths >= MAX_DEATHS or self._moves >= MAX_MOVES:
            self.end(EngineCrashed("the engine's worker died repeatedly on this stream", retry_seconds=1.0))
        elif self._forgotten:
            self.end(EngineCrashed("the engine's worker died, and this stream is too long to be repeated", retry_seconds=1.0))
        return not self._ended

    def end(self, error: MalhaError | None = None) -> None:
        """No more comes from the worker. Outputs already received are still handed out, then the error is raised."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._link = None
            self._log.clear()
            self._changed.set()
            self._room.set()

    @property
    def _length(self) -> int:
        return self._forgotten + len(self._log)

    @property
    def _unacknowledged(self) -> int:
        return self._length - self._acknowledged

    def _append(self, frame: bytes) -> None:
        if not self._ended:
            self._log.append(frame)
            self._log_bytes += len(frame)
            self.pump()

    def _return_credit(self) -> None:
        self._returnable += 1
        if self._link is not None and self._returnable >= max(1, self._limits.outputs_ahead // 2):
            self._credit += self._returnable
            self._link.write(pack(Kind.CREDIT, self.identifier, COUNT.pack(self._returnable)))
            self._returnable = 0
