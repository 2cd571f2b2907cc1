"""vLLM as a supervised process: found, told what to serve, ready once it answers, drained, ended with its parent.

It listens on loopback only: vLLM asks for its key under ``/v1`` alone, and endpoints that load adapters lie elsewhere too.
"""

import asyncio
import json
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from malha.chat.vllm_served import Served
from malha.chat.vllm_settings import VllmSettings
from malha.runtime.errors import FailedPrecondition, Unavailable
from malha.runtime.supervisor import ChildSpec

HOST: Final = "127.0.0.1"
PORT_INFO: Final = "llm_port"
"""What whoever supervises is told the port as."""

_LAUNCHER: Final = Path(__file__).with_name("vllm_launch.py")
_STRUCTURED_OUTPUTS: Final = json.dumps({"backend": "guidance", "disable_any_whitespace": True})
"""The guidance backend: xgrammar writes raw control characters into strings that have a ``maxLength``."""
_POLL_SECONDS: Final = 0.25
_HEALTH_SECONDS: Final = 5.0
_STOP_SLACK_SECONDS: Final = 15.0
"""From the end of draining to SIGKILL."""


def spec(served: Served, settings: VllmSettings) -> ChildSpec:
    """How a supervisor runs it; on a port that is free now.

    Raises FailedPrecondition where vLLM is missing, Unavailable where the port is taken.
    """
    port = free_port(served.port)
    added = environment(served)

    async def ready() -> Mapping[str, str]:
        await healthy(port)
        return {PORT_INFO: str(port)}

    return ChildSpec(
        served.name,
        (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command(served, settings, port)),
        lambda _: added,
        stop_seconds=settings.vllm_drain_seconds + _STOP_SLACK_SECONDS,
        ready_seconds=settings.vllm_ready_seconds,
        ready=ready,
    )


def command(served: Served, settings: VllmSettings, port: int) -> tuple[str, ...]:
    """``vllm serve`` with its arguments; those of the settings come last, and win. Raises FailedPrecondition where vLLM is missing."""
    options = {
        "--host": HOST,
        "--port": port,
        "--structured-outputs-config": _STRUCTURED_OUTPUTS,
        "--max-lora-rank": served.lora_rank,
        "--shutdown-timeout": settings.vllm_drain_seconds,
        "--uvicorn-log-level": "warning",
        "--quantization": served.quantization,
        "--max-model-len": served.max_model_len,
        "--tensor-parallel-size": len(served.gpus) or None,
    }
    given = (text for name, value in options.items() if value not in {"", None} for text in (name, str(value)))
    adapters = ("--lora-modules", *(f"{name}={place}" for name, place in served.adapters.items())) if served.adapters else ()
    return (
        *program(settings),
        "serve",
        str(served.model),
        "--enable-lora",
        "--disable-uvicorn-access-log",
        "--served-model-name",
        *served.served_names,
        *given,
        *adapters,
        *shlex.split(settings.vllm_arguments),
    )


def environment(served: Served) -> dict[str, str]:
    """Nothing is fetched and nothing reported; the key is in no command line, which others can read."""
    added = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    if "VLLM_LOGGING_LEVEL" not in os.environ:
        added["VLLM_LOGGING_LEVEL"] = "WARNING"
    if served.gpus:
        added["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, served.gpus))
    return added | ({"VLLM_API_KEY": served.key} if served.key else {})


def program(settings: VllmSettings) -> tuple[str, ...]:
    """The command that starts vLLM. Raises FailedPrecondition naming the extra where there is none."""
    if settings.vllm_command:
        return tuple(shlex.split(settings.vllm_command))
    for programs in (Path(sys.executable).parent, Path.cwd() / ".venvs" / "vllm" / "bin"):
        place = programs / "vllm"
        if (
            os.access(place, os.X_OK) and (programs / "python").exists()
        ):  # which an environment gets last, once it is whole: see .ci/steps.sh
            return (str(place),)
    raise FailedPrecondition(
        "the LLM server needs: pip install 'malha-services[vllm]'; or set MALHA_VLLM_COMMAND to a vLLM of another environment",
        reason="MISSING_EXTRA",
    )


def free_port(port: int) -> int:
    """The port, if nobody listens on it; for 0 one that nobody listens on. Raises Unavailable.

    vLLM binds it later: whoever answers on a taken port must not be mistaken for it.
    """
    try:
        with socket.create_server((HOST, port)) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        raise Unavailable(
            f"port {port} of {HOST} cannot be had ({error.strerror}): stop what listens there, or give it another",
            reason="PORT_TAKEN",
        ) from error


async def healthy(port: int) -> None:
    """Wait until vLLM answers. Without end: the supervisor bounds it."""
    async with httpx.AsyncClient(timeout=_HEALTH_SECONDS, trust_env=False) as client:
        while True:
            try:
                if (await client.get(f"http://{HOST}:{port}/health")).is_success:
                    return
            except httpx.TransportError:
                pass  # it is not listening yet
            await asyncio.sleep(_POLL_SECONDS)
