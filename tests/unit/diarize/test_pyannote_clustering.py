"""How many voices pyannote may cluster, and which."""

import numpy as np
import pytest

from malha.diarize.engines.pyannote_clustering import most_voices, thinned
from malha.diarize.engines.pyannote_messages import CLUSTERING_BYTES


def clear(embeddings: np.ndarray, segmentations: object = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All of them, three in a chunk."""
    del segmentations
    count = np.arange(len(embeddings))
    return embeddings, count // 3, count % 3


def test_memory_tells_how_many() -> None:
    assert most_voices(8 * 6000**2) == 6000, "275 MB were measured"
    assert most_voices(CLUSTERING_BYTES) == 11_585


@pytest.mark.parametrize("count", [0, 1, 10])
def test_as_many_as_fit_are_all_taken(count: int) -> None:
    voices = np.random.default_rng(1).standard_normal((count, 4))
    taken, chunks, speakers = thinned(clear, 10)(voices, segmentations=None)
    assert np.array_equal(taken, voices)
    assert len(chunks) == len(speakers) == count


def test_of_more_so_many_are_taken_from_all_of_the_recording() -> None:
    voices = np.arange(1000.0)[:, None]
    taken, chunks, speakers = thinned(clear, 100)(voices)
    assert len(taken) == 100
    assert (taken[0, 0], taken[-1, 0]) == (0, 999)
    assert set(np.diff(taken[:, 0])) == {10, 11}, "evenly, none twice"
    assert np.array_equal(taken[:, 0], chunks * 3 + speakers), "each with its own place"
