"""The engine that settings ask for, and what ``auto`` means on this machine."""

from importlib.util import find_spec
from pathlib import Path
from typing import cast

from malha.models.store import ModelStore
from malha.runtime import engines
from malha.runtime.errors import FailedPrecondition
from malha.transcribe.engine import TranscribeEngine
from malha.transcribe.settings import TranscribeSettings

AUTO, POCKETSPHINX, WHISPER = "auto", "pocketsphinx", "faster-whisper"
PREFERRED_MODELS = ("whisper/turbo", "whisper/medium", "whisper/small", "whisper/base", "whisper/tiny")
"""Which local model ``auto`` takes, the first that is there. large-v3 is left to those who ask for it: it needs a GPU to keep up."""
DEFAULT_MODEL = "whisper/small"


def make_engine(settings: TranscribeSettings) -> TranscribeEngine:
    """The engine, not yet started. Raises FailedPrecondition for one that is not known or not installed."""
    name = choose(settings)
    make = engines.load("transcribe", name)
    return cast("TranscribeEngine", make(settings))


def choose(settings: TranscribeSettings) -> str:
    """The engine's name: as set; ``auto`` is Whisper where its packages and a local model are, else the embedded recogniser."""
    if settings.transcribe_engine != AUTO:
        return settings.transcribe_engine
    return WHISPER if find_spec("ctranslate2") is not None and _find_model(settings) is not None else POCKETSPHINX


def whisper_model(settings: TranscribeSettings) -> tuple[str, Path]:
    """(name, directory) of the Whisper model to load. Raises FailedPrecondition naming the command that fetches one."""
    found = _find_model(settings)
    if found is None:
        name = settings.whisper_model or DEFAULT_MODEL
        raise FailedPrecondition(f"no Whisper model is here: malha models pull {name}", reason="MODEL_NOT_LOCAL")
    return found


def _find_model(settings: TranscribeSettings) -> tuple[str, Path] | None:
    store = ModelStore(settings.models_dir)
    if settings.whisper_model and Path(settings.whisper_model).is_dir():
        return Path(settings.whisper_model).name, Path(settings.whisper_model)
    names = (settings.whisper_model,) if settings.whisper_model else PREFERRED_MODELS
    return next(((name, path) for name in names if (path := store.find(name)) is not None), None)
