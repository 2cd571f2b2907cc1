"""BM25 over the pieces of one knowledge base, in memory (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009)."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

K1: Final = 1.2
B: Final = 0.75


class Bm25:
    """Pieces by their number, in the order they were added."""

    def __init__(self) -> None:
        self._postings: dict[str, tuple[array[int], array[int]]] = {}
        """By term: numbers of pieces, and how often each has it."""
        self._lengths = array("i")

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, terms: Sequence[str]) -> None:
        """The next piece."""
        number = len(self._lengths)
        self._lengths.append(len(terms))
        for term, count in Counter(terms).items():
            numbers, counts = self._postings.setdefault(term, (array("i"), array("i")))
            numbers.append(number)
            counts.append(count)

    def scores(self, terms: Iterable[str]) -> NDArray[np.float64]:
        """How well each piece fits; 0: it shares no term."""
        total = len(self._lengths)
        result = np.zeros(total)
        if not total:
            return result
        lengths = np.frombuffer(self._lengths, dtype=np.int32) / (sum(self._lengths) / total or 1.0)
        for term in set(terms):
            if (posting := self._postings.get(term)) is None:
                continue
            numbers, counts = (np.frombuffer(part, dtype=np.int32) for part in posting)
            rarity = log(1 + (total - len(numbers) + 0.5) / (len(numbers) + 0.5))
            result[numbers] += rarity * counts * (K1 + 1) / (counts + K1 * (1 - B + B * lengths[numbers]))
        return result
