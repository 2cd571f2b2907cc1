"""Trains the topic models from ``topic_phrases/``: ``python -m malha.insight.topics_build [FOLDER]``.

Multinomial logistic regression with an L2 penalty, by full-batch gradient descent with momentum; the same phrases give the same bytes.
"""

import sys
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from malha.insight.topics import BUCKETS, LANGUAGES, Floats, features, weigh
from malha.insight.words import content, words

PHRASES: Final = Path(__file__).parent / "topic_phrases"
MODELS: Final = Path(__file__).parent / "topic_models"
_STEPS: Final = 400
_RATE: Final = 4.0
_MOMENTUM: Final = 0.9
_PENALTY: Final = 2e-4

Labelled = list[tuple[str, str]]


def read_phrases(path: Path) -> Labelled:
    """(topic, phrase) of a file with ``[topic]`` lines and one phrase a line below each."""
    labelled: Labelled = []
    topic = ""
    for raw in path.read_text("utf-8").splitlines():
        line = raw.strip()
        if line.startswith("["):
            topic = line.strip("[]")
        elif line:
            labelled.append((topic, line))
    return labelled


def train(labelled: Labelled, language: str) -> dict[str, NDArray[Any]]:
    """The arrays of a model, as ``topics.topic_model`` reads them."""
    topics = sorted({topic for topic, _ in labelled})
    said = [content(words(phrase, language), language) for _, phrase in labelled]
    rarity = _rarity(said)
    examples = np.zeros((len(labelled), BUCKETS), np.float32)
    for row, stems in enumerate(said):
        buckets, values = weigh(stems, rarity)
        examples[row, buckets] = values
    wanted = np.array([[topic == each for each in topics] for topic, _ in labelled], np.float32)
    weights, bias = _fit(examples, wanted)
    scale = np.abs(weights).max(axis=0) / 127
    return {
        "topics": np.array(topics),
        "weights": np.round(weights / scale).astype(np.int8),
        "scale": scale.astype(np.float32),
        "bias": bias.astype(np.float32),
        "rarity": rarity.astype(np.float16),
    }


def _rarity(said: list[list[str]]) -> Floats:
    """Smoothed inverse document frequency of each bucket."""
    documents = np.zeros(BUCKETS, np.float32)
    for stems in said:
        documents[list({bucket for stem in stems for bucket in features(stem)})] += 1
    rarity: Floats = (np.log((1 + len(said)) / (1 + documents)) + 1).astype(np.float16).astype(np.float32)
    return rarity


def _fit(examples: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    weights = np.zeros((BUCKETS, wanted.shape[1]), np.float32)
    bias = np.zeros(wanted.shape[1], np.float32)
    speed, bias_speed = np.zeros_like(weights), np.zeros_like(bias)
    for _ in range(_STEPS):
        logits = examples @ weights + bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = odds / odds.sum(axis=1, keepdims=True) - wanted
        speed = _MOMENTUM * speed - _RATE * (examples.T @ error / len(examples) + _PENALTY * weights)
        bias_speed = _MOMENTUM * bias_speed - _RATE * error.mean(axis=0)
        weights, bias = weights + speed, bias + bias_speed
    return weights, bias


def digest(path: Path) -> int:
    """Of the phrases a model was trained from: tells whether it is the present ones."""
    return zlib.crc32(path.read_bytes())


def main(folder: Path = MODELS) -> None:
    folder.mkdir(exist_ok=True)
    for language in LANGUAGES:
        path = PHRASES / f"{language}.txt"
        arrays = train(read_phrases(path), language) | {"digest": np.array(digest(path), np.uint32)}
        np.savez_compressed(folder / f"{language}.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
