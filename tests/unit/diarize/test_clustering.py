"""Windows are grouped by voice."""

import numpy as np
import pytest

from malha.diarize import clustering
from malha.diarize.clustering import group, in_order, normalised


def voices(counts: list[int], spread: float = 0.02, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Prints of so many windows of each voice, in turns of four, and whose they are."""
    draw = np.random.default_rng(seed)
    centres = normalised(draw.standard_normal((len(counts), 64)).astype(np.float32))
    left, truth = list(counts), []
    while any(left):
        for voice in range(len(left)):
            take = min(4, left[voice])
            truth += [voice] * take
            left[voice] -= take
    prints = centres[truth] + spread * draw.standard_normal((len(truth), 64)).astype(np.float32)
    return normalised(prints), np.array(truth)


def seconds(prints: np.ndarray) -> np.ndarray:
    return np.ones(len(prints), np.float32)


@pytest.mark.parametrize("counts", [[12], [12, 12], [20, 7, 9], [8, 8, 8, 8, 8]])
def test_as_many_groups_as_voices(counts: list[int]) -> None:
    prints, truth = voices(counts)
    np.testing.assert_array_equal(group(prints, seconds(prints)), in_order(truth))


def test_no_more_than_asked_for() -> None:
    prints, _ = voices([10, 10, 10, 10])
    for most in (1, 2, 3):
        assert len(set(group(prints, seconds(prints), most).tolist())) == most


def test_a_voice_of_a_moment_is_none_of_its_own() -> None:
    prints, truth = voices([20, 20, 1])
    assert len(set(group(prints, seconds(prints)).tolist())) == 2
    assert len(set(truth.tolist())) == 3


def test_a_long_stream_is_thinned_out_and_grouped_alike() -> None:
    prints, truth = voices([2 * clustering.MAX_LEAVES, 2 * clustering.MAX_LEAVES])
    np.testing.assert_array_equal(group(prints, seconds(prints)), in_order(truth))


def test_nothing_and_one() -> None:
    assert group(np.zeros((0, 64), np.float32), np.zeros(0, np.float32)).tolist() == []
    assert group(normalised(np.ones((1, 64), np.float32)), np.ones(1, np.float32)).tolist() == [0]


def test_linkage_is_average_linkage() -> None:
    """Against merging the two nearest groups, again and again, by the definition."""
    draw = np.random.default_rng(3)
    prints = normalised(draw.standard_normal((12, 5)).astype(np.float32))
    cosines = (prints @ prints.T).astype(float)
    groups = [[index] for index in range(12)]
    expected = []
    while len(groups) > 1:
        pairs = [(np.mean(cosines[np.ix_(one, other)]), a, b) for a, one in enumerate(groups) for b, other in enumerate(groups) if a < b]
        cosine, a, b = max(pairs)
        expected.append(cosine)
        groups[a] += groups.pop(b)
    found = sorted((merge[0] for merge in clustering._linkage(prints @ prints.T, np.ones(12, np.float32))), reverse=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
