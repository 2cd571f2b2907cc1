"""The embedded recogniser: PocketSphinx with a call-centre language model, English only."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import cast

from malha.runtime.errors import FailedPrecondition, NotFound, UnsupportedLanguage
from malha.runtime.host import EngineHost, HostOptions, HostStream
from malha.transcribe import language_model
from malha.transcribe.engine import Capabilities, Hypothesis, RecognitionConfig, Word
from malha.transcribe.engines.pocketsphinx_messages import Words, WorkerOptions
from malha.transcribe.settings import TranscribeSettings

NAME, MODEL = "pocketsphinx", "en-us-calls"
WHISPER_LANGUAGES = ("pt", "es")


class PocketSphinxEngine:
    """Recognises English in worker processes; see `malha.transcribe.engine.TranscribeEngine`."""

    def __init__(self, settings: TranscribeSettings) -> None:
        options = WorkerOptions(
            str(language_model.MODEL), str(language_model.DICTIONARY), str(language_model.MEANS), settings.partial_interval_seconds
        )
        self._host = EngineHost(
            NAME,
            "malha.transcribe.engines.pocketsphinx_worker:create_worker",
            options,
            host=HostOptions(workers=settings.transcribe_workers, max_open=64 * settings.transcribe_workers, inputs_ahead=64, spare=True),
        )
        self._version = version("pocketsphinx")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(NAME, f"pocketsphinx {self._version}", (MODEL,), ("en",), incremental=True, interim=True, words=True)

    async def start(self) -> None:
        await self._host.start()

    async def close(self) -> None:
        await self._host.close()

    def check(self, language: str, model: str) -> Capabilities:
        if model and model != MODEL:
            raise NotFound(
                f"engine {NAME!r} has one model, {MODEL}: leave the model out, or use engine faster-whisper", reason="UNKNOWN_MODEL"
            )
        primary = language.lower().partition("-")[0]
        if primary in ("", "en"):
            return self.capabilities
        if primary in WHISPER_LANGUAGES:
            raise FailedPrecondition(
                f"engine {NAME!r} knows English only; {primary!r} needs: pip install 'malha-services[faster-whisper]' && malha models pull whisper/small",
                reason="LANGUAGE_NEEDS_WHISPER",
            )
        raise UnsupportedLanguage(
            f"no engine here knows {primary!r}: en is embedded, Whisper adds others (malha models pull whisper/small)"
        )

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        async with self._host.stream(config.interim, background=config.background) as stream:
            sending = asyncio.create_task(_send(stream, audio), name="pocketsphinx-send")
            try:
                async for output in stream:
                    yield _hypothesis(cast("Words", output.item), config, final=not output.interim)
            finally:
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sending


async def _send(stream: HostStream, audio: AsyncIterator[bytes]) -> None:
    async for piece in audio:
        await stream.send(piece)
    await stream.finish()


def _hypothesis(found: Words, config: RecognitionConfig, *, final: bool) -> Hypothesis:
    words = tuple(Word(*word) for word in found.words) if config.words else ()
    return Hypothesis(found.text, final=final, confidence=found.confidence, language="en", words=words)
