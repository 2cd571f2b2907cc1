"""The last seconds of clean speech, in media time: what insights are made of. Bounded in time, in utterances and in characters."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from malha.insight.domain import Utterance
from malha.insight.keywords import Spoken
from malha.insight.words import Word

MOST_UTTERANCES: Final = 200
MOST_CHARACTERS: Final = 12_000
"""About 3,000 tokens of a model. The newest utterance stays even where it alone is longer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An utterance and its words."""

    utterance: Utterance
    words: tuple[Word, ...]
    stems: tuple[str, ...]
    """Of its content words."""
    spoken: tuple[Spoken, ...] = ()
    """The keywords in it."""


class Placed(Enum):
    """What became of an utterance."""

    NEW = "new"
    AMENDED = "amended"
    RETRACTED = "retracted"
    OLD = "old"
    """It lies before the window."""
    NOTHING = "nothing"
    """It has no words, and had none."""


class Window:
    """Utterances in the order they began."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: list[Entry] = []
        self._characters = 0
        self._now = 0.0

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        return tuple(entry.utterance for entry in self._entries)

    def put(self, entry: Entry) -> Placed:
        """Take in a segment's newest text in place of what it had. An empty one retracts it."""
        utterance = entry.utterance
        known = self._take(utterance.segment_id)
        if not entry.words:
            return Placed.RETRACTED if known else Placed.NOTHING
        if utterance.end < self._now - self._seconds:
            return Placed.OLD
        self._insert(entry)
        self.move(utterance.end)
        return Placed.AMENDED if known else Placed.NEW

    def move(self, now: float) -> None:
        """Media time goes on; it never goes back. What leaves the window is forgotten."""
        self._now = max(self._now, now)
        oldest = self._now - self._seconds
        self._entries = [entry for entry in self._entries if entry.utterance.end >= oldest]
        self._characters = sum(len(entry.utterance.text) for entry in self._entries)
        while len(self._entries) > 1 and (len(self._entries) > MOST_UTTERANCES or self._characters > MOST_CHARACTERS):
            self._characters -= len(self._entries.pop(0).utterance.text)

    def _insert(self, entry: Entry) -> None:
        place = len(self._entries)
        while place and _order(self._entries[place - 1]) > _order(entry):
            place -= 1
        self._entries.insert(place, entry)

    def _take(self, segment_id: str) -> Entry | None:
        for index, entry in enumerate(self._entries):
            if entry.utterance.segment_id == segment_id:
                return self._entries.pop(index)
        return None


def _order(entry: Entry) -> tuple[float, int]:
    return entry.utterance.start, entry.utterance.seq
