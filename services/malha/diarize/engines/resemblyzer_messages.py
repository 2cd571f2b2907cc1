"""What passes between the resemblyzer engine and its workers. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

BATCH: Final = 12
"""Windows computed in one step: as many as ONNX Runtime's kernel reads the weights for once. A live stream waits for so many of somebody's
recording, 40 to 70 ms."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker loads."""

    weights: Path


@dataclass(frozen=True, slots=True)
class Windows:
    """Asks for the prints of windows of 16 kHz 16-bit PCM: an array (windows, 256)."""

    pcm: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Asks which windows are of one voice: an array of labels from 0, by `malha.diarize.clustering.group`."""

    prints: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    """Seconds of speech each print was made of."""
    max_speakers: int
