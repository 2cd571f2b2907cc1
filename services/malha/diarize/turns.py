"""What was told of turns, and what has to be told anew: each turn keeps its id while it grows, moves or changes its speaker."""

from collections.abc import Sequence

from malha.diarize.engine import Turn
from malha.diarize.speech import FRAME_SECONDS
from malha.diarize.timeline import Span


class ToldTurns:
    """The turns of one stream as the client has them."""

    def __init__(self) -> None:
        self._told: list[tuple[Span, Turn]] = []
        self._next = 1

    def update(self, spans: Sequence[Span]) -> list[Turn]:
        """What to tell so that the client has these spans, and no others. ``spans`` in order of time.

        A span takes the id of the turn it shares most time with.
        """
        same = 0
        while same < min(len(spans), len(self._told)) and self._told[same][0] == spans[same]:
            same += 1
        before, first = self._told[same:], 0
        free = dict(enumerate(before))
        changed: list[Turn] = []
        del self._told[same:]
        for span in spans[same:]:
            while first < len(before) and before[first][0].end <= span.start:
                first += 1
            near = (at for at in range(first, len(before)) if at in free and _shared(before[at][0], span) > 0)
            best = max(near, key=lambda at: _shared(before[at][0], span), default=None)
            turn = self._new(span) if best is None else _revised(*free.pop(best), span)
            self._told.append((span, turn))
            if best is None or turn is not before[best][1]:
                changed.append(turn)
        return [*(_retracted(turn) for _, turn in free.values()), *changed]

    def _new(self, span: Span) -> Turn:
        turn = _turn(self._next, 1, span)
        self._next += 1
        return turn


def _shared(one: Span, other: Span) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def _revised(was: Span, turn: Turn, span: Span) -> Turn:
    return turn if was == span else _turn(turn.id, turn.revision + 1, span)


def _retracted(turn: Turn) -> Turn:
    return Turn(turn.id, turn.revision + 1, 0, turn.start, turn.start)


def _turn(identifier: int, revision: int, span: Span) -> Turn:
    return Turn(identifier, revision, span.voice + 1, round(span.start * FRAME_SECONDS, 3), round(span.end * FRAME_SECONDS, 3))
