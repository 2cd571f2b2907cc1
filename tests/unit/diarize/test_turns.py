"""What is told of turns: each keeps its id, and only what changed is told."""

from malha.diarize.engine import Turn
from malha.diarize.timeline import Span
from malha.diarize.turns import ToldTurns


def applied(events: list[Turn], known: dict[int, Turn]) -> dict[int, Turn]:
    """What a client has after these."""
    for event in events:
        assert event.revision == (known[event.id].revision + 1 if event.id in known else 1)
        known[event.id] = event
    return known


def shown(known: dict[int, Turn]) -> list[tuple[float, float, int]]:
    return sorted((turn.start, turn.end, turn.speaker) for turn in known.values() if turn.speaker)


def test_a_turn_that_grows_keeps_its_id() -> None:
    told = ToldTurns()
    assert told.update([Span(0, 50, 0)]) == [Turn(1, 1, 1, 0.0, 1.0)]
    assert told.update([Span(0, 100, 0)]) == [Turn(1, 2, 1, 0.0, 2.0)]
    assert told.update([Span(0, 100, 0)]) == []
    assert told.update([Span(0, 100, 0), Span(100, 150, 1)]) == [Turn(2, 1, 2, 2.0, 3.0)]


def test_one_that_turns_out_to_be_another_s_is_told_again() -> None:
    told = ToldTurns()
    told.update([Span(0, 50, 0), Span(50, 100, 1)])
    assert told.update([Span(0, 50, 1), Span(50, 100, 1)]) == [Turn(1, 2, 2, 0.0, 1.0)]


def test_what_splits_joins_and_goes_leaves_exactly_what_was_wanted() -> None:
    told, known = ToldTurns(), {}
    steps = [
        [Span(0, 100, 0), Span(110, 200, 1)],
        [Span(0, 40, 0), Span(40, 60, 1), Span(60, 100, 0), Span(110, 200, 1)],
        [Span(0, 200, 0)],
        [Span(10, 20, 2), Span(150, 160, 1)],
        [],
        [Span(5, 9, 0)],
    ]
    for spans in steps:
        applied(told.update(spans), known)
        assert shown(known) == [(span.start / 50, span.end / 50, span.voice + 1) for span in spans]


def test_many_random_changes_are_followed() -> None:
    import random

    draw, told, known = random.Random(7), ToldTurns(), {}
    for _ in range(200):
        cuts = sorted(draw.sample(range(400), 2 * draw.randint(0, 8)))
        spans = [Span(start, end, draw.randint(0, 2)) for start, end in zip(cuts[::2], cuts[1::2], strict=True)]
        applied(told.update(spans), known)
        assert shown(known) == sorted((span.start / 50, span.end / 50, span.voice + 1) for span in spans)
