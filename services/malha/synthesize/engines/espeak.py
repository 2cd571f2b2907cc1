"""espeak-ng: the embedded synthesiser. Formant speech in Portuguese, Spanish and English; no models, no voice cloning.

The library runs in worker processes (`malha.synthesize.engines.espeak_worker`); this side chooses the voice.
"""

import re
from collections.abc import AsyncGenerator
from typing import Final

from malha.runtime.errors import Internal, InvalidArgument, NotFound, Unavailable, UnsupportedLanguage
from malha.runtime.host import EngineHost, HostOptions
from malha.synthesize.engine import Capabilities, Clone, Reference, SpeechChunk, SpeechConfig, Voice
from malha.synthesize.engines.espeak_worker import LANGUAGES, Delivery, Loaded
from malha.synthesize.reference import cannot_clone
from malha.synthesize.settings import SynthesizeSettings

WORKER: Final = "malha.synthesize.engines.espeak_worker:load"
ITEM_SECONDS: Final = 15.0
"""The longest sentence allowed takes about a second."""
MAX_WAITING: Final = 4096
"""Sentences that may wait for a place: a stream, once open, waits for its turn rather than failing half-way."""
CHUNKS_AHEAD: Final = 8
"""Six seconds of speech that a client has not taken; the rest of a sentence waits in the worker."""

_REGION: Final = re.compile(r"[a-z]{2}|[0-9]{3}")
_SPEAKERS: Final[dict[str, tuple[str, dict[str, str], str]]] = {
    "pt": ("pt-br", {"br": "pt-br"}, "pt"),
    "es": ("es", dict.fromkeys(("es", "ea", "ic", "gq", "ph"), "es"), "es-419"),
    "en": ("en-us", dict.fromkeys(("us", "ca", "ph", "pr", "gu", "um", "vi", "as", "mp"), "en-us"), "en-gb"),
}
"""Language: the voice without a region, with certain ones, with any other. Source: CLDR's parent locales (es-419, en-001, pt-PT)."""


class EspeakEngine:
    """The engine ``espeak``."""

    def __init__(self, settings: SynthesizeSettings) -> None:
        self._words_per_minute = settings.synthesize_words_per_minute
        self._host = EngineHost(
            "espeak",
            WORKER,
            None,
            host=HostOptions(
                workers=settings.synthesize_workers,
                max_open=settings.synthesize_max_open,
                max_waiting=MAX_WAITING,
                item_seconds=ITEM_SECONDS,
                outputs_ahead=CHUNKS_AHEAD,
            ),
        )
        self._capabilities: Capabilities | None = None

    async def start(self) -> None:
        """Start the workers; they load in a few milliseconds."""
        loaded = await self._host.start()
        if not isinstance(loaded, Loaded):
            raise Internal("the espeak worker told nothing about itself")
        self._capabilities = Capabilities("espeak", f"espeak-ng {loaded.version}", loaded.sample_rate_hertz, loaded.voices)

    async def close(self) -> None:
        """End the workers."""
        await self._host.close()

    @property
    def capabilities(self) -> Capabilities:
        """Raises Unavailable until the engine is started."""
        if self._capabilities is None:
            raise Unavailable("the voices are still loading", retry_seconds=0.5)
        return self._capabilities

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return self._host.worker_pids

    def choose_voice(self, voice: str, language: str) -> Voice:
        """The voice of that name, or the one whose region is nearest to the language's: ``es-MX`` is spoken by ``es-419``."""
        voices = {known.name: known for known in self.capabilities.voices}
        if not voice:
            return self._voice_for(language, voices)
        chosen = voices.get(voice.lower())
        if chosen is None:
            raise NotFound(f"there is no such voice; there are: {', '.join(voices)}", reason="VOICE_NOT_FOUND")
        if language and _primary(language) != _primary(chosen.languages[0]):
            raise UnsupportedLanguage(f"voice {chosen.name} speaks {', '.join(chosen.languages)}: leave `language` or `voice` out")
        return chosen

    def _voice_for(self, language: str, voices: dict[str, Voice]) -> Voice:
        if not language:
            raise InvalidArgument("say who speaks: give `voice` or `language`", reason="VOICE_MISSING")
        primary, *others = language.lower().replace("_", "-").split("-")
        default, by_region, elsewhere = _SPEAKERS.get(primary, ("", {}, ""))
        region = next((other for other in others if _REGION.fullmatch(other)), None)
        chosen = voices.get(default if region is None else by_region.get(region, elsewhere))
        if chosen is None:
            tags = sorted({tag for name in LANGUAGES if name in voices for tag in voices[name].languages})
            raise UnsupportedLanguage(f"engine espeak speaks: {', '.join(tags)}")
        return chosen

    async def clone(self, tenant: str, reference: Reference, language: str) -> Clone:
        """Raises FailedPrecondition."""
        del tenant, reference, language
        raise cannot_clone("espeak")

    async def speak(self, config: SpeechConfig, sentence: str) -> AsyncGenerator[SpeechChunk, None]:
        """Speak one sentence. A worker that dies meanwhile costs a pause; what was spoken before is not repeated.

        Raises EngineCrashed, EngineBusy with thousands of sentences waiting, and ResourceExhausted for a sentence of more than five minutes.
        """
        voice = self.choose_voice(config.voice, config.language)
        language, _, variant = voice.name.partition("+")
        async with self._host.stream(Delivery(language, variant, round(self._words_per_minute * config.speed))) as stream:
            await stream.send(sentence)
            await stream.finish()
            async for output in stream:
                if isinstance(output.item, SpeechChunk):
                    yield output.item


def _primary(tag: str) -> str:
    return re.split("[-_]", tag.lower(), maxsplit=1)[0]
