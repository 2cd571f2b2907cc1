import uuid
from typing import Any

import pytest

from malha.store.session_updates import SessionUpdate, StoredEvent, StoredSegment, columns, rows_of

SESSION = uuid.uuid4()


def update(last_seq: int, epoch: int = 1, **given: Any) -> SessionUpdate:
    return SessionUpdate(SESSION, epoch, last_seq, **given)


def segment(revision: int, text: str = "", name: str = "0-1") -> StoredSegment:
    return StoredSegment(name, revision, 0, "agent", 0.0, 1.0, text)


def rows(*updates: SessionUpdate) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Sessions, events and segments, as rows again."""
    table = columns(rows_of(item) for item in updates)
    return list(zip(*table[:9], strict=True)), list(zip(*table[9:16], strict=True)), list(zip(*table[16:], strict=True))


def test_updates_of_a_session_are_joined_and_the_later_holds() -> None:
    sessions, _, _ = rows(update(2, committed={"0": 5}, flags={"held": True}), update(1, committed={"0": 9}, state="closed"))
    assert sessions == [(0, SESSION, 1, 2, '{"0":9}', None, None, '{"held":true}', "closed")]


def test_epochs_are_kept_apart() -> None:
    sessions, events, _ = rows(update(1, 1, events=[StoredEvent(1, "a", {})]), update(1, 2, events=[StoredEvent(1, "b", {})]))
    assert [(row[0], row[2]) for row in sessions] == [(0, 1), (1, 2)]
    assert [(row[0], row[2]) for row in events] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize(("revisions", "kept"), [((1, 2), 1), ((2, 1), 0), ((2, 2), 1)])
def test_of_a_segments_revisions_the_newest_is_kept(revisions: tuple[int, int], kept: int) -> None:
    _, _, segments = rows(*(update(1, segments=[segment(revision, str(index))]) for index, revision in enumerate(revisions)))
    assert [row[7] for row in segments] == [str(kept)]


def test_nul_and_lone_surrogates_are_left_out() -> None:
    _, events, segments = rows(update(1, events=[StoredEvent(1, "fi\x00nal", {"t": "a\x00\ud800"})], segments=[segment(1, "a\x00b\udfff")]))
    assert events[0][2::4] == ("final", '{"t":"a"}')
    assert segments[0][7] == "ab"


def test_what_is_no_json_is_the_callers_mistake() -> None:
    with pytest.raises(TypeError):
        rows_of(update(1, events=[StoredEvent(1, "final", object())]))
