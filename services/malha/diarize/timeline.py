"""From voices of windows to who speaks when: every moment goes to the voice that the windows over it are most like.

Windows overlap and a voice may change within one, so each moment weighs the windows around it by how near their middle is, and by how much
more they are like one voice than like another. Counted in frames.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from malha.diarize.clustering import Array
from malha.diarize.speech import Stretch
from malha.diarize.windows import Window

STEP_FRAMES: Final = 5
"""Moments that are decided together: 0.1 s."""
LEAST_WEIGHT: Final = 0.02
"""Of a window at its very ends."""
BRIDGED_FRAMES: Final = 50
"""Pauses of up to a second do not end a turn."""


class Span(NamedTuple):
    """A voice, from frame ``start`` up to ``end``."""

    start: int
    end: int
    voice: int


def spans_of(stretch: Stretch, windows: Sequence[Window], cosines: Array) -> list[Span]:
    """Who speaks in a stretch. ``cosines``: (windows, voices). Without a window nobody does."""
    if not windows:
        return []
    middles = np.arange(stretch.start + STEP_FRAMES / 2, stretch.end + STEP_FRAMES / 2, STEP_FRAMES)
    centres = np.array([(window.start + window.end) / 2 for window in windows])
    halves = np.array([(window.end - window.start) / 2 for window in windows])
    nearness = np.maximum(LEAST_WEIGHT, 1 - np.abs(middles[:, None] - centres) / halves)
    voices = np.argmax(nearness @ cosines, axis=1)
    changes = [0, *(np.flatnonzero(np.diff(voices)) + 1).tolist(), len(voices)]
    edges = [min(stretch.start + at * STEP_FRAMES, stretch.end) for at in changes]
    return [Span(edges[at], edges[at + 1], int(voices[changes[at]])) for at in range(len(edges) - 1)]


def bridged(spans: Iterable[Span]) -> list[Span]:
    """Spans of one voice with a short pause between them, joined."""
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].voice == span.voice and span.start - joined[-1].end <= BRIDGED_FRAMES:
            joined[-1] = Span(joined[-1].start, span.end, span.voice)
        else:
            joined.append(span)
    return joined
