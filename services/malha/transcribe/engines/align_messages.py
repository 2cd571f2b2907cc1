"""What passes between aligners and their workers. Nothing heavy is imported here."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aligned:
    """Times of words by their place in the text they were asked for, in seconds; confidence 0..1, 0 where the aligner has none."""

    words: Sequence[tuple[int, float, float, float]]


@dataclass(frozen=True, slots=True)
class ModelUnusable:
    """The model cannot be loaded. Told instead of raised: a worker of another environment has no error types of Malha's."""


@dataclass(frozen=True, slots=True)
class NotAlignable:
    """Why there are no times: words of the text (by place) that have no pronunciation; none of them: the text does not fit the audio."""

    unspeakable: Sequence[int] = ()
