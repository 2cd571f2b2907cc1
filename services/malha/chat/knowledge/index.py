"""One knowledge base as it is searched: by words, and by vectors where a model makes them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from malha.chat.engine import Source
from malha.chat.knowledge.bm25 import Bm25
from malha.chat.knowledge.pieces import split
from malha.chat.knowledge.words import terms
from malha.chat.language import language_of
from malha.chat.store.knowledge import Given, Version

FUSION: Final = 60.0
"""Of reciprocal ranks (Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion", 2009)."""
LEAST_COSINE: Final = 0.3
"""A piece whose vector is further from the question's is not found by it."""
CANDIDATES: Final = 50
OF_ONE_DOCUMENT: Final = 2
"""Pieces of one document that are given for one question."""


@dataclass(frozen=True, slots=True)
class _Piece:
    document_id: str
    title: str
    text: str


class Index:
    """The pieces of a base at one version of it."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.made_at = asyncio.get_running_loop().time()
        self._pieces: list[_Piece] = []
        self._words = Bm25()
        self._vectors: list[Sequence[float] | None] = []
        self._matrix: NDArray[np.float32] | None = None
        self._languages: set[str] = set()
        self.lacking = 0
        """Pieces without a vector."""

    async def add(self, document: Given, vectors: Mapping[tuple[str, int], Sequence[float]]) -> None:
        """A document. Between its pieces other work of the process goes on."""
        language = language_of(document.language, document.text)
        self._languages.add(language)
        for number, text in enumerate(split(document.text)):
            self._pieces.append(_Piece(document.id, document.title, text))
            self._words.add(terms(f"{document.title} {text}", language))
            vector = vectors.get((document.id, number))
            self._vectors.append(vector)
            self.lacking += vector is None
            await asyncio.sleep(0)

    def close(self) -> None:
        """All documents are in: vectors of one length become a matrix of unit rows; pieces without one are found by words alone."""
        size = next((len(vector) for vector in self._vectors if vector), 0)
        if size:
            rows = np.zeros((len(self._vectors), size), np.float32)
            for number, vector in enumerate(self._vectors):
                if vector is not None and len(vector) == size:
                    rows[number] = vector
            self._matrix = _unit(rows)
        self._vectors = []

    def search(self, question: str, vector: Sequence[float] | None, most: int) -> list[Source]:
        """The pieces that fit, the best first."""
        scores: NDArray[np.float64] = np.zeros(len(self._pieces))
        for language in self._languages:
            scores = np.maximum(scores, self._words.scores(terms(question, language)))
        if vector is not None and self._matrix is not None and len(vector) == self._matrix.shape[1]:
            scores = _fused(scores, self._matrix @ _unit(np.asarray([vector], np.float32))[0])
        found: list[Source] = []
        counts: dict[str, int] = {}
        for number in np.argsort(-scores, kind="stable")[: CANDIDATES + most]:
            piece = self._pieces[number]
            if scores[number] <= 0 or len(found) == most:
                break
            counts[piece.document_id] = counts.get(piece.document_id, 0) + 1
            if counts[piece.document_id] <= OF_ONE_DOCUMENT:
                found.append(Source(piece.document_id, piece.title, piece.text, float(scores[number])))
        return found


def _fused(words: NDArray[np.float64], cosines: NDArray[np.float32]) -> NDArray[np.float64]:
    """One score of two rankings."""
    result = np.zeros(len(words))
    for scores, least in ((words, 0.0), (cosines, LEAST_COSINE)):
        ranked = np.argsort(-scores, kind="stable")[:CANDIDATES]
        for rank, number in enumerate(ranked):
            if scores[number] > least:
                result[number] += 1 / (FUSION + rank + 1)
    return result


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    result = np.zeros_like(rows)
    np.divide(rows, lengths, out=result, where=lengths > 0)
    return result
