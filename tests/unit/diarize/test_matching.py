"""A voice is compared with those that are enrolled."""

import numpy as np
import pytest

from malha.diarize.clustering import normalised
from malha.diarize.matching import MOST_CANDIDATES, match
from malha.diarize.store import Enrolled

ENROLLED = Enrolled(("ana", "rui"), normalised(np.array([[1.0, 0.0], [1.0, 1.0]], np.float32)))


def test_the_best_is_who_it_is_where_it_reaches_the_threshold() -> None:
    found = match(np.array([1.0, 0.0], np.float32), ENROLLED, 0.9)
    assert found.top == "ana"
    assert found.score == pytest.approx(1.0)
    assert [name for name, _ in found.candidates] == ["ana", "rui"]
    assert found.candidates[1][1] == pytest.approx(2**-0.5)


def test_below_the_threshold_it_is_nobody_and_the_scores_are_told() -> None:
    found = match(normalised(np.array([0.2, 1.0], np.float32)), ENROLLED, 0.99)
    assert found.top == ""
    assert found.candidates[0][0] == "rui"


def test_nobody_is_enrolled() -> None:
    assert match(np.array([1.0, 0.0], np.float32), Enrolled((), np.zeros((0,), np.float32)), 0.5).candidates == ()


def test_only_the_best_are_told() -> None:
    many = Enrolled(tuple(map(str, range(50))), normalised(np.random.default_rng(1).random((50, 8)).astype(np.float32)))
    found = match(normalised(np.ones(8, np.float32)), many, 0.0)
    assert len(found.candidates) == MOST_CANDIDATES
    assert [score for _, score in found.candidates] == sorted((score for _, score in found.candidates), reverse=True)
