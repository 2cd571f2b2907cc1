"""Cuts a channel's audio into files by the time of the media, so that whoever takes a call over goes on at the right place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from malha.recording.encoder import FILE_SECONDS, OpusFile, Samples

_MOST_SECONDS: Final = 7 * 24 * 3600
"""A place beyond no call has."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a channel as it is now: the same ``start_ms`` comes again, longer, until it is whole."""

    channel: int
    start_ms: int
    duration_ms: int
    content: bytes


class Tape:
    """One channel. ``keep`` takes its pieces. Used by one thread at a time."""

    def __init__(self, channel: int, bits_per_second: int, checkpoint_seconds: float, keep: Callable[[Piece], None]) -> None:
        self._channel = channel
        self._bits_per_second = bits_per_second
        self._checkpoint_seconds = checkpoint_seconds
        self._keep = keep
        self._rate = 0
        self._file: OpusFile | None = None
        self._start = 0
        """Frame of the media at which the file begins."""
        self._kept = 0
        """Frames of the file that a piece holds already."""

    def add(self, samples: Samples, seconds: float, rate: int) -> None:
        """Samples of shape (frames,) that begin at a time of the media. What is missing before them is silence; what came already is cut off."""
        if not 0 <= seconds < _MOST_SECONDS:
            return
        if rate != self._rate:
            self.seal()
            self._rate = rate
        position = round(seconds * rate)
        if self._file is not None:
            expected = self._start + self._file.frames
            if position < expected:
                samples, position = samples[expected - position :], expected
            elif position < self._end:
                self._write(np.zeros(position - expected, np.int16))
            else:
                self.seal()
        while samples.size:
            if self._file is None:
                self._file, self._start, self._kept = OpusFile(rate, self._bits_per_second), position, 0
            room = self._end - position
            self._write(samples[:room])
            position += min(room, samples.size)
            samples = samples[room:]
            if position >= self._end:
                self.seal()
        if self._file is not None and self._file.frames - self._kept >= self._checkpoint_seconds * rate:
            self._kept = self._file.frames
            self._tell(self._file.frames, self._file.so_far())

    def seal(self) -> None:
        """The file is whole."""
        file, self._file = self._file, None
        if file is not None:
            self._tell(file.frames, file.finish())

    @property
    def _end(self) -> int:
        """The frame at which the file's minute ends."""
        minute = FILE_SECONDS * self._rate
        return (self._start // minute + 1) * minute

    def _write(self, samples: Samples) -> None:
        assert self._file is not None
        if samples.size:
            self._file.add(samples)

    def _tell(self, frames: int, content: bytes) -> None:
        self._keep(Piece(self._channel, self._start * 1000 // self._rate, frames * 1000 // self._rate, content))
