"""Makes the coqui engine from Synthesize's settings: the entry point's target."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from malha.models import catalogue
from malha.models.store import ModelStore, read_manifest
from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.synthesize.engines.coqui import CoquiEngine, CoquiSettings
from malha.synthesize.settings import SynthesizeSettings

DEFAULT_MODEL: Final = "xtts/v2"
FILES: Final = ("config.json", "model.pth")
_PACKAGE: Final = "TTS"
_MAX_THREADS: Final = 8


def create(settings: SynthesizeSettings) -> CoquiEngine:
    """The engine on the model that settings name. Raises FailedPrecondition naming the command that brings what is missing."""
    if find_spec(_PACKAGE) is None:
        raise FailedPrecondition(
            "engine 'coqui' needs: make engine-coqui, or pip install 'malha-services[coqui]' in an environment of its own",
            reason="MISSING_EXTRA",
        )
    directory = _directory(settings.coqui_model)
    return CoquiEngine(
        CoquiSettings(
            directory=directory,
            model=settings.coqui_model if not Path(settings.coqui_model).is_dir() else directory.name,
            licence=_licence(directory),
            language=settings.coqui_language,
            device=settings.coqui_device,
            threads=settings.coqui_threads or _threads(settings.synthesize_workers),
            workers=settings.synthesize_workers,
            spare=settings.coqui_spare,
        )
    )


def _directory(model: str) -> Path:
    """Where the model lies: a directory, or a name in the models directory."""
    if Path(model).is_dir():
        missing = [name for name in FILES if not (Path(model) / name).is_file()]
        if missing:
            raise FailedPrecondition(f"MALHA_COQUI_MODEL={model} has no {' and no '.join(missing)}", reason="MODEL_INCOMPLETE")
        return Path(model).resolve()
    try:
        found = ModelStore().find(model)
    except InvalidArgument:  # a path, and nothing there
        found = None
    if found is None:
        raise FailedPrecondition(
            f"model {model!r} is not here: malha models pull {DEFAULT_MODEL}, or set MALHA_COQUI_MODEL to a directory with {' and '.join(FILES)}",
            reason="MODEL_NOT_LOCAL",
        )
    return found


def _licence(directory: Path) -> str:
    """The weights' licence, where a manifest says it, and whether it forbids commerce."""
    manifest = read_manifest(directory)
    if manifest is None:
        return ""
    terms = catalogue.LICENCES.get(manifest.licence)
    return manifest.licence if terms is None or terms.commercial else f"{manifest.licence} (non-commercial)"


def _threads(workers: int) -> int:
    """Half of the cores, shared between the workers."""
    return max(1, min(_MAX_THREADS, (os.cpu_count() or 1) // 2 // workers))
