"""Forced alignment of a text with a network's CTC output: the most probable path that says it, and nothing else (Graves et al., 2006)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LogProbabilities = npt.NDArray[np.float32]
"""Shaped (frames, tokens)."""
_STAY, _NEXT, _SKIP = 0, 1, 2
_NEVER = np.float32(-1e30)


def align(told: LogProbabilities, tokens: Sequence[int], blank: int) -> list[tuple[int, int, float]]:
    """(first frame, frame after the last, mean log probability) of each token; none where there are too few frames to say them all.

    States are the tokens with blanks around each. A blank between two tokens may be left out, unless they are the same.
    Time and memory grow with frames times tokens.
    """
    states = np.full(2 * len(tokens) + 1, blank, np.int64)
    states[1::2] = tokens
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    if not len(tokens) or len(told) < len(tokens) + int((states[3::2] == states[1:-2:2]).sum()):
        return []
    moves = _moves(told[:, states], skips)
    return _spans(told, tokens, _path(moves, len(states)))


def _moves(heard: LogProbabilities, skips: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.uint8], LogProbabilities]:
    """How each state is best reached at each frame, and how probable the last frame's states are."""
    frames, count = heard.shape
    moves = np.zeros((frames, count), np.uint8)
    score = np.full(count, _NEVER, np.float32)
    score[:2] = heard[0, :2]
    ways = np.full((3, count), _NEVER, np.float32)
    for frame in range(1, frames):
        ways[_STAY] = score
        ways[_NEXT, 1:] = score[:-1]
        ways[_SKIP, 2:] = np.where(skips[2:], score[:-2], _NEVER)
        moves[frame] = ways.argmax(axis=0)
        score = ways.max(axis=0) + heard[frame]
    return moves, score


def _path(found: tuple[npt.NDArray[np.uint8], LogProbabilities], count: int) -> npt.NDArray[np.int64]:
    """The state of each frame. It ends with the last token, or with the blank after it."""
    moves, score = found
    path = np.empty(len(moves), np.int64)
    state: Any = count - 1 if score[count - 1] > score[count - 2] else count - 2
    for frame in range(len(moves) - 1, -1, -1):
        path[frame] = state
        state -= int(moves[frame, state])
    return path


def _spans(told: LogProbabilities, tokens: Sequence[int], path: npt.NDArray[np.int64]) -> list[tuple[int, int, float]]:
    first = np.searchsorted(path, 2 * np.arange(len(tokens)) + 1, "left")
    after = np.searchsorted(path, 2 * np.arange(len(tokens)) + 1, "right")
    return [(int(begin), int(end), float(told[begin:end, token].mean())) for begin, end, token in zip(first, after, tokens, strict=True)]
