"""A call that wants to survive: paced audio over a WebSocket, kept until it is acknowledged, resumed over another when that one is lost."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from malha.bench.speech import RATE

CHUNK_SECONDS = 0.1
CHUNK_FRAMES = int(RATE * CHUNK_SECONDS)
OPEN_SECONDS = 10.0
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5)
INSIGHT_CHUNKS = 50
"""The operator asks for an insight every so many chunks."""
END_SECONDS = 90.0
"""From the end of the audio to the last event."""


@dataclass(frozen=True, slots=True)
class Final:
    """A segment as it was told for good."""

    seq: int
    start: float
    end: float
    text: str
    latency_ms: float | None
    at: float
    """When it came, by the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Told:
    """An insight."""

    id: str
    type: str
    evidence: tuple[tuple[str, str], ...]
    """Segments, and the words in them."""


@dataclass(slots=True)
class ChaosCall:
    """One call. ``chunks`` are 16-bit mono at 16 kHz; ``pace`` false sends as fast as it is taken."""

    url: str
    authorization: str
    chunks: list[bytes]
    pace: bool = True
    on_change: Callable[["ChaosCall"], None] = lambda _: None
    """Told after each event, and when the server is lost."""
    latest: str = ""
    """What was understood last, perhaps not yet for good."""
    finals: list[Final] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    gaps: int = 0
    resumed: list[tuple[float, float]] = field(default_factory=list)
    """(when, how long the call was without its server, in milliseconds): by us, and by the edge for us."""
    insights: list[Told] = field(default_factory=list)
    ended: str = ""
    """The reason of ``session_ended``."""
    error: str = ""
    _token: str = ""
    _keep: tuple[int, int] = (0, 0)
    _next: int = 0
    _begin: float = 0.0
    _lost_at: float = 0.0

    @property
    def lost(self) -> bool:
        """Whether its connection is away, and it tries to go on. A loss behind the edge does not show here."""
        return self._lost_at > 0.0

    async def run(self) -> None:
        """Play the audio to its end and hear the call out, over as many connections as it takes."""
        self._begin = time.monotonic()
        deadline = self._begin + len(self.chunks) * CHUNK_SECONDS + END_SECONDS
        attempt = 0
        while not self.ended and not self.error and time.monotonic() < deadline:
            told = len(self.seqs)
            try:
                async with connect(
                    self.url,
                    additional_headers={"Authorization": self.authorization},
                    compression=None,
                    proxy=None,
                    open_timeout=OPEN_SECONDS,
                    close_timeout=1.0,
                ) as socket:
                    attempt = 0
                    await self._converse(socket, deadline)
            except (WebSocketException, InvalidHandshake, OSError, TimeoutError):
                pass
            if not self.ended and not self.error:
                self._lost_at = self._lost_at or time.monotonic()
                self.on_change(self)
                attempt = 0 if len(self.seqs) > told else attempt
                await asyncio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
                attempt += 1
        if not self.ended and not self.error:
            self.error = "the call did not end in time"

    async def _converse(self, socket: ClientConnection, deadline: float) -> None:
        await socket.send(orjson.dumps(self._opening()).decode())
        sending: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                async for message in socket:
                    event = orjson.loads(message)
                    if event["event"] == "session_started":
                        self._started(event)
                        sending = asyncio.create_task(self._send(socket))
                    else:
                        self._take(event)
                    self.on_change(self)
                    if self.ended or self.error:
                        return
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])

    def _opening(self) -> dict[str, Any]:
        audio = {"encoding": "pcm16", "sample_rate": RATE, "channels": 1, "positions": True}
        if self._token:
            position, frame = self._keep
            resume = {"token": self._token, "after_seq": max(self.seqs, default=0), "have_from": position, "have_from_frame": frame}
            return {"event": "resume", **resume, **audio}
        return {"event": "start", "pace": "live" if self.pace else "batch", "enable_insights": True, **audio}

    def _started(self, event: dict[str, Any]) -> None:
        self._token = event["resume_token"]
        self._next = min(self._next, event["resume_from"] // CHUNK_FRAMES)
        if self._lost_at:
            now = time.monotonic()
            self.resumed.append((now, (now - self._lost_at) * 1e3))
            self._lost_at = 0.0

    async def _send(self, socket: ClientConnection) -> None:
        try:
            while self._next < len(self.chunks):
                if self.pace:
                    await asyncio.sleep(self._begin + (self._next + 1) * CHUNK_SECONDS - time.monotonic())
                number = self._next
                self._next += 1
                await socket.send((number * CHUNK_FRAMES).to_bytes(8, "big") + self.chunks[number])
                if number % INSIGHT_CHUNKS == INSIGHT_CHUNKS - 1:
                    await socket.send('{"event":"insights","trigger":true}')
            await socket.send('{"event":"stop"}')
        except WebSocketException:
            return  # whoever reads the socket finds out

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("seq"):
            self.seqs.append(event["seq"])
        match event["event"]:
            case "ack":
                self._keep = event["keep_from"], event["keep_from_frame"]
            case "batch_processed":
                for each in event["segments"]:
                    told = (event["seq"], each["start_sec"], each["end_sec"], each["text"], event["latency_ms"])
                    self.finals.append(Final(*told, time.monotonic()))
                    self.latest = each["text"] or self.latest
            case "partial":
                self.latest = event["segments"][-1]["text"] or self.latest
            case "session_resumed":
                self._token = event["resume_token"]
                self.resumed.append((time.monotonic(), event["lost_ms"]))
            case "insight":
                evidence = tuple((each["segment_id"], each["quote"]) for each in event["evidence"])
                self.insights.append(Told(event["id"], event["type"], evidence))
            case "gap":
                self.gaps += 1
            case "session_ended":
                self.ended = event["reason"]
            case "error" if not event["retryable"]:
                self.error = event["reason"]
