"""One call of the load generator: a WebSocket that sends shared frames and keeps account of what it is told, and when."""

import asyncio
import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, cast

import orjson

from malha.bench.statistics import Ledger
from malha.bench.websocket import Opcode, ProtocolError, Reader, Target, frame, handshake

TIMED_EVENTS = frozenset({"speech_started", "speech_ended", "batch_processed"})
STOP = frame(Opcode.TEXT, b'{"event":"stop"}')
ACK = b'"event":"ack"'


@dataclass(frozen=True, slots=True)
class Script:
    """What every session of a run shares."""

    target: Target
    authorization: str
    start: bytes
    """The frame of the ``start`` event."""
    frames: Sequence[bytes]
    """The audio loop: one WebSocket frame per chunk."""
    chunk_frames: int
    """Samples per channel in one chunk: the unit of the server's positions."""


@dataclass(slots=True)
class Tally:
    """What the sessions of a run were told, summed up. Latencies are in milliseconds, one list for each kind of event."""

    latencies: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    events: Counter[str] = field(default_factory=Counter)
    unplaced: int = 0
    """Timed events without a position that names a chunk."""


class Session(asyncio.Protocol):
    """Opens on ``connection_made``; then the owner calls ``send`` once per chunk, ``stop``, and waits for ``done``."""

    def __init__(self, script: Script, first_chunk: int, tally: Tally) -> None:
        loop = asyncio.get_running_loop()
        self.ledger = Ledger()
        self.first_chunk = first_chunk
        self.started: asyncio.Future[float] = loop.create_future()
        """Seconds from the connection to ``session_started``, or an error."""
        self.done: asyncio.Future[None] = loop.create_future()
        self.sent = array("d")
        self.stopped = False
        self.engine = ""
        """As told in ``session_started``."""
        self.blocked = 0
        """How often the server did not read what was sent."""
        self._script = script
        self._tally = tally
        self._next = first_chunk
        self._opened_at = 0.0
        self._transport: asyncio.Transport
        self._reader: Reader

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not registered as such
        self._opened_at = monotonic()
        request, accept = handshake(self._script.target, self._script.authorization)
        self._reader = Reader(accept)
        self._transport.write(request)

    def send(self) -> None:
        """Send the next chunk."""
        index = self._next
        self._next = index + 1 if index + 1 < len(self._script.frames) else 0
        self.sent.append(monotonic())
        self._transport.write(self._script.frames[index])

    def stop(self) -> None:
        """Ask the server to finish the call."""
        self.stopped = True
        if not self._transport.is_closing():
            self._transport.write(STOP)

    def abort(self, reason: str) -> None:
        """Give the call up; what it was told stays as it is."""
        self._fail(reason)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        now = monotonic()
        was_open = self._reader.opened
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode == Opcode.TEXT:
                    if ACK not in payload[:20]:
                        self._told(orjson.loads(payload), now)
                elif opcode == Opcode.PING:
                    self._transport.write(frame(Opcode.PONG, payload))
                elif opcode == Opcode.CLOSE:
                    self._fail(f"close {int.from_bytes(payload[:2], 'big')}")
                    self._transport.close()
        except (ProtocolError, orjson.JSONDecodeError) as error:
            self.abort(str(error))
            return
        if self._reader.opened and not was_open:
            self._transport.write(self._script.start)

    def pause_writing(self) -> None:
        self.blocked += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(type(exc).__name__ if exc else "closed")

    def _told(self, event: dict[str, Any], now: float) -> None:
        name = event["event"]
        self._tally.events[name] += 1
        if seq := event.get("seq"):
            self.ledger.told(seq)
        if name in TIMED_EVENTS and not self.stopped:
            self._time(name, event.get("position"), now)
        if name == "batch_processed":
            self._finals(event)
        elif name == "session_started":
            self.engine = str(event["engine"])
            self.started.set_result(now - self._opened_at)
        elif name == "final_summary":
            self.ledger.summary_segments = event["segments"]
        elif name == "session_ended":
            self.ledger.ended = event["reason"] == "finished"
            self._fail("" if self.ledger.ended else event["reason"])
            self._transport.close()
        elif name == "error":
            self.ledger.error = event.get("reason", "error")

    def _time(self, name: str, position: int | None, now: float) -> None:
        chunk = math.ceil((position or 0) / self._script.chunk_frames) - 1
        if 0 <= chunk < len(self.sent):
            self._tally.latencies[name].append((now - self.sent[chunk]) * 1e3)
        else:
            self._tally.unplaced += 1

    def _finals(self, event: dict[str, Any]) -> None:
        for segment in event["segments"]:
            boundary = (event["channel"], segment["start_sec"], segment["end_sec"])
            self.ledger.final(segment["id"], segment["revision"], segment["text"], boundary)

    def _fail(self, reason: str) -> None:
        """The call is over, whether or not it went well."""
        if reason and not self.ledger.ended:
            self.ledger.error = self.ledger.error or reason
        if not self.started.done():
            self.started.set_exception(ConnectionError(self.ledger.error or "closed before session_started"))
        if not self.done.done():
            self.done.set_result(None)
