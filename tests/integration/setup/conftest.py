"""A directory that is set up by the real scripts, with a Makefile of the test's own."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from conftest import REPOSITORY

WITHOUT_MAKE = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
"""The tests themselves may be run by make, which tells those it starts."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Empty, but for the scripts."""
    shutil.copytree(REPOSITORY / ".ci", tmp_path / ".ci")
    return tmp_path


@pytest.fixture
def sh(place: Path) -> Run:
    """Runs a line of shell there. Standard error is told in the order it came, among what was told on standard output."""

    def run(line: str, environment: Mapping[str, str] = WITHOUT_MAKE, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", line],
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=seconds,
        )

    return run
