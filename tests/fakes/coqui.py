"""``malha serve synthesize`` with the real coqui-tts, in the environment of ``make engine-coqui``, on the tests' tiny models."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / ".venvs" / "coqui"
PYTHON = ENVIRONMENT / "bin" / "python"
READY_SECONDS = 300
STOP_SECONDS = 30
_LOG_LINES = 30


@dataclass(frozen=True, slots=True)
class RunningCoqui:
    """A server that serves."""

    target: str
    pid: int
    log: Path

    @property
    def workers(self) -> list[psutil.Process]:
        """Its engine's processes, the one that stands by included."""
        return [child for child in psutil.Process(self.pid).children() if "malha.runtime.worker" in child.cmdline()]

    def logged(self, event: str) -> list[dict[str, object]]:
        """Lines of its log."""
        return [line for line in _lines(self.log) if line.get("event") == event]


def need_coqui() -> None:
    """Skip the test where it is not set up."""
    if not (ENVIRONMENT / ".installed").is_file():
        pytest.skip("no coqui-tts for tests: make engine-coqui")


def make_models(directory: Path) -> None:
    """The tiny models."""
    need_coqui()
    subprocess.run(
        [PYTHON, "-m", "fakes.tiny_coqui", directory], env={**_environment(directory), "PYTHONPATH": str(REPOSITORY / "tests")}, check=True
    )


def serve(directory: Path, settings: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a server that is to end by itself, because something is missing."""
    need_coqui()
    return subprocess.run(
        _command(),
        env={**_environment(directory), **settings},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=READY_SECONDS,
        check=False,
    )


@contextlib.contextmanager
def running_coqui(directory: Path, settings: Mapping[str, str]) -> Iterator[RunningCoqui]:
    """A server on a free port, ready; skips where it is not set up. ``directory`` gets its log and its token."""
    need_coqui()
    log = directory / "coqui.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(),
            env={**_environment(directory), "MALHA_SYNTHESIZE_ENGINE": "coqui", **settings},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield RunningCoqui(_wait_ready(process, log), process.pid, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _command() -> list[str]:
    return [str(PYTHON), "-m", "malha.cli.main", "serve", "synthesize", "--port", "0", "--admin-port", "0"]


def _environment(directory: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALHA_")}
    return {**inherited, "MALHA_DATA_DIR": str(directory), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def _wait_ready(process: "subprocess.Popen[bytes]", log: Path) -> str:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        ports = [line["port"] for line in _lines(log) if line.get("event") == "server_listening"]
        if ports and _serves(f"127.0.0.1:{ports[0]}"):
            return f"127.0.0.1:{ports[0]}"
        time.sleep(0.2)
    happened = f"ended with {process.returncode}" if process.poll() is not None else f"was not ready after {READY_SECONDS} s"
    last = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    pytest.fail(f"the coqui server {happened}; its last lines:\n{last}", pytrace=False)


def _serves(target: str) -> bool:
    request = health_pb2.HealthCheckRequest(service="malha.api.synthesize.v1.SynthesizeService")
    with grpc.insecure_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _lines(log: Path) -> Iterator[dict[str, object]]:
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            read = json.loads(line)
            if isinstance(read, dict):
                yield read
