"""The environment of ``make engine-pyannote``, and the tiny pipelines that tests run in it."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from fakes import tiny_pyannote

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("MALHA_PYANNOTE_PYTHON") or REPOSITORY / ".venvs" / "pyannote" / "bin" / "python")
MODELS = REPOSITORY / ".venvs" / "models"
TEACHING_SECONDS = 900


def environment() -> Path:
    """The Python that has pyannote.audio; the test skips without it."""
    if not PYTHON.exists():
        pytest.skip(f"no pyannote.audio at {PYTHON}: make engine-pyannote")
    return PYTHON


def tiny_pipelines() -> Path:
    """The directory of `fakes.tiny_pyannote`, made where it is not there yet: it takes half a minute of a core."""
    python = environment()
    source = Path(tiny_pyannote.__file__)
    directory = MODELS / f"tiny-pyannote-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not directory.is_dir():
        MODELS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=MODELS) as made:
            told = {"PYTHONPATH": str(source.parents[1]), "PYANNOTE_METRICS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
            program = [python, "-W", "ignore", "-m", "fakes.tiny_pyannote", Path(made) / "made"]
            subprocess.run(program, env=os.environ | told, check=True, capture_output=True, timeout=TEACHING_SECONDS)
            for old in MODELS.glob("tiny-pyannote-*"):
                shutil.rmtree(old)
            (Path(made) / "made").rename(directory)
    return directory
