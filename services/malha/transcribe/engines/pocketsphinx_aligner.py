"""The embedded aligner: PocketSphinx made to hear a given English text and nothing else."""

from importlib.metadata import version
from typing import Final

from malha.runtime.errors import FailedPrecondition
from malha.runtime.host import EngineHost, HostOptions
from malha.runtime.precedence import LIVE_TURNS
from malha.transcribe.aligner import not_alignable
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Recogniser, Word
from malha.transcribe.engines.align_messages import Aligned, NotAlignable
from malha.transcribe.replicas import Replicas

NAME: Final = "pocketsphinx-align"
MODEL: Final = "en-us"
IDLE_SECONDS: Final = 120.0
"""Its dictionary takes 60 MB: it goes when nobody has anything aligned."""
_WORKER: Final = "malha.transcribe.engines.pocketsphinx_align_worker:create_worker"
_START_SECONDS: Final = 60.0
_SECONDS_PER_AUDIO_SECOND: Final = 4.0
_SAMPLE_BYTES: Final = 2
_PIECE_BYTES: Final = 4 * SAMPLE_RATE_HERTZ * _SAMPLE_BYTES


class PocketSphinxAligner:
    """See `malha.transcribe.aligner.Aligner`. One worker, at nice 10, in turns between those who ask."""

    def __init__(self) -> None:
        self._version = version("pocketsphinx")
        self._replicas = Replicas(NAME, [(_host, 1)], IDLE_SECONDS)

    async def close(self) -> None:
        await self._replicas.close()

    def check(self, language: str) -> Recogniser:
        primary = language.lower().partition("-")[0]
        if primary not in {"", "en"}:
            raise FailedPrecondition(
                f"the embedded aligner knows English only, not {primary!r}: make engine-align, and name a wav2vec2 model in MALHA_ALIGN_MODELS",
                reason="LANGUAGE_NOT_ALIGNABLE",
            )
        return Recogniser("pocketsphinx", f"pocketsphinx {self._version}", MODEL)

    async def align(self, text: str, pcm: bytes, language: str, *, background: bool = False) -> tuple[Word, ...]:
        self.check(language)
        tokens = text.split()
        seconds = len(pcm) / _SAMPLE_BYTES / SAMPLE_RATE_HERTZ
        with self._replicas.use():
            patience = LIVE_TURNS + 1 if background else 1
            found = await self._replicas.call(
                tokens, pcm, timeout_seconds=patience * (_START_SECONDS + _SECONDS_PER_AUDIO_SECOND * seconds), background=background
            )
        if isinstance(found, NotAlignable):
            raise not_alignable(found)
        if not isinstance(found, Aligned):
            raise TypeError("an aligner's worker answers with Aligned or NotAlignable")
        return tuple(Word(tokens[place], start, min(end, seconds), confidence) for place, start, end, confidence in found.words)


def _host() -> EngineHost:
    options = HostOptions(start_seconds=_START_SECONDS, item_seconds=60.0, max_open=8)
    return EngineHost(NAME, _WORKER, None, host=options)
