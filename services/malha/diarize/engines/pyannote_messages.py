"""What passes between the pyannote engine and its workers. Nothing heavy is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from malha.diarize.engine import Embedding

CLUSTERING_BYTES: Final = 1 << 30
"""Memory for the clustering of one stream: of 11,585 voices, about two hours of talk. Of more, as many are taken evenly."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker loads."""

    directory: str
    """The pipeline: ``config.yaml``, and models where it says so."""
    models: Mapping[str, str]
    """Directories of the models on this machine, by the hub ids that a ``config.yaml`` may have for them."""
    device: str
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    threads: int
    clustering_bytes: int = CLUSTERING_BYTES


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker tells of its pipeline."""

    version: str
    """Of pyannote.audio."""
    print_model: str
    """Named by the embedding weights' SHA-256: prints of other weights cannot be compared with these."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens a stream whose inputs are pieces of 16 kHz 16-bit PCM and whose outputs are `Told`."""

    max_speakers: int
    """0: as many as are found."""
    online: bool
    """Whether turns are told meanwhile, or only at the end."""
    prints: bool


class Said(NamedTuple):
    """A voice, from 0, and when it speaks, in seconds. Those of two voices may overlap."""

    start: float
    end: float
    voice: int


class Print(NamedTuple):
    """What a voice sounds like."""

    voice: int
    embedding: Embedding


@dataclass(frozen=True, slots=True)
class Told:
    """Who speaks when, as far as it is heard."""

    kept: int
    """So many of the first that were told before still hold."""
    said: tuple[Said, ...]
    """Those after them, in order of time."""
    prints: tuple[Print, ...]
    """Of the voices, each time all chunks were looked at."""
