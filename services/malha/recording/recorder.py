"""What a call hands its audio to: never waits, never raises. One thread of the process encodes and encrypts for all calls.

The encoder is C that lets go of the interpreter's lock. What the thread has no time for is dropped and counted, and is silence in the file.
"""

import asyncio
import os
import queue
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from prometheus_client import Counter

from malha.recording.encoder import Samples
from malha.recording.keys import seal
from malha.recording.settings import RecordingSettings
from malha.recording.tape import Piece, Tape

DROPPED = Counter("malha_recording_dropped_seconds", "Audio that was not recorded because encoding fell behind.")
RECORDED = Counter("malha_recording_seconds", "Audio that was recorded.")
FAILED = Counter("malha_recording_failures", "Recordings that did not begin in time, or ended early because encoding failed.")

GATHER_SECONDS: Final = 1.0
"""Audio of a channel goes to the thread in pieces of about this."""
_NICE: Final = 10
_MOST_CHANNELS: Final = 32


@dataclass(frozen=True, slots=True)
class Label:
    """What a recording is of. ``epoch``: of the session's owner."""

    tenant_id: uuid.UUID
    conversation_id: uuid.UUID
    session_id: uuid.UUID
    epoch: int

    def name(self, channel: int, start_ms: int) -> str:
        """Of a file."""
        return f"{self.tenant_id}/{self.conversation_id}/{self.session_id}-{channel}-{start_ms:09d}-{self.epoch}.opus"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A file, encrypted, to be stored under its name."""

    label: Label
    channel: int
    start_ms: int
    duration_ms: int
    content: bytes

    @property
    def name(self) -> str:
        return self.label.name(self.channel, self.start_ms)


class Encoders:
    """The thread. ``keep`` takes what it made, on the event loop."""

    def __init__(self, settings: RecordingSettings, keep: Callable[[Sealed], None]) -> None:
        self.settings = settings
        self._keep = keep
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._given = 0.0
        """Seconds of audio; written by the loop alone, as `_done` is by the thread alone."""
        self._done = 0.0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin, within a running event loop."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
            self._thread.start()

    async def close(self, seconds: float) -> None:
        """Encode what was given, as far as ``seconds`` allow."""
        if self._thread is not None:
            self._work.put(None)
            await asyncio.to_thread(self._thread.join, seconds)
            self._thread = None

    def room(self, seconds: float) -> bool:
        """Whether so much more audio may wait."""
        return self._given - self._done + seconds <= self.settings.recording_waiting_seconds

    def give(self, work: Callable[[], None], seconds: float) -> None:
        """Have the thread do something that is about so much audio."""
        self._given += seconds

        def counted() -> None:
            try:
                work()
            finally:
                self._done += seconds

        self._work.put(counted)

    def tell(self, sealed: Sealed) -> None:
        """From the thread: a file is to be stored."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has ended: so has the process, nearly
            self._loop.call_soon_threadsafe(self._keep, sealed)

    def _run(self) -> None:
        with suppress(OSError):  # only Linux gives a thread a niceness of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while (work := self._work.get()) is not None:
            work()


class Recorder:
    """Records one call, as long as one process owns it."""

    def __init__(self, encoders: Encoders, label: Label, key: bytes) -> None:
        self._encoders = encoders
        self._label = label
        self._key = key
        self._waiting: dict[int, _Gathered] = {}
        self._tapes: dict[int, Tape] = {}
        """Of the thread alone."""
        self._broken = False
        self._closed = False

    def add(self, channel: int, samples: Samples, seconds: float, rate: int) -> None:
        """Record samples of shape (frames,), int16, which begin at ``seconds`` of the media. The caller changes them no more."""
        if self._closed or not samples.size or not 0 <= channel < _MOST_CHANNELS:
            return
        waiting = self._waiting.get(channel)
        if waiting is not None and not waiting.goes_on(seconds, rate):
            self._hand_over(channel)
            waiting = None
        if waiting is None:
            waiting = self._waiting[channel] = _Gathered(seconds, rate)
        waiting.pieces.append(samples)
        waiting.frames += samples.size
        if waiting.frames >= GATHER_SECONDS * rate:
            self._hand_over(channel)

    def close(self) -> None:
        """No more comes: the last files are whole. Returns at once."""
        if not self._closed:
            for channel in list(self._waiting):
                self._hand_over(channel)
            self._closed = True
            self._encoders.give(self._seal, 0)

    def _hand_over(self, channel: int) -> None:
        gathered = self._waiting.pop(channel)
        seconds = gathered.frames / gathered.rate
        if self._encoders.room(seconds):
            self._encoders.give(lambda: self._encode(channel, gathered), seconds)
        else:
            DROPPED.inc(seconds)

    def _encode(self, channel: int, gathered: "_Gathered") -> None:
        if self._broken:
            return
        settings = self._encoders.settings
        tape = self._tapes.get(channel)
        if tape is None:
            arguments = (channel, settings.recording_bits_per_second, settings.recording_checkpoint_seconds, self._keep)
            tape = self._tapes[channel] = Tape(*arguments)
        try:
            tape.add(np.concatenate(gathered.pieces), gathered.start, gathered.rate)
        except Exception:
            self._break()
        else:
            RECORDED.inc(gathered.frames / gathered.rate)

    def _seal(self) -> None:
        for tape in self._tapes.values():
            try:
                tape.seal()
            except Exception:
                self._break()
        self._tapes.clear()

    def _break(self) -> None:
        """The call goes on without a recording."""
        self._broken = True
        FAILED.inc()

    def _keep(self, piece: Piece) -> None:
        name = self._label.name(piece.channel, piece.start_ms)
        content = seal(self._key, name, piece.content)
        self._encoders.tell(Sealed(self._label, piece.channel, piece.start_ms, piece.duration_ms, content))


class _Gathered:
    """A channel's audio on its way to the thread."""

    def __init__(self, start: float, rate: int) -> None:
        self.start = start
        self.rate = rate
        self.frames = 0
        self.pieces: list[Samples] = []

    def goes_on(self, seconds: float, rate: int) -> bool:
        """Whether audio at that time follows without a hole."""
        return rate == self.rate and abs(self.start + self.frames / rate - seconds) * rate < 2
