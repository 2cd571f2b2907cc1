"""Speech is cut into windows that lie within it, whichever way it comes."""

from malha.diarize.speech import Stretch
from malha.diarize.windows import HOP_FRAMES, LEAST_FRAMES, TAIL_FRAMES, WINDOW_FRAMES, Window, WindowPlanner


def planned(*ends: int, start: int = 0) -> list[Window]:
    """The windows of a stretch that was seen to grow to these ends, the last of which is its own."""
    planner = WindowPlanner()
    windows = [window for end in ends[:-1] for window in planner.grow(Stretch(start, end))]
    return [*windows, *planner.close(Stretch(start, ends[-1]))]


def test_a_short_stretch_is_one_window_and_a_breath_none() -> None:
    assert planned(LEAST_FRAMES) == [Window(0, 0, LEAST_FRAMES)]
    assert planned(LEAST_FRAMES - 1) == []


def test_windows_overlap_and_the_last_ends_with_the_stretch() -> None:
    end = WINDOW_FRAMES + 2 * HOP_FRAMES + TAIL_FRAMES
    windows = planned(end)
    assert [window.start for window in windows[:3]] == [0, HOP_FRAMES, 2 * HOP_FRAMES]
    assert windows[-1] == Window(0, end - WINDOW_FRAMES, end)
    assert all(window.end - window.start == WINDOW_FRAMES for window in windows)


def test_a_rest_that_is_hardly_more_gets_no_window_of_its_own() -> None:
    assert len(planned(WINDOW_FRAMES + TAIL_FRAMES - 1)) == 1


def test_how_a_stretch_grows_changes_nothing() -> None:
    for end in range(LEAST_FRAMES, 400, 7):
        assert planned(*range(1, end, 13), end, start=5) == planned(end, start=5)


def test_what_is_kept_is_enough_for_every_later_window() -> None:
    for end in range(LEAST_FRAMES, 400, 3):
        planner, kept = WindowPlanner(), 0
        for now in range(1, end, 11):
            for window in planner.grow(Stretch(0, now)):
                assert window.start >= kept
            kept = planner.needed_from(0)
        assert all(window.start >= kept for window in planner.close(Stretch(0, end)))


def test_a_stretch_that_was_not_seen_to_grow_is_needed_whole() -> None:
    assert WindowPlanner().needed_from(30) == 30
