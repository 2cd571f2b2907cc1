"""A real vLLM on the CPU with the tiny model of ``make vllm-test-server``, started as `malha serve llm` starts it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from malha.chat.vllm_served import Served
from malha.chat.vllm_server import HOST, command, environment, free_port
from malha.chat.vllm_settings import VllmSettings

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / ".venvs" / "vllm" / "bin" / "vllm"
MODELS = REPOSITORY / ".venvs" / "models"
TINY, TINY_INT4 = "tiny-qwen2", "tiny-qwen2-awq"
POSITIONS = 8192
"""Tokens that prompt and answer may have together."""

ARGUMENTS = "--enforce-eager --max-num-seqs 16 --kv-cache-memory-bytes 134217728"
"""Ready sooner, and small: the cache holds 260,000 tokens of the tiny model."""
ONE_CORE = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
READY_SECONDS = 180
STOP_SECONDS = 30
_LOG_LINES = 40


@dataclass(frozen=True, slots=True)
class RunningVllm:
    """A server that answers."""

    base_url: str
    """As clients want it, with ``/v1``."""
    model: str
    """What it is asked for."""
    key: str
    pid: int
    """Of its process group too."""
    log: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"} if self.key else {}


def need_vllm() -> None:
    """Skip the test where it is not set up."""
    whole = (PROGRAM.parents[1] / ".installed").is_file() and (MODELS / ".tiny-qwen2").is_file()
    if not whole or not os.access(PROGRAM, os.X_OK):
        pytest.skip("no vLLM for tests: make vllm-test-server")


def vllm_environment() -> dict[str, str]:
    """What `malha serve llm` reads, and vLLM inherits, to run within a test."""
    return {**ONE_CORE, "MALHA_VLLM_COMMAND": str(PROGRAM), "MALHA_VLLM_ARGUMENTS": ARGUMENTS}


@contextlib.contextmanager
def running_vllm(directory: Path, model: str = TINY, *, key: str = "") -> Iterator[RunningVllm]:
    """vLLM on a free port, ready; skips where it is not set up. ``directory`` gets its log."""
    need_vllm()
    served = Served(model, MODELS / model, (model,), 0, key=key)
    settings = VllmSettings(_env_file=None, vllm_command=str(PROGRAM), vllm_arguments=ARGUMENTS, vllm_drain_seconds=0)
    port, log = free_port(0), directory / f"vllm-{model}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(served, settings, port),
            env={**os.environ, **environment(served), **ONE_CORE},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_ready(process, port, log)
        yield RunningVllm(f"http://{HOST}:{port}/v1", model, key, process.pid, log)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=5, trust_env=False) as client:
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if client.get("/health").is_success:
                    return
            time.sleep(0.2)
    happened = f"ended with {process.returncode}" if process.poll() is not None else f"was not ready after {READY_SECONDS} s"
    pytest.fail(f"vLLM {happened}; its last lines:\n{_tail(log)}", pytrace=False)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
