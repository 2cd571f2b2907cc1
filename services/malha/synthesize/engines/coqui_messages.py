"""What the coqui engine and its workers tell each other. Everything here pickles."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from malha.synthesize.engine import Voice

XTTS: Final = "xtts"
VITS: Final = "vits"


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker loads."""

    directory: str
    device: str
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    threads: int
    language: str
    """What a model speaks that does not say it itself."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker tells about its model."""

    version: str
    """Of coqui-tts."""
    kind: str
    """`XTTS` or `VITS`."""
    sample_rate_hertz: int
    voices: tuple[Voice, ...]
    languages: tuple[str, ...]
    """As the model names them."""

    @property
    def cloning(self) -> bool:
        return self.kind == XTTS


@dataclass(frozen=True, slots=True, eq=False)
class Timbre:
    """What XTTS knows of a voice: two arrays of float32, about 130 kB."""

    latent: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Opens a stream whose inputs are sentences and whose outputs are `SpeechChunk`."""

    speaker: str
    """A voice of the model's own; empty with a timbre."""
    language: str
    """As the model names it."""
    speed: float
    timbre: Timbre | None = None


@dataclass(frozen=True, slots=True)
class Cloning:
    """Opens a stream whose input is a reference's PCM and whose output is its `Timbre`."""
