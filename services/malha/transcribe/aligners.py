"""The aligners of this machine as one: each language has its own, English one in the box."""

from collections.abc import Mapping
from pathlib import Path

from malha.runtime.errors import FailedPrecondition
from malha.transcribe.aligner import Aligner
from malha.transcribe.engine import Recogniser, Word
from malha.transcribe.engines.pocketsphinx_aligner import PocketSphinxAligner
from malha.transcribe.engines.wav2vec2_aligner import Wav2Vec2Aligner
from malha.transcribe.settings import AlignSettings


def make_aligner(settings: AlignSettings) -> Aligner:
    """Those that MALHA_ALIGN_MODELS names, and PocketSphinx for English. Raises FailedPrecondition for what it names and is not there."""
    models = _models(settings.align_models)
    others: dict[str, Aligner] = dict.fromkeys(models, Wav2Vec2Aligner(models, settings.align_python)) if models else {}
    return LanguageAligners(others, PocketSphinxAligner())


class LanguageAligners:
    """See `malha.transcribe.aligner.Aligner`. ``others`` by primary tag; what is not among them goes to the embedded one."""

    def __init__(self, others: Mapping[str, Aligner], embedded: Aligner) -> None:
        self._others = others
        self._embedded = embedded

    async def close(self) -> None:
        for aligner in {id(aligner): aligner for aligner in (*self._others.values(), self._embedded)}.values():
            await aligner.close()

    def check(self, language: str) -> Recogniser:
        return self._of(language).check(language)

    async def align(self, text: str, pcm: bytes, language: str, *, background: bool = False) -> tuple[Word, ...]:
        return await self._of(language).align(text, pcm, language, background=background)

    def _of(self, language: str) -> Aligner:
        return self._others.get(language.lower().partition("-")[0], self._embedded)


def _models(text: str) -> dict[str, Path]:
    """Of ``pt=/models/wav2vec2-pt, es=...``."""
    models: dict[str, Path] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        language, sign, directory = part.partition("=")
        if not sign or not language.strip().isalpha() or not directory.strip():
            raise FailedPrecondition(f"MALHA_ALIGN_MODELS: {part!r} is not LANGUAGE=DIRECTORY", reason="ALIGN_MODELS_INVALID")
        models[language.strip().lower()] = Path(directory.strip())
    return models
