"""What a recogniser is. Audio is 16 kHz mono 16-bit PCM throughout; times are seconds from the start of the utterance."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

SAMPLE_RATE_HERTZ = 16_000


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, told to the client in ``opened`` and ``ListModels``."""

    name: str
    """As chosen by setting: ``pocketsphinx``, ``faster-whisper``, ``openai``, ``null``."""
    version: str
    """Of the library and the model, as one string."""
    models: tuple[str, ...]
    """Loaded models, the default one first."""
    languages: tuple[str, ...]
    """BCP 47 primary tags (``en``, ``pt``); ``*`` alone means any."""
    incremental: bool
    """Whether it gains from audio while speech continues. If not, an utterance is best sent whole."""
    interim: bool
    """Whether it can tell partial hypotheses."""
    words: bool
    """Whether it tells the time of each word."""
    detects_language: bool = False
    parts: tuple["Capabilities", ...] = ()
    """Of each recogniser, where several are one."""


@dataclass(frozen=True, slots=True)
class RecognitionConfig:
    """How to recognise one utterance."""

    tenant: str
    """Queues are fair between tenants."""
    language: str
    """BCP 47 tag asked for; empty: detect, where the engine can."""
    model: str = ""
    """Empty: the engine's default."""
    words: bool = False
    interim: bool = False
    prompt: str = ""
    """Scrubbed text that came before on this channel, to condition on."""
    background: bool = False
    """Whether nobody waits for it as it is spoken: it gives way to utterances of live calls."""


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word: its text, its times in seconds within the utterance and the confidence 0..1."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Who recognised an utterance."""

    name: str
    """The engine's."""
    version: str
    model: str


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What an engine makes of an utterance so far (``final`` false) or in the end (``final`` true, exactly once, last)."""

    text: str
    final: bool
    confidence: float = 0.0
    """0..1, 0 where the engine has none."""
    language: str = ""
    words: tuple[Word, ...] = field(default=())
    recogniser: Recogniser | None = None
    """Who did it, where `TranscribeEngine.check` may have told of another."""


class TranscribeEngine(Protocol):
    """A recogniser, made by its entry point in ``malha.transcribe.engines`` and used by one event loop."""

    async def start(self) -> None:
        """Load the models; the service reports SERVING after this returns."""

    async def close(self) -> None:
        """Give back workers and memory. Utterances under way end with an error."""

    @property
    def capabilities(self) -> Capabilities: ...

    def check(self, language: str, model: str) -> Capabilities:
        """What it can do for this language and model (the first of ``models``).

        Raises UnsupportedLanguage, FailedPrecondition or NotFound if they cannot be served.
        """

    def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        """Recognise one utterance; the end of ``audio`` is the end of the utterance.

        Yields partial hypotheses as they come (if ``config.interim`` and there is spare capacity), then exactly one final one.
        Closing the iterator stops the work within 200 ms. Raises EngineBusy or EngineCrashed.
        """
