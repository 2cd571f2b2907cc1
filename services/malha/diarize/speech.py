"""Where in a channel somebody speaks: the WebRTC detector behind an adaptive energy gate, smoothed into stretches of speech.

Everything is counted in frames of 20 ms from the start of the stream. The same audio gives the same stretches however it is divided.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import _webrtcvad
import numpy as np
import numpy.typing as npt

from malha.diarize.engine import SAMPLE_RATE_HERTZ

FRAME_SECONDS: Final = 0.02
FRAME_SAMPLES: Final = int(SAMPLE_RATE_HERTZ * FRAME_SECONDS)

AGGRESSIVENESS: Final = 2
LOUDER_THAN_FLOOR: Final = 1.8
LEAST_RMS: Final = 20.0
FLOOR_FALL, FLOOR_RISE, FLOOR_CREEP = 0.2, 0.02, 0.0005
"""How fast the noise floor follows a quieter frame, a louder one without voice, and one with voice."""
ONSET_FRAMES, ONSET_OF = 3, 5
"""So many voiced frames of so many begin a stretch."""
SHORTEST_FRAMES: Final = 8
"""A shorter one is a click, or the beginning of a noise that is not yet known to be one."""
PAUSE_FRAMES: Final = 20
"""So many frames without voice end it."""
FAINT: Final = 10 ** (-15 / 20)
"""A stretch so much fainter than the channel's speech before it is of nobody who takes part: somebody in the background."""
LEVEL_FRAMES: Final = 50
"""Frames with voice that tell how loud a channel's speech is."""


STEADY: Final = 2.0
"""Anybody's louder moments are more than so many times as loud as the quieter ones; those of a hum, a hiss or a tone are not."""


def is_steady(samples: npt.NDArray[np.int16]) -> bool:
    """Whether a whole recording is one even sound, which the detector may take for a voice."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    if not len(frames):
        return True
    quiet, loud = np.percentile(frames.astype(np.float32).std(axis=1), (10, 90))
    return bool(loud <= quiet * STEADY)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Speech from frame ``start`` up to ``end``."""

    start: int
    end: int
    dismissed: bool = False
    """Whether it is of nobody who takes part: too short, or too faint."""


class SpeechFinder:
    """Finds the speech of one channel as it comes."""

    def __init__(self) -> None:
        self.heard = 0
        """Whole frames so far."""
        self.speech = 0
        """Of those, how many lie in stretches that have ended."""
        self._detector = _webrtcvad.create()
        _webrtcvad.init(self._detector)
        _webrtcvad.set_mode(self._detector, AGGRESSIVENESS)
        self._floor = 0.0
        self._rest = np.empty(0, np.int16)
        self._recent: deque[bool] = deque(maxlen=ONSET_OF)
        self._start: int | None = None
        self._voiced_until = 0
        self._energy = _Energy()
        """Of the present stretch."""
        self._level = _Energy()
        """Of those before it."""

    @property
    def open(self) -> Stretch | None:
        """The stretch that goes on, up to its last voiced frame."""
        return None if self._start is None or self._is_faint else Stretch(self._start, self._voiced_until)

    @property
    def began(self) -> int | None:
        """Where the present stretch begins, be it faint so far or not; None: nobody speaks."""
        return self._start

    def feed(self, samples: npt.NDArray[np.int16]) -> list[Stretch]:
        """Hear more; the stretches that have ended. What does not fill a frame waits for more."""
        samples = np.concatenate((self._rest, samples))
        count = len(samples) // FRAME_SAMPLES
        frames = samples[: count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES)
        self._rest = samples[count * FRAME_SAMPLES :]
        loudness = frames.astype(np.float32).std(axis=1).tolist() if count else []
        ended = [self._take(rms, voiced=self._voiced(frame, rms)) for frame, rms in zip(frames, loudness, strict=True)]
        return [stretch for stretch in ended if stretch is not None]

    def end(self) -> list[Stretch]:
        """No more comes."""
        return [] if self._start is None else [self._close()]

    def _voiced(self, frame: npt.NDArray[np.int16], rms: float) -> bool:
        loud = rms > LEAST_RMS and rms > self._floor * LOUDER_THAN_FLOOR
        voiced = loud and bool(_webrtcvad.process(self._detector, SAMPLE_RATE_HERTZ, frame.data, FRAME_SAMPLES))
        pace = FLOOR_CREEP if voiced else FLOOR_FALL if rms < self._floor else FLOOR_RISE
        self._floor += (rms - self._floor) * pace
        return voiced

    def _take(self, rms: float, *, voiced: bool) -> Stretch | None:
        self.heard += 1
        self._recent.append(voiced)
        if self._start is None:
            if sum(self._recent) < ONSET_FRAMES:
                return None
            self._start = self.heard - len(self._recent) + self._recent.index(True)
            self._voiced_until = self.heard
        elif voiced:
            self._voiced_until = self.heard
        elif self.heard - self._voiced_until >= PAUSE_FRAMES:
            return self._close()
        if voiced:
            self._energy.add(rms * rms, 1)
        return None

    @property
    def _is_faint(self) -> bool:
        return self._level.frames >= LEVEL_FRAMES and self._energy.mean < self._level.mean * FAINT**2

    def _close(self) -> Stretch:
        assert self._start is not None
        short = self._voiced_until - self._start < SHORTEST_FRAMES
        stretch = Stretch(self._start, self._voiced_until, short or self._is_faint)
        if not stretch.dismissed:
            self._level.add(self._energy.total, self._energy.frames)
            self.speech += stretch.end - stretch.start
        self._start, self._energy = None, _Energy()
        self._recent.clear()
        return stretch


@dataclass(slots=True)
class _Energy:
    """The mean square of so many frames."""

    total: float = 0.0
    frames: int = 0

    @property
    def mean(self) -> float:
        return self.total / self.frames if self.frames else 0.0

    def add(self, total: float, frames: int) -> None:
        """More frames, and the sum of their mean squares."""
        self.total += total
        self.frames += frames
