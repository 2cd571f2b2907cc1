"""The program as a process, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path


def run_malha(directory: Path, *arguments: str, seconds: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALHA_")}
    places = {"MALHA_DATA_DIR": str(directory / "data"), "MALHA_MODELS_DIR": str(directory / "models")}
    return subprocess.run(
        [sys.executable, "-m", "malha.cli.main", *arguments],
        env=kept | places | environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
    )
