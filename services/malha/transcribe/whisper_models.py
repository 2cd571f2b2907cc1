"""Which Whisper models lie on this machine, and which of them ``auto`` takes."""

from pathlib import Path
from typing import Final

from malha.models.store import ModelStore
from malha.runtime.errors import FailedPrecondition
from malha.transcribe.settings import WhisperSettings

PREFERRED_MODELS: Final = ("whisper/turbo", "whisper/medium", "whisper/small", "whisper/base", "whisper/tiny")
"""The first that is there. large-v3 is left to those who ask for it: it needs a GPU to keep up."""
DEFAULT_MODEL: Final = "whisper/small"


def find_model(settings: WhisperSettings) -> tuple[str, Path] | None:
    """(name, directory) of the model that settings name, or of the best one there; None where there is none."""
    if settings.whisper_model and Path(settings.whisper_model).is_dir():
        return Path(settings.whisper_model).name, Path(settings.whisper_model)
    store = ModelStore(settings.models_dir)
    names = (settings.whisper_model,) if settings.whisper_model else PREFERRED_MODELS
    return next(((name, path) for name in names if (path := store.find(name)) is not None), None)


def whisper_model(settings: WhisperSettings) -> tuple[str, Path]:
    """The same. Raises FailedPrecondition naming the command that fetches one."""
    found = find_model(settings)
    if found is None:
        raise _missing(settings.whisper_model or DEFAULT_MODEL)
    return found


def model_directory(settings: WhisperSettings, name: str) -> Path:
    """Of a model by its name, or by its directory. Raises FailedPrecondition naming the command that fetches it."""
    found = Path(name) if Path(name).is_dir() else ModelStore(settings.models_dir).find(name)
    if found is None:
        raise _missing(name)
    return found


def _missing(name: str) -> FailedPrecondition:
    return FailedPrecondition(f"no Whisper model is here: malha models pull {name}", reason="MODEL_NOT_LOCAL")
