"""Positions: overlap is trimmed, a jump is told, nothing is counted twice."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from malha.audio.formats.samples import MIN_RATE_HERTZ
from malha.audio.timeline import MAX_POSITION, Timeline
from malha.runtime.errors import InvalidArgument


def test_audio_without_positions_follows_on() -> None:
    timeline = Timeline()
    assert timeline.place(None, 100).gap is None
    assert timeline.place(None, 50).trim == 0
    assert timeline.received_through == 150


def test_overlap_is_trimmed_and_a_jump_is_told() -> None:
    timeline = Timeline()
    timeline.place(0, 100)
    assert timeline.place(60, 100).trim == 40
    placement = timeline.place(200, 10)
    assert placement.gap == (160, 200)
    assert timeline.received_through == 210


def test_what_was_all_received_before_is_all_trimmed() -> None:
    timeline = Timeline()
    timeline.place(0, 100)
    assert timeline.place(10, 20).trim == 20
    assert timeline.received_through == 100


def test_a_position_beyond_any_call_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="beyond any call"):
        Timeline().place(MAX_POSITION + 1, 1)


def test_the_last_position_is_a_time_that_protobuf_and_dates_know() -> None:
    seconds = MAX_POSITION // MIN_RATE_HERTZ
    json_format.MessageToJson(Duration(seconds=seconds))
    assert datetime(2027, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 500)), st.integers(0, 60)), max_size=40))
def test_every_unit_is_new_once_or_in_a_gap(pieces: list[tuple[int | None, int]]) -> None:
    timeline, told, expected = Timeline(), set(), 0
    for position, length in pieces:
        placement = timeline.place(position, length)
        start = (expected if position is None else position) + placement.trim
        end = (expected if position is None else position) + length
        fresh = set(range(start, end))
        assert not fresh & told, "told twice"
        if placement.gap:
            assert placement.gap[0] == expected
            fresh |= set(range(*placement.gap))
        told |= fresh
        expected = timeline.received_through
    assert told == set(range(timeline.received_through))
