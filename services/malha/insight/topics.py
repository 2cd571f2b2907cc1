"""What talk is about: a linear classifier over stems and character 4-grams of stems, one for each of Portuguese, Spanish and English.

Trained by ``topics_build`` from the phrases in ``topic_phrases/``. Features are hashed, so that a model is a table and needs no vocabulary; the
weights are kept as bytes. Inference is a sum of rows.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import as_file, files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from malha.text.tokens import primary

BUCKETS: Final = 4096
LANGUAGES: Final = ("pt", "es", "en")
GREETING: Final = "greeting"
"""Openings, closings and courtesies: a topic nobody is advised on."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TopicModel:
    """A classifier of one language."""

    topics: tuple[str, ...]
    weights: Floats
    """(buckets, topics)."""
    bias: Floats
    """(topics,)."""
    rarity: Floats
    """(buckets,): inverse document frequency."""

    def posterior(self, stems: Sequence[str]) -> Floats:
        """The probability of each topic given the stems of some talk, (topics,)."""
        buckets, values = weigh(stems, self.rarity)
        logits = values @ self.weights[buckets] + self.bias
        odds = np.exp(logits - logits.max())
        posterior: Floats = (odds / odds.sum()).astype(np.float32)
        return posterior


def topic_model(language: str) -> TopicModel | None:
    """The model of a language (any BCP 47 tag); None where there is none."""
    code = primary(language)
    return _load(code) if code in LANGUAGES else None


@cache
def _load(code: str) -> TopicModel:
    with as_file(files("malha.insight").joinpath(f"topic_models/{code}.npz")) as path, np.load(path, allow_pickle=False) as stored:
        weights = stored["weights"].astype(np.float32) * stored["scale"].astype(np.float32)
        return TopicModel(
            tuple(str(topic) for topic in stored["topics"]),
            weights,
            stored["bias"].astype(np.float32),
            stored["rarity"].astype(np.float32),
        )


def weigh(stems: Sequence[str], rarity: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The features of some talk: buckets and their weights, sublinear in how often they occur, of length 1 together."""
    counts = Counter(bucket for stem in stems for bucket in features(stem))
    buckets = np.fromiter(counts.keys(), np.int64, len(counts))
    values: Floats = (1 + np.log(np.fromiter(counts.values(), np.float32, len(counts)))) * rarity[buckets]
    norm = float(np.sqrt(values @ values))
    return buckets, values / norm if norm else values


@lru_cache(maxsize=16_384)
def features(stem: str) -> tuple[int, ...]:
    """The buckets of a stem and of its 4-grams."""
    framed = f"#{stem}#"
    grams = [framed[at : at + 4] for at in range(max(1, len(framed) - 3))]
    return tuple(zlib.crc32(feature.encode()) % BUCKETS for feature in (f"={stem}", *grams))
