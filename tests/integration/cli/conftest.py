import subprocess
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from integration.cli.program import run_malha

from malha.bench.private_server import Running, private_server

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """``malha up`` as a user starts it, with the null recogniser."""
    with private_server({"MALHA_TRANSCRIBE_ENGINE": "null"}) as running:
        yield running


@pytest.fixture
def malha(server: Running, tmp_path: Path) -> Run:
    """Runs the program as a client of the server."""
    return lambda *arguments: run_malha(tmp_path, *arguments, MALHA_TARGET=server.grpc, MALHA_TOKEN=server.token)


@pytest.fixture
def speech(server: Running, tmp_path: Path) -> Path:
    """A few spoken seconds, made by the server itself."""
    body = {"text": "Good morning. I would like to pay my bill.", "language": "en"}
    answer = httpx.post(
        f"{server.url}/api/v1/tts", json=body, headers={"Authorization": f"Bearer {server.token}"}, timeout=30, trust_env=False
    )
    file = tmp_path / "speech.wav"
    file.write_bytes(answer.raise_for_status().content)
    with wave.open(str(file)) as made:
        assert made.getnframes() > made.getframerate()
    return file
