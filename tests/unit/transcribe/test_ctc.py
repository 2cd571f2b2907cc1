"""Forced alignment with CTC: against every path there is, on cases small enough for that."""

from itertools import product

import numpy as np
import pytest

from malha.transcribe.ctc import align

BLANK = 0


def collapsed(path: tuple[int, ...]) -> list[int]:
    return [token for at, token in enumerate(path) if token != BLANK and (at == 0 or path[at - 1] != token)]


@pytest.mark.parametrize("tokens", [[1], [1, 2], [2, 2], [1, 2, 1], [1, 1, 2], [3, 3, 3]])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_best_of_all_paths(tokens: list[int], seed: int) -> None:
    told = np.log(np.random.default_rng(seed).dirichlet(np.ones(4), 6)).astype(np.float32)
    best = max((path for path in product(range(4), repeat=6) if collapsed(path) == tokens), key=lambda path: sum(told[range(6), path]))
    spans = align(told, tokens, BLANK)
    said = [BLANK] * 6
    for token, (begin, end, mean) in zip(tokens, spans, strict=True):
        said[begin:end] = [token] * (end - begin)
        assert mean == pytest.approx(told[begin:end, token].mean(), abs=1e-5)
    assert sum(told[range(6), said]) == pytest.approx(sum(told[range(6), best]), abs=1e-4)


def test_what_is_clearly_said_is_found_where_it_is() -> None:
    told = np.full((12, 3), -8.0, np.float32)
    told[:, BLANK] = -0.1
    told[3:5, 1], told[8:9, 2] = 0.0, 0.0
    told[3:5, BLANK] = told[8, BLANK] = -9.0
    assert [(begin, end) for begin, end, _ in align(told, [1, 2], BLANK)] == [(3, 5), (8, 9)]


@pytest.mark.parametrize(("frames", "tokens"), [(0, [1]), (1, [1, 2]), (2, [1, 1]), (5, [])])
def test_too_little_audio_or_text(frames: int, tokens: list[int]) -> None:
    assert align(np.zeros((frames, 3), np.float32), tokens, BLANK) == []


def test_a_minute_is_soon_done() -> None:
    told = np.random.default_rng(0).standard_normal((3_000, 30)).astype(np.float32)
    assert len(align(told, list(np.random.default_rng(1).integers(1, 30, 800)), BLANK)) == 800
