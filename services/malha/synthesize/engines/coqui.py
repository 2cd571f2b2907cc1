"""coqui-tts: VITS and XTTS-v2 from a local directory; XTTS clones a voice from a reference. No word marks.

The models run in worker processes (`malha.synthesize.engines.coqui_worker`), each speaking one sentence at a time: XTTS keeps state of the
sentence in the model. This side chooses voice and language, and takes a sentence from its worker as fast as it is made, so that a client who
reads slowly holds up nobody. Nothing heavy is imported here.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from malha.runtime import logs
from malha.runtime.errors import FailedPrecondition, Internal, InvalidArgument, NotFound, Unavailable, UnsupportedLanguage
from malha.runtime.host import EngineHost, HostOptions
from malha.runtime.logs import Event
from malha.synthesize.engine import Capabilities, Clone, Reference, SpeechChunk, SpeechConfig, Voice
from malha.synthesize.engines.coqui_messages import VITS, XTTS, Cloning, Delivery, Loaded, Timbre, WorkerOptions
from malha.synthesize.reference import cannot_clone

log = logs.get("synthesize.coqui")

NAME: Final = "coqui"
WORKER: Final = "malha.synthesize.engines.coqui_worker:load"
XTTS_LICENCE: Final = "CPML-1.0 (non-commercial)"
"""Of weights without a manifest that says another: the Coqui Public Model License, under which nothing commercial is done with XTTS-v2."""
MAX_CHARACTERS: Final = {VITS: 400, XTTS: 200}
"""Of a sentence. XTTS cuts longer ones short: its tokenizer warns from 203 characters of Portuguese on."""
MAX_WAITING: Final = 4096
"""Sentences that may wait for a worker: a stream, once open, waits for its turn rather than failing half-way."""
MAX_TIMBRES: Final = 64
CHUNKS_AHEAD: Final = 256
"""More than any sentence has: a worker never waits for a client."""
START_SECONDS: Final = 600.0
ITEM_SECONDS: Final = 120.0
"""For one piece of a sentence, about a second of speech: a CPU is slow."""
CLONE_SECONDS: Final = 120.0
# Nothing is fetched; what the libraries would say of a text stays unsaid.
ENVIRONMENT: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


@dataclass(frozen=True, slots=True)
class CoquiSettings:
    """How the engine runs."""

    directory: Path
    """With ``config.json`` and ``model.pth``; XTTS's with ``vocab.json`` too."""
    model: str
    """The name it is told by."""
    licence: str = ""
    """Of the weights, where a manifest beside them says it."""
    language: str = ""
    """What a model speaks that does not say it itself."""
    device: str = "auto"
    threads: int = 1
    workers: int = 1
    spare: bool = False
    """Whether a worker that stands by has the model loaded."""


@dataclass(frozen=True, slots=True)
class _End:
    """Behind a sentence's last chunk."""

    error: Exception | None


class CoquiEngine:
    """The engine ``coqui``."""

    def __init__(self, settings: CoquiSettings) -> None:
        self._settings = settings
        self._host = EngineHost(
            NAME,
            WORKER,
            WorkerOptions(str(settings.directory), settings.device, settings.threads, settings.language),
            host=HostOptions(
                workers=settings.workers,
                max_open=settings.workers,
                max_waiting=MAX_WAITING,
                start_seconds=START_SECONDS,
                item_seconds=ITEM_SECONDS,
                environment=ENVIRONMENT | {"OMP_NUM_THREADS": str(settings.threads)},
                spare=settings.spare,
                outputs_ahead=CHUNKS_AHEAD,
            ),
        )
        self._loaded: Loaded | None = None
        self._timbres: OrderedDict[tuple[str, str], Timbre] = OrderedDict()
        self._cloning = asyncio.Lock()

    async def start(self) -> None:
        """Load the model. Raises FailedPrecondition where it is not one, or something it needs is missing."""
        loaded = await self._host.start()
        if not isinstance(loaded, Loaded):
            raise Internal("the coqui worker told nothing about itself")
        self._loaded = loaded
        if self.capabilities.licence:
            log.warning(Event.ENGINE_STARTED, engine=NAME, model=self._settings.model, licence=self.capabilities.licence)

    async def close(self) -> None:
        """End the workers."""
        await self._host.close()

    @property
    def capabilities(self) -> Capabilities:
        """Raises Unavailable until the engine is started."""
        model = self._model
        return Capabilities(
            NAME,
            f"coqui-tts {model.version}",
            model.sample_rate_hertz,
            model.voices,
            cloning=model.cloning,
            model=self._settings.model,
            licence=self._settings.licence or (XTTS_LICENCE if model.kind == XTTS else ""),
            max_sentence_characters=MAX_CHARACTERS[model.kind],
        )

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return self._host.worker_pids

    def choose_voice(self, voice: str, language: str) -> Voice:
        """The voice of that name, or the model's first one. Every voice of a model speaks all its languages."""
        self._language(language)
        voices = {known.name.lower(): known for known in self._model.voices}
        if not voices:
            raise FailedPrecondition(
                f"model {self._settings.model} has no voice of its own: send reference_audio to clone one, or put XTTS's speakers_xtts.pth beside it",
                reason="NO_VOICE",
            )
        chosen = voices.get(voice.lower()) if voice else next(iter(voices.values()))
        if chosen is None:
            names = ", ".join(known.name for known in self._model.voices)
            raise NotFound(f"there is no such voice; there are: {names}", reason="VOICE_NOT_FOUND")
        return chosen

    async def clone(self, tenant: str, reference: Reference, language: str) -> Clone:
        """The voice of a reference, remembered for its tenant. Raises FailedPrecondition for a model that cannot, DeadlineExceeded."""
        if not self._model.cloning:
            raise cannot_clone(f"{NAME} with model {self._settings.model}")
        self._language(language)
        key = tenant, reference.digest
        async with self._cloning:
            timbre = self._timbres.get(key)
            if timbre is None:
                made = await self._host.call(Cloning(), reference.pcm, timeout_seconds=CLONE_SECONDS)
                if not isinstance(made, Timbre):
                    raise Internal("the coqui worker made no timbre of a reference")
                timbre = self._timbres[key] = made
            self._timbres.move_to_end(key)
            while len(self._timbres) > MAX_TIMBRES:
                self._timbres.popitem(last=False)
        return Clone(Voice("clone", self._model.languages), timbre)

    async def speak(self, config: SpeechConfig, sentence: str) -> AsyncGenerator[SpeechChunk, None]:
        """Speak one sentence. A worker that dies meanwhile costs a pause; what was spoken before is not repeated.

        Raises EngineCrashed, and EngineBusy with thousands of sentences waiting.
        """
        timbre = config.timbre if isinstance(config.timbre, Timbre) else None
        speaker = "" if timbre is not None else self.choose_voice(config.voice, config.language).name
        delivery = Delivery(speaker, self._language(config.language), config.speed, timbre)
        chunks: asyncio.Queue[SpeechChunk | _End] = asyncio.Queue(CHUNKS_AHEAD)
        speaking = asyncio.create_task(self._compute(delivery, sentence, chunks), name="coqui-sentence")
        try:
            while isinstance(chunk := await chunks.get(), SpeechChunk):
                yield chunk
            if chunk.error is not None:
                raise chunk.error
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    async def _compute(self, delivery: Delivery, sentence: str, chunks: "asyncio.Queue[SpeechChunk | _End]") -> None:
        """Have a sentence spoken; hold a worker no longer than that takes."""
        failure: Exception | None = None
        try:
            async with self._host.stream(delivery) as stream:
                await stream.send(sentence)
                await stream.finish()
                async for output in stream:
                    if isinstance(output.item, SpeechChunk):
                        await chunks.put(output.item)
        except Exception as error:
            failure = error
        await chunks.put(_End(failure))

    def _language(self, tag: str) -> str:
        """The model's name for a language. Raises InvalidArgument where it has to be said, UnsupportedLanguage."""
        languages = self._model.languages
        if not tag:
            if len(languages) == 1:
                return languages[0]
            raise InvalidArgument(f"say in which language: give `language`, one of {', '.join(languages)}", reason="LANGUAGE_MISSING")
        wanted = tag.lower().replace("_", "-")
        same = [language for language in languages if language.lower() == wanted]
        akin = [language for language in languages if _primary(language) == _primary(wanted)]
        if not (same or akin):
            raise UnsupportedLanguage(f"model {self._settings.model} speaks: {', '.join(languages)}")
        return (same or akin)[0]

    @property
    def _model(self) -> Loaded:
        if self._loaded is None:
            raise Unavailable("the voices are still loading", retry_seconds=1.0)
        return self._loaded


def _primary(tag: str) -> str:
    return re.split("[-_]", tag.lower(), maxsplit=1)[0]
