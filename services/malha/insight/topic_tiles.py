"""Whether the talk came to another topic: the last stretch of it against the one before.

Source: the tiles of TextTiling (Hearst 1997), compared by the posteriors of a topic classifier, and by the TF-IDF of their stems in languages
that have none.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from malha.insight.topics import GREETING, Floats, TopicModel, topic_model
from malha.insight.window import Entry

TILE_STEMS: Final = 8
"""Content words in a tile, at least: fewer tell too little. Tiles are of whole utterances, courtesies left out."""
UNKNOWN_TILE_STEMS: Final = 20
"""In a language without a classifier."""
LEAST_POSTERIOR: Final = 0.45
"""Below this nothing is said of the topic."""
LEAST_DISTANCE: Final = 0.4
"""Between the posteriors of two tiles, 0 to 1 (total variation)."""
MOST_SIMILARITY: Final = 0.05
"""Between the stems of two tiles, 0 to 1 (cosine)."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A stretch of talk."""

    entries: tuple[Entry, ...]

    @property
    def stems(self) -> list[str]:
        return [stem for entry in self.entries for stem in entry.stems]


class TopicTracker:
    """Follows the topic of one call."""

    def __init__(self, language: str) -> None:
        self._model = topic_model(language)
        self._topic = ""
        self._courtesies: set[str] = set()
        """Segments of the window that are nothing else."""
        self._turned = -math.inf
        """When the topic changed last, where no classifier names it."""

    @property
    def topic(self) -> str:
        """What the talk is about; empty until that is clear, and in languages without a classifier."""
        return self._topic

    def say(self, entries: Sequence[Entry]) -> bool:
        """Whether with the last of ``entries`` the talk came to another topic, or to its first."""
        return self._by_stems(entries) if self._model is None else self._by_posterior(self._model, entries)

    def _by_posterior(self, model: TopicModel, entries: Sequence[Entry]) -> bool:
        if self._courteous(model, entries):
            return False
        last, before = tiles([entry for entry in entries if entry.utterance.segment_id not in self._courtesies], TILE_STEMS)
        if last is None:
            return False
        now = model.posterior(last.stems)
        topic = model.topics[int(now.argmax())]
        if now.max() < LEAST_POSTERIOR or topic in (GREETING, self._topic):
            return False
        if self._topic and (before is None or distance(now, model.posterior(before.stems)) < LEAST_DISTANCE):
            return False
        self._topic = topic
        return True

    def _courteous(self, model: TopicModel, entries: Sequence[Entry]) -> bool:
        """Whether the last of the entries is a greeting or a thank-you; such words dilute the topic of what stands around them."""
        last = entries[-1]
        self._courtesies &= {entry.utterance.segment_id for entry in entries[:-1]} - {last.utterance.segment_id}
        courteous = model.topics[int(model.posterior(last.stems).argmax())] == GREETING
        if courteous:
            self._courtesies.add(last.utterance.segment_id)
        return courteous

    def _by_stems(self, entries: Sequence[Entry]) -> bool:
        last, before = tiles(entries, UNKNOWN_TILE_STEMS)
        if last is None or before is None or before.entries[0].utterance.start < self._turned:
            return False
        if similarity(last.stems, before.stems, entries) > MOST_SIMILARITY:
            return False
        self._turned = last.entries[0].utterance.start
        return True


def tiles(entries: Sequence[Entry], least: int) -> tuple[Tile | None, Tile | None]:
    """The last tile and the one before it, each of at least ``least`` content words; None where there is not enough."""
    last, rest = _tile(entries, least)
    before, _ = _tile(rest, least)
    return last, before


def _tile(entries: Sequence[Entry], least: int) -> tuple[Tile | None, Sequence[Entry]]:
    """The tile at the end, and what lies before it."""
    stems = 0
    for index in range(len(entries) - 1, -1, -1):
        stems += len(entries[index].stems)
        if stems >= least:
            return Tile(tuple(entries[index:])), entries[:index]
    return None, ()


def distance(first: Floats, second: Floats) -> float:
    """The total variation between two posteriors, 0 to 1."""
    return float(np.abs(first - second).sum() / 2)


def similarity(first: Sequence[str], second: Sequence[str], entries: Sequence[Entry]) -> float:
    """The cosine of two tiles' TF-IDF, 0 to 1; a stem that many of the ``entries`` have counts little."""
    documents = Counter(stem for entry in entries for stem in set(entry.stems))
    vectors = [
        {stem: count * math.log((1 + len(entries)) / documents[stem]) for stem, count in Counter(tile).items()} for tile in (first, second)
    ]
    dot = sum(value * vectors[1].get(stem, 0.0) for stem, value in vectors[0].items())
    norms = math.prod(math.sqrt(sum(value * value for value in vector.values())) for vector in vectors)
    return dot / norms if norms else 0.0
