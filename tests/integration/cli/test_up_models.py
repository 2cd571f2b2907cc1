"""``models.toml`` is read again when ``malha up`` gets SIGHUP, and a file that is wrong changes nothing."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from malha.bench.private_server import Running, private_server

DEADLINE_SECONDS = 60
ONE = """
default = "first"
aliases.first.deployment = "extractive"
"""
TWO = ONE + 'aliases.second.deployment = "extractive"\n'
SECRET = "sk-that-nobody-may-see"
WRONG = {
    "a key in the file": TWO + f'[deployments.paid]\nengine = "openai"\nbase_url = "http://127.0.0.1:1/v1"\napi_key = "{SECRET}"\n',
    "no TOML": f"{TWO}aliases = {SECRET}",
    "an alias that leads nowhere": TWO + f'aliases.third.deployment = "{SECRET}"\n',
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up-models")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Running]:
    write(directory, ONE)
    with private_server({"MALHA_TRANSCRIBE_ENGINE": "null", "MALHA_DRAIN_SECONDS": "2"}, data_dir=directory) as running:
        yield running


def write(directory: Path, models: str) -> None:
    (directory / "models.toml").write_text(models)


def aliases(server: Running) -> list[str]:
    authorization = {"Authorization": f"Bearer {server.token}"}
    answer = httpx.get(f"{server.url}/api/v1/chat/models", headers=authorization, timeout=30, trust_env=False)
    return [model["alias"] for model in answer.raise_for_status().json()["models"]]


def logged(directory: Path) -> str:
    """Everything this server has written, but for a line that it is writing."""
    return "".join(file.read_text(errors="replace").rpartition("\n")[0] + "\n" for file in sorted(directory.rglob("*.log")))


def events(directory: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in logged(directory).splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == name]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reload(server: Running, directory: Path, models: str, event: str) -> dict[str, Any]:
    """What the server logs of the file it was told to read."""
    before = len(events(directory, event))
    write(directory, models)
    os.kill(server.supervisor, signal.SIGHUP)
    until(lambda: len(events(directory, event)) > before)
    return events(directory, event)[-1]


def test_a_new_alias_is_there_and_no_process_was_started_anew(server: Running, directory: Path) -> None:
    reload(server, directory, ONE, "models_reloaded")
    assert aliases(server) == ["first"]
    told = reload(server, directory, TWO, "models_reloaded")
    assert (told["level"], told["alias"]) == ("info", "first")
    assert aliases(server) == ["first", "second"]
    assert not events(directory, "child_lost")


@pytest.mark.parametrize("models", WRONG.values(), ids=WRONG)
def test_a_wrong_file_keeps_the_one_in_force_and_is_logged_without_what_it_holds(server: Running, directory: Path, models: str) -> None:
    reload(server, directory, TWO, "models_reloaded")
    told = reload(server, directory, models, "models_refused")
    assert (told["level"], told["reason"]) == ("error", "MODELS_FILE_INVALID")
    assert aliases(server) == ["first", "second"]
    assert SECRET not in logged(directory)
    assert not events(directory, "child_lost")


def test_who_takes_over_reads_the_file_as_it_is(server: Running, directory: Path) -> None:
    reload(server, directory, TWO, "models_reloaded")
    ready = len(events(directory, "child_ready"))
    os.kill(server.pids["live"], signal.SIGKILL)
    until(lambda: len(events(directory, "child_ready")) > ready)
    assert aliases(server) == ["first", "second"]
    reload(server, directory, ONE, "models_reloaded")  # and is told of the next
    assert aliases(server) == ["first"]
