"""What a diarizer is. It hears 16-bit mono PCM at 16 kHz; times are seconds of the stream; a voice print is a unit vector."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HERTZ = 16_000

Embedding = npt.NDArray[np.float32]
"""Shape (dimension,), of length 1: the product of two is their cosine."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, told to the client in ``opened``."""

    name: str
    version: str
    print_model: str
    """Who makes the voice prints: those of two models cannot be compared. Empty: it makes none."""
    online: bool
    """Whether turns are told while audio still comes, or only once all has been heard."""


@dataclass(frozen=True, slots=True)
class DiarizationConfig:
    """How to label one stream of one channel."""

    tenant: str
    max_speakers: int = 0
    """0: as many as are found."""
    online: bool = True
    """Whether turns are wanted while audio still comes."""
    prints: bool = False
    """Whether voice prints of the speakers are wanted."""
    background: bool = False
    """Whether it gives way to live streams at the engine."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks from ``start`` to ``end``. A turn of the same ``id`` with a higher ``revision`` takes its place."""

    id: int
    revision: int
    speaker: int
    """From 1, in the order they were told apart; 0: there is no such turn after all."""
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class VoicePrint:
    """What one speaker of a stream sounds like, by what was heard so far. A later one of the same speaker takes its place."""

    speaker: int
    embedding: Embedding
    seconds: float
    """Of speech it was made of."""


@dataclass(frozen=True, slots=True)
class Voices:
    """What is in a recording of a single speaker, or should be."""

    speech_seconds: float
    embedding: Embedding | None
    """None: too little speech to make one."""
    speakers: int
    """How many voices it seems to hold."""


class DiarizeEngine(Protocol):
    """A diarizer, made by its entry point in ``malha.diarize.engines`` and used by one event loop."""

    async def start(self) -> None:
        """Load the models; the service reports SERVING after this returns."""

    async def close(self) -> None:
        """Give back workers and memory. Streams under way end with an error."""

    @property
    def capabilities(self) -> Capabilities: ...

    def check(self) -> None:
        """Raise FailedPrecondition if this engine cannot serve after all."""

    def diarize(self, config: DiarizationConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Turn | VoicePrint]:
        """Label one channel, sent in pieces of whole samples; the end of ``audio`` is the end of the stream. Closing the iterator stops the work within 200 ms.

        A turn that lasts is told again as it grows. When all has been heard everything is looked at again, and what was told wrongly is
        told anew, with a higher revision. Raises EngineBusy or EngineCrashed.
        """

    async def listen(self, pcm: bytes) -> Voices:
        """Hear a whole recording of one speaker, to enrol it. Raises as `diarize`, and FailedPrecondition if it makes no voice prints."""
