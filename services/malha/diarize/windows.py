"""Cuts stretches of speech into the windows whose voice is compared: long enough to tell voices apart, overlapping to tell when they change.

As Wang et al., "Speaker diarization with LSTM" (ICASSP 2018): windows lie within a stretch and never across a pause. Counted in frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from malha.diarize.speech import Stretch

WINDOW_FRAMES: Final = 60
HOP_FRAMES: Final = 30
LEAST_FRAMES: Final = 15
"""Of a stretch of its own: less is a breath or a click, and sounds like nobody."""
TAIL_FRAMES: Final = 10
"""A rest of a stretch that is longer gets another window, which ends with it."""


@dataclass(frozen=True, slots=True)
class Window:
    """Frames ``start`` up to ``end`` of the stretch that begins at ``stretch``."""

    stretch: int
    start: int
    end: int


class WindowPlanner:
    """Plans the windows of one channel's stretches, as they grow."""

    def __init__(self) -> None:
        self._stretch = -1
        self._next = 0
        """Where the next window of the present stretch begins."""

    def grow(self, stretch: Stretch) -> Iterator[Window]:
        """The windows that a stretch that still goes on has room for, besides those it had."""
        if stretch.start != self._stretch:
            self._stretch = self._next = stretch.start
        while self._next + WINDOW_FRAMES <= stretch.end:
            yield Window(stretch.start, self._next, self._next + WINDOW_FRAMES)
            self._next += HOP_FRAMES

    def close(self, stretch: Stretch) -> Iterator[Window]:
        """The last windows of a stretch that has ended."""
        yield from self.grow(stretch)
        told_until = self._next - HOP_FRAMES + WINDOW_FRAMES if self._next > stretch.start else stretch.start
        if self._next == stretch.start:
            if stretch.end - stretch.start >= LEAST_FRAMES:
                yield Window(stretch.start, stretch.start, stretch.end)
        elif stretch.end - told_until >= TAIL_FRAMES:
            yield Window(stretch.start, stretch.end - WINDOW_FRAMES, stretch.end)
        self._stretch = -1

    def needed_from(self, start: int) -> int:
        """The first frame that a later window of the stretch that begins at ``start``, and goes on, may have."""
        return start if start != self._stretch else max(start, self._next - HOP_FRAMES)
