"""Imports with pauses, and without once somebody waits."""

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from malha.runtime import unhurried
from malha.runtime.unhurried import HURRIED, PAUSE_SHARE, TURN_FD

MODULES, WORK_SECONDS = 8, 0.02
LONG_SHARE = 1_000.0
"""One pause would be 20 s."""


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Modules that each take some CPU time."""
    work = f"import time\nend = time.thread_time() + {WORK_SECONDS}\nwhile time.thread_time() < end: pass\n"
    found = [f"unhurried_{number}" for number in range(MODULES)]
    for name in found:
        (tmp_path / f"{name}.py").write_text(work)
    monkeypatch.syspath_prepend(tmp_path)
    yield found
    for name in found:
        sys.modules.pop(name, None)


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """What a standby reads its turn from, and where it is written."""
    read, write = os.pipe()
    monkeypatch.setenv(TURN_FD, str(read))
    monkeypatch.delenv(HURRIED, raising=False)
    yield read, write
    os.close(read)
    with contextlib.suppress(OSError):
        os.close(write)


def seconds(names: list[str]) -> float:
    before = sys.meta_path.copy()
    began = time.monotonic()
    unhurried.begin()
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        unhurried.end()
    assert sys.meta_path == before
    return time.monotonic() - began


@pytest.mark.usefixtures("turn")
def test_pauses_are_some_times_as_long_as_the_work(names: list[str]) -> None:
    assert seconds(names) >= (MODULES - 1) * WORK_SECONDS * (1 + PAUSE_SHARE)


def test_once_somebody_waits_there_are_none(names: list[str], turn: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unhurried, "PAUSE_SHARE", LONG_SHARE)
    read, write = turn
    os.write(write, b"!")
    assert seconds(names) < WORK_SECONDS * LONG_SHARE
    assert os.read(read, 8) == b"!", "the turn is still there to be taken"


def test_a_closed_other_end_hurries_too(names: list[str], turn: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor has died: the process is to end, not to pause."""
    monkeypatch.setattr(unhurried, "PAUSE_SHARE", LONG_SHARE)
    os.close(turn[1])
    assert seconds(names) < WORK_SECONDS * LONG_SHARE


@pytest.mark.usefixtures("turn")
@pytest.mark.parametrize("name", [TURN_FD, HURRIED])
def test_who_is_no_standby_or_one_that_is_waited_for_does_not_pause(names: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unhurried, "PAUSE_SHARE", LONG_SHARE)
    if name == TURN_FD:
        monkeypatch.delenv(TURN_FD)
    else:
        monkeypatch.setenv(HURRIED, "1")
    assert seconds(names) < WORK_SECONDS * LONG_SHARE
