"""What a session was told already: an insight that says the same again, or rests on the same words, is not shown."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from malha.insight.domain import Evidence, InsightType
from malha.insight.words import content, words

REMEMBERED: Final = 20
"""Insights; what was said before them may be said again."""
SIMILAR: Final = 0.6
"""Share of the content words of two messages that both have (Jaccard), from which on they say the same."""


class _Told(NamedTuple):
    type: InsightType
    stems: frozenset[str]
    evidence: frozenset[tuple[str, tuple[str, ...]]]


class Duplicates:
    """The last insights of one session."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._told: deque[_Told] = deque(maxlen=REMEMBERED)

    def told(self, type_: InsightType, message: str, evidence: Iterable[Evidence]) -> None:
        """An insight was shown."""
        self._told.append(_Told(type_, self._stems(message), self._places(evidence)))

    def repeats(self, type_: InsightType, message: str, evidence: Sequence[Evidence]) -> bool:
        """Whether one of this type said much the same, or rests on all of the same words."""
        if self.rests_on_the_same(type_, evidence):
            return True
        stems = self._stems(message)
        return any(told.type is type_ and _jaccard(told.stems, stems) >= SIMILAR for told in self._told)

    def rests_on_the_same(self, type_: InsightType, evidence: Sequence[Evidence]) -> bool:
        """Whether one of this type rests on all of the same words."""
        places = self._places(evidence)
        return bool(places) and any(told.type is type_ and places <= told.evidence for told in self._told)

    def _stems(self, message: str) -> frozenset[str]:
        return frozenset(content(words(message, self._language), self._language))

    def _places(self, evidence: Iterable[Evidence]) -> frozenset[tuple[str, tuple[str, ...]]]:
        return frozenset((each.segment_id, tuple(word.stem for word in words(each.quote, self._language))) for each in evidence)


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    either = len(first | second)
    return len(first & second) / either if either else 1.0
