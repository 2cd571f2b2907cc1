"""The load generator, a process of its own: many paced WebSocket calls from one event loop.

It reads one JSON object (`Load`) from standard input, tells the phases of the run as JSON lines on standard output, so that its parent can
measure the servers between them, and ends with the line ``{"phase": "result", ...}``. One core holds it: a chunk costs one ``write`` of bytes
that exist already, all chunks are driven by one timer, and session i of N sends at i/N of the chunk interval.
"""

import asyncio
import gc
import math
import resource
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import orjson
import uvloop

from malha.bench.session import Script, Session, Tally
from malha.bench.speech import RATE
from malha.bench.statistics import compare, summary
from malha.bench.websocket import Opcode, Target, frame

OPENING_AT_ONCE = 32
OPEN_SECONDS = 30.0
CLOSE_SECONDS = 30.0
SETTLE_SECONDS = 3.0
"""Streaming before the steady part is measured; at most a quarter of the run."""
REFERENCES = 8
REFERENCE_PACE = 10.0
REFERENCE_SECONDS = 120.0
"""Of audio, at most: long runs are compared as far as their references went."""
UNDECIDED_SECONDS = 12.0
"""Before the end of a shorter reference: what it was told there may be cut by its end, not by the audio."""
LATE_P99_MS = 5.0
BEHIND_P99_MS = 1000.0
"""Added latency that means: the servers did not keep up, so what they cost for each second of audio was not measured."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to generate."""

    url: str
    token: str
    sessions: int
    seconds: float
    """Wall-clock length of the streaming."""
    audio: str
    """A file of interleaved PCM16 at 16 kHz: the loop, each session begins elsewhere in it."""
    channels: int = 1
    chunk_ms: int = 100
    pace: float = 1.0
    """How many times faster than it was spoken audio is sent."""
    language: str = "en"
    insights: bool = False
    """Whether the calls want advice."""

    @property
    def interval(self) -> float:
        """Seconds from one chunk of a session to its next."""
        return self.chunk_ms / 1e3 / self.pace

    @property
    def chunks(self) -> int:
        """Chunks each session sends."""
        return max(1, round(self.seconds / self.interval))


def script_of(load: Load) -> Script:
    """What the sessions of this load share."""
    chunk_frames = RATE * load.chunk_ms // 1000
    size = chunk_frames * 2 * load.channels
    audio = Path(load.audio).read_bytes()
    roles = ["agent", "customer"][: load.channels] if load.channels > 1 else []
    start = {
        "event": "start",
        "conversation_id": "bench",
        "language": load.language,
        "encoding": "pcm16",
        "sample_rate": RATE,
        "channels": load.channels,
        "roles": roles,
        "enable_insights": load.insights,
    }
    return Script(
        target=Target.parse(load.url),
        authorization=f"Bearer {load.token}",
        start=frame(Opcode.TEXT, orjson.dumps(start)),
        frames=[frame(Opcode.BINARY, audio[at : at + size]) for at in range(0, len(audio) - size + 1, size)],
        chunk_frames=chunk_frames,
    )


class Pacer:
    """Drives the sends of all sessions from one timer, in slots of at least a millisecond spread over the chunk interval."""

    def __init__(self, sessions: Sequence[Session], interval: float, chunks: int) -> None:
        count = max(1, min(len(sessions), int(interval * 1e3)))
        self._slots: list[list[Session]] = [[] for _ in range(count)]
        for number, session in enumerate(sessions):
            self._slots[number * count // len(sessions)].append(session)
        self._width = interval / count
        self._sends = chunks * count
        self._sent_slots = 0
        self._begin = 0.0
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self.late_ms: list[float] = []
        """How far behind its schedule each slot was, when its last chunk was sent."""
        self.chunks_sent = 0

    async def run(self) -> None:
        """Send every chunk, then stop every session; returns when all are sent."""
        self._begin = monotonic() + 0.01
        self._tick()
        await self._finished

    def _tick(self) -> None:
        count, now = len(self._slots), monotonic()
        while (due := self._begin + self._sent_slots * self._width) <= now:
            slot = self._slots[self._sent_slots % count]
            if self._sent_slots >= self._sends:
                for session in slot:
                    session.stop()
            else:
                for session in slot:
                    if not session.done.done():
                        session.send()
                        self.chunks_sent += 1
                now = monotonic()
                self.late_ms.append((now - due) * 1e3)
            self._sent_slots += 1
            if self._sent_slots == self._sends + count:
                self._finished.set_result(None)
                return
        # uvloop's timers count whole milliseconds and round: rounding down would spin
        self._loop.call_later(math.ceil((due - now) * 1e3) / 1e3, self._tick)


async def _open(script: Script, first_chunks: Sequence[int], tally: Tally) -> list[Session]:
    """Open one session for each place in the loop to begin at. Raises ConnectionError if one cannot be opened."""
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(OPENING_AT_ONCE)

    async def connect(first_chunk: int) -> Session:
        async with gate, asyncio.timeout(OPEN_SECONDS):
            _, session = await loop.create_connection(lambda: Session(script, first_chunk, tally), script.target.host, script.target.port)
            await session.started
            return session

    tasks = [asyncio.create_task(connect(first_chunk)) for first_chunk in first_chunks]
    try:
        return await asyncio.gather(*tasks)
    except (OSError, TimeoutError):
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _close(sessions: Sequence[Session]) -> None:
    """Wait for what the servers still tell."""
    await asyncio.wait([asyncio.ensure_future(session.done) for session in sessions], timeout=CLOSE_SECONDS)
    for session in sessions:
        if not session.done.done():
            session.abort("no session_ended")


async def _references(load: Load, script: Script, first_chunks: Sequence[int]) -> list[Session]:
    """Sessions over the same audio on an idle server, faster than it was spoken: what loaded sessions must be told too."""
    sessions = await _open(script, first_chunks, Tally())
    chunks = min(load.chunks, round(REFERENCE_SECONDS * 1e3 / load.chunk_ms))
    await Pacer(sessions, load.chunk_ms / 1e3 / max(REFERENCE_PACE, load.pace), chunks).run()
    await _close(sessions)
    return sessions


async def generate(load: Load, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run a load and sum it up. ``tell`` is given the phases: idle, opened, steady, stopping."""
    script, tally = script_of(load), Tally()
    first_chunks = [number * len(script.frames) // load.sessions for number in range(load.sessions)]
    sampled = range(0, load.sessions, math.ceil(load.sessions / REFERENCES))
    references = await _references(load, script, [first_chunks[number] for number in sampled])
    tell({"phase": "idle"})
    sessions = await _open(script, first_chunks, tally)
    tell({"phase": "opened"})
    pacer = Pacer(sessions, load.interval, load.chunks)
    await _stream(load, pacer, tell)
    await _close(sessions)
    return _result(
        load, sessions, [(reference, sessions[number]) for reference, number in zip(references, sampled, strict=True)], pacer, tally
    )


async def _stream(load: Load, pacer: Pacer, tell: Callable[[dict[str, Any]], None]) -> None:
    """Send the audio, telling where the steady part begins and ends."""

    def mark(phase: str) -> None:
        tell({"phase": phase, "audio_seconds": pacer.chunks_sent * load.chunk_ms / 1e3, "cpu_seconds": process_time(), "at": monotonic()})

    loop, length = asyncio.get_running_loop(), load.chunks * load.interval
    settle = min(SETTLE_SECONDS, length / 4)
    timers = [loop.call_later(settle, mark, "steady"), loop.call_later(max(settle + 0.1, length - 0.2), mark, "stopping")]
    try:
        await pacer.run()
    finally:
        for timer in timers:
            timer.cancel()


def _result(
    load: Load, sessions: Sequence[Session], pairs: Sequence[tuple[Session, Session]], pacer: Pacer, tally: Tally
) -> dict[str, Any]:
    audio_seconds = load.chunks * load.chunk_ms / 1e3
    until = math.inf if audio_seconds <= REFERENCE_SECONDS else REFERENCE_SECONDS - UNDECIDED_SECONDS
    differences = [compare(reference.ledger.until(until), session.ledger.until(until)) for reference, session in pairs]
    late, added = summary(pacer.late_ms, (50, 99)), summary(value for values in tally.latencies.values() for value in values)
    return {
        "lost": sum(session.ledger.lost for session in sessions) + sum(missing for missing, _ in differences) + tally.events["gap"],
        "duplicated": sum(session.ledger.duplicated for session in sessions) + sum(surplus for _, surplus in differences),
        "added_ms": added,
        "behind": (added["p99"] or 0.0) > BEHIND_P99_MS,
        "added_ms_by_event": {name: {"count": len(values), **summary(values)} for name, values in sorted(tally.latencies.items())},
        "finals": sum(session.ledger.finals for session in sessions),
        "events": dict(sorted(tally.events.items())),
        "engine": sessions[0].engine,
        "unplaced": tally.unplaced,
        "references": {"compared": len(pairs), "segments": sum(len(reference.ledger.until(until)) for reference, _ in pairs)},
        "errors": dict(Counter(session.ledger.error for session in sessions if session.ledger.error)),
        "blocked_writes": sum(session.blocked for session in sessions),
        "opened_ms": summary((session.started.result() * 1e3 for session in sessions), (50, 99)),
        "audio_seconds": pacer.chunks_sent * load.chunk_ms / 1e3,
        "generator_late_ms": late,
        "generator_late": (late["p99"] or 0.0) > LATE_P99_MS,
    }


def raise_file_limit() -> None:
    """Two thousand sockets do not fit in the usual soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """Entry of the process. 1, with one line on standard error, if the sessions cannot be opened."""

    def tell(line: dict[str, Any]) -> None:
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
        sys.stdout.buffer.flush()

    load = Load(**orjson.loads(sys.stdin.buffer.read()))
    raise_file_limit()
    gc.disable()  # nothing here makes cycles that matter in one run, and a collection over thousands of sessions would be measured as latency
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            tell({"phase": "result", **runner.run(generate(load, tell))})
    except (OSError, TimeoutError, ValueError) as error:
        sys.stderr.write(f"malha bench: cannot open {load.sessions} sessions: {str(error) or 'no answer in time'}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
