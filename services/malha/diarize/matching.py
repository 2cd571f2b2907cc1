"""Which enrolled speaker a voice is: the cosine of two prints, against a threshold."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from malha.diarize.engine import Embedding
from malha.diarize.store import Enrolled

MOST_CANDIDATES: Final = 10


@dataclass(frozen=True, slots=True)
class Match:
    """How a voice compares with the enrolled: (speaker, cosine), the best first. ``top``: who it is; empty: none of them."""

    top: str
    score: float
    candidates: tuple[tuple[str, float], ...]


def match(embedding: Embedding, enrolled: Enrolled, threshold: float) -> Match:
    """Compare a voice with all that are enrolled."""
    if not enrolled.speaker_ids:
        return Match("", 0.0, ())
    cosines = enrolled.prints @ embedding
    best = np.argsort(-cosines, kind="stable")[:MOST_CANDIDATES]
    candidates = tuple((enrolled.speaker_ids[index], float(cosines[index])) for index in best)
    name, score = candidates[0]
    return Match(name if score >= threshold else "", score, candidates)
