"""Alignment by a wav2vec 2.0 model with a CTC head, of the languages it was tuned for. Its directory is local; nothing is fetched."""

import os
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.runtime.host import EngineHost, HostOptions
from malha.runtime.precedence import LIVE_TURNS
from malha.transcribe.aligner import not_alignable
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Recogniser, Word
from malha.transcribe.engines.align_messages import Aligned, ModelUnusable, NotAlignable
from malha.transcribe.replicas import Replicas

NAME: Final = "wav2vec2"
EXTRA: Final = "align"
MAX_SECONDS: Final = 120.0
"""The path through text and audio is found in memory that grows with both."""
IDLE_SECONDS: Final = 300.0
_PACKAGES: Final = ("torch", "transformers")
_WORKER: Final = "malha.transcribe.engines.wav2vec2_align_worker:Wav2Vec2AlignWorker"
_START_SECONDS: Final = 300.0
_SECONDS_PER_AUDIO_SECOND: Final = 10.0
_SAMPLE_BYTES: Final = 2


class Wav2Vec2Aligner:
    """See `malha.transcribe.aligner.Aligner`. One worker for each language's model."""

    def __init__(self, models: Mapping[str, Path], python: Path | None) -> None:
        """``models``: directories by primary tag; ``python``: the interpreter that has the packages, None: this one.

        Raises FailedPrecondition for missing packages or directories.
        """
        if python is None and any(find_spec(package) is None for package in _PACKAGES):
            raise FailedPrecondition(
                f"aligner {NAME!r} needs: make engine-align, and MALHA_ALIGN_PYTHON=.venvs/align/bin/python; or pip install 'malha-services[{EXTRA}]'",
                reason="MISSING_EXTRA",
            )
        if python is not None and not os.access(python, os.X_OK):
            raise FailedPrecondition("there is no Python at MALHA_ALIGN_PYTHON: make engine-align", reason="MISSING_EXTRA")
        for directory in models.values():
            if not (directory / "config.json").is_file() or not (directory / "vocab.json").is_file():
                raise FailedPrecondition(
                    f"{directory} holds no wav2vec2 model: config.json, vocab.json and weights", reason="MODEL_NOT_LOCAL"
                )
        self._models = dict(models)
        self._replicas = {
            language: Replicas(
                f"{NAME} {language}",
                [(partial(_host, language, directory, "" if python is None else str(python.absolute())), 1)],
                IDLE_SECONDS,
            )
            for language, directory in models.items()
        }

    async def close(self) -> None:
        for replicas in self._replicas.values():
            await replicas.close()

    def check(self, language: str) -> Recogniser:
        primary = _primary(language)
        if primary not in self._models:
            raise FailedPrecondition(
                f"no aligner for {primary!r} here: MALHA_ALIGN_MODELS names {', '.join(self._models)}", reason="LANGUAGE_NOT_ALIGNABLE"
            )
        return Recogniser(NAME, "wav2vec2 CTC", self._models[primary].name)

    async def align(self, text: str, pcm: bytes, language: str, *, background: bool = False) -> tuple[Word, ...]:
        self.check(language)
        seconds = len(pcm) / _SAMPLE_BYTES / SAMPLE_RATE_HERTZ
        if seconds > MAX_SECONDS:
            raise InvalidArgument(f"aligner {NAME!r} takes at most {MAX_SECONDS:g} s of audio", reason="AUDIO_TOO_LONG")
        tokens, replicas = text.split(), self._replicas[_primary(language)]
        patience = LIVE_TURNS + 1 if background else 1
        limit = patience * (_START_SECONDS + _SECONDS_PER_AUDIO_SECOND * seconds)
        with replicas.use():
            found = await replicas.call(tokens, pcm, timeout_seconds=limit, background=background)
        if isinstance(found, ModelUnusable):
            directory = self._models[_primary(language)]
            raise FailedPrecondition(f"the model in {directory} cannot be loaded as wav2vec2 with a CTC head", reason="MODEL_UNUSABLE")
        if isinstance(found, NotAlignable):
            raise not_alignable(found)
        if not isinstance(found, Aligned):
            raise TypeError("an aligner's worker answers with Aligned or NotAlignable")
        return tuple(Word(tokens[place], start, min(end, seconds), confidence) for place, start, end, confidence in found.words)


def _primary(language: str) -> str:
    return language.lower().partition("-")[0]


def _host(language: str, directory: Path, python: str) -> EngineHost:
    options = HostOptions(start_seconds=_START_SECONDS, item_seconds=120.0, max_open=8, python=python)
    return EngineHost(f"{NAME} {language}", _WORKER, directory, host=options)
