"""Makes the pyannote engine from Diarize's settings: the entry point's target."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from malha.diarize.engines.pyannote import COMMAND, NAME, PyannoteEngine, PyannoteSettings
from malha.diarize.engines.pyannote_messages import WorkerOptions
from malha.diarize.settings import DiarizeSettings
from malha.models import catalogue
from malha.models.store import ModelStore
from malha.runtime.errors import FailedPrecondition, InvalidArgument

CONFIG: Final = "config.yaml"
_FAMILY: Final = "pyannote/"
_MAX_THREADS: Final = 8


def create(settings: DiarizeSettings) -> PyannoteEngine:
    """The engine on the pipeline that settings name. Raises FailedPrecondition naming the command that brings what is missing."""
    python = settings.pyannote_python
    if python is None and not _installed():
        raise FailedPrecondition(
            f"engine {NAME!r} needs: {COMMAND}, and MALHA_PYANNOTE_PYTHON=.venvs/pyannote/bin/python", reason="MISSING_EXTRA"
        )
    if python is not None and not os.access(python, os.X_OK):
        raise FailedPrecondition(f"there is no Python at MALHA_PYANNOTE_PYTHON: {COMMAND}", reason="MISSING_EXTRA")
    store = ModelStore()
    workers = settings.diarize_workers
    options = WorkerOptions(
        str(_directory(store, settings.pyannote_pipeline)),
        _models(store),
        settings.pyannote_device,
        settings.pyannote_threads or max(1, min(_MAX_THREADS, (os.cpu_count() or 1) // 2 // workers)),
    )
    return PyannoteEngine(PyannoteSettings(options, python, workers, settings.pyannote_streams * workers, settings.diarize_max_streams))


def _installed() -> bool:
    try:
        return find_spec("pyannote.audio") is not None
    except ModuleNotFoundError:  # not even the namespace
        return False


def _directory(store: ModelStore, pipeline: str) -> Path:
    """Where the pipeline lies: a directory, or a name in the models directory, and there all it needs."""
    if Path(pipeline).is_dir():
        if not (Path(pipeline) / CONFIG).is_file():
            raise FailedPrecondition(f"MALHA_PYANNOTE_PIPELINE={pipeline} has no {CONFIG}", reason="MODEL_INCOMPLETE")
        return Path(pipeline).resolve()
    try:
        found = store.find(pipeline)
    except InvalidArgument:  # a path, and nothing there
        found = None
    if found is None:
        raise FailedPrecondition(
            f"pipeline {pipeline!r} is not here: malha models pull {_FAMILY}speaker-diarization-community-1, "
            f"or set MALHA_PYANNOTE_PIPELINE to a directory with {CONFIG}",
            reason="MODEL_NOT_LOCAL",
        )
    return found


def _models(store: ModelStore) -> dict[str, str]:
    """The family's models that are here, by the ids they have on the hub."""
    known = [model for model in catalogue.MODELS.values() if model.name.startswith(_FAMILY)]
    return {model.repository: str(path) for model in known if (path := store.find(model.name)) is not None}
