"""Moments go to the voice that the windows over them are most like."""

import itertools

import numpy as np

from malha.diarize.speech import Stretch
from malha.diarize.timeline import BRIDGED_FRAMES, STEP_FRAMES, Span, bridged, spans_of
from malha.diarize.windows import Window


def windows(*starts: int, length: int = 80) -> list[Window]:
    return [Window(0, start, start + length) for start in starts]


def test_one_voice_is_one_span_and_without_windows_nobody_speaks() -> None:
    stretch = Stretch(0, 163)
    assert spans_of(stretch, windows(0, 40, 80), np.array([[0.9, 0.5]] * 3)) == [Span(0, 163, 0)]
    assert spans_of(stretch, [], np.zeros((0, 2))) == []


def test_a_change_of_voice_lies_between_the_middles_of_the_windows() -> None:
    first, second = spans_of(Stretch(0, 160), windows(0, 80), np.array([[0.9, 0.5], [0.5, 0.9]]))
    assert (first.voice, second.voice) == (0, 1)
    assert first.end == second.start
    assert abs(first.end - 80) <= STEP_FRAMES


def test_the_surer_window_has_more_of_the_time_between() -> None:
    even = spans_of(Stretch(0, 160), windows(0, 40, 80), np.array([[0.9, 0.5], [0.7, 0.7], [0.5, 0.9]]))
    early = spans_of(Stretch(0, 160), windows(0, 40, 80), np.array([[0.8, 0.7], [0.5, 0.9], [0.5, 0.9]]))
    assert early[0].end < even[0].end


def test_spans_cover_the_stretch_without_overlap() -> None:
    draw = np.random.default_rng(5)
    for end in range(80, 400, 37):
        plan = windows(*range(0, end - 79, 40))
        spans = spans_of(Stretch(0, end), plan, draw.random((len(plan), 3)))
        assert (spans[0].start, spans[-1].end) == (0, end)
        assert all(one.end == other.start and one.voice != other.voice for one, other in itertools.pairwise(spans))


def test_short_pauses_within_a_voice_are_bridged() -> None:
    spans = [Span(0, 50, 0), Span(50 + BRIDGED_FRAMES, 90, 0), Span(95, 120, 1), Span(121 + BRIDGED_FRAMES, 170, 1)]
    assert bridged(spans) == [Span(0, 90, 0), Span(95, 120, 1), Span(121 + BRIDGED_FRAMES, 170, 1)]
