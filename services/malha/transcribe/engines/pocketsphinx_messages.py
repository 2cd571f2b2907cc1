"""What passes between the PocketSphinx engine and its workers. Nothing heavy is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker loads."""

    language_model: str
    dictionary: str
    means: str
    """Gaussian means of the wheel's acoustic model, adapted by MAP to clear call speech."""
    partial_seconds: float


@dataclass(frozen=True, slots=True)
class Words:
    """A hypothesis: its text, the posterior of it all, and (text, start, end, posterior) of each word, in seconds."""

    text: str
    confidence: float
    words: tuple[tuple[str, float, float, float], ...]
