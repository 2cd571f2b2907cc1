"""What crosses the pipe between the faster-whisper engine and its workers. Imports nothing heavy: the event loop's side uses it too."""

from dataclasses import dataclass
from pathlib import Path

from malha.transcribe.engine import Word

DEFAULT_COMPUTE_TYPE = "default"
"""int8 on a CPU, float16 on a GPU. CTranslate2's own default, the type of the weights on disk, costs a CPU several times as much."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker loads its model."""

    model_directory: Path
    device: str
    """``cpu``, ``cuda``, ``cuda:N`` or ``auto``."""
    compute_type: str
    """A compute type of CTranslate2, or ``DEFAULT_COMPUTE_TYPE``."""
    threads: int
    """Threads one decoding computes with."""
    beam_size: int


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker tells once its model is loaded."""

    version: str
    languages: tuple[str, ...]
    """Whisper's codes."""
    multilingual: bool
    device: str
    compute_type: str


@dataclass(frozen=True, slots=True)
class Decoding:
    """How one batch is decoded; utterances that differ in this are not decoded together."""

    frames: int
    """Length of the window, in mel frames."""
    temperature: float = 0.0
    """0: the most probable text. Above: sampled, and without the prompt, which may be what leads the decoder astray."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What there is to recognise."""

    pcm: bytes
    """16 kHz mono 16-bit."""
    language: str
    """Whisper's code; empty: detect."""
    prompt: str
    words: bool


@dataclass(frozen=True, slots=True)
class Transcript:
    """One decoding of an utterance."""

    text: str
    language: str
    confidence: float
    words: tuple[Word, ...] = ()
    doubtful: bool = False
    """Another try may give a better text."""
    implausible: bool = False
    """Nobody can have said this."""
