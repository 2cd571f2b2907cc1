"""What a speech synthesiser is. It speaks 16-bit mono PCM at ``Capabilities.sample_rate_hertz``; times are seconds."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

REFERENCE_HERTZ: Final = 22_050
"""The rate at which cloning models look at a voice."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice by name, with the BCP 47 tags it speaks, the best first."""

    name: str
    languages: tuple[str, ...]
    gender: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """A voice to clone."""

    pcm: bytes
    """Mono, 16-bit, at `REFERENCE_HERTZ`."""
    digest: str
    """SHA-256 of the file it came in, hexadecimal."""

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / REFERENCE_HERTZ


@dataclass(frozen=True, slots=True)
class Clone:
    """A voice made of a reference, which its stream holds and nobody else."""

    voice: Voice
    timbre: object
    """The engine's own: what `SpeechConfig.timbre` takes."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, told to the client in ``opened`` and ``ListVoices``."""

    name: str
    version: str
    sample_rate_hertz: int
    voices: tuple[Voice, ...]
    cloning: bool = False
    model: str = ""
    """The model in use, where the engine has several."""
    licence: str = ""
    """Of the model's weights, where it limits what the speech may be used for."""
    max_sentence_characters: int = 400
    """The longest sentence it takes."""


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """How to speak."""

    tenant: str
    voice: str
    """A voice's name; empty: the first that speaks ``language``."""
    language: str
    speed: float = 1.0
    """0.5 to 2.0 times the voice's own pace."""
    timbre: object = None
    """Of a `Clone`, whose voice it is then."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a word of the sentence begins: characters [``text_start``, ``text_end``) sound from ``time`` on."""

    text_start: int
    text_end: int
    time: float


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of speech: mono 16-bit PCM, and the words that begin in it (times from the start of the sentence)."""

    pcm: bytes
    marks: tuple[Mark, ...] = ()


class SynthesizeEngine(Protocol):
    """A synthesiser, made by its entry point in ``malha.synthesize.engines`` and used by one event loop."""

    async def start(self) -> None:
        """Load the voices; the service reports SERVING after this returns."""

    async def close(self) -> None:
        """Give back workers and memory."""

    @property
    def capabilities(self) -> Capabilities: ...

    def choose_voice(self, voice: str, language: str) -> Voice:
        """The voice to speak with. Raises NotFound or UnsupportedLanguage, each listing what exists."""

    async def clone(self, tenant: str, reference: Reference, language: str) -> Clone:
        """The voice of a reference. Raises FailedPrecondition where the engine cannot, UnsupportedLanguage listing what it speaks."""

    def speak(self, config: SpeechConfig, sentence: str) -> AsyncIterator[SpeechChunk]:
        """Speak one sentence, in chunks as they are made. Closing the iterator stops the work within 200 ms."""
