"""The composition root of a gRPC process: capabilities by name, their engines by setting, one server."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from malha.audio.service import AudioStreamService
from malha.audio.settings import AudioSettings
from malha.runtime import engines
from malha.runtime.admin import Admin
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import SERVICES, load_contracts
from malha.runtime.errors import FailedPrecondition
from malha.runtime.mesh import Mesh
from malha.runtime.process import run, tune_collector
from malha.runtime.rpc import Service
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.transcribe.choose import make_engine
from malha.transcribe.service import TranscribeService
from malha.transcribe.settings import TranscribeSettings

LIVE = "live"
"""All capabilities of this version in one process."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a capability is made with."""

    transcribe: Callable[[], grpc.aio.Channel]


def _audio(parts: Parts) -> Service:
    return AudioStreamService(AudioSettings(), parts.transcribe)


def _transcribe(_: Parts) -> Service:
    return TranscribeService(make_engine(TranscribeSettings()))


def _synthesize(_: Parts) -> Service:
    from malha.synthesize.service import SynthesizeService  # noqa: PLC0415 - one capability alone need not load the others
    from malha.synthesize.settings import SynthesizeSettings  # noqa: PLC0415

    settings = SynthesizeSettings()
    return SynthesizeService(engines.load("synthesize", settings.synthesize_engine)(settings), settings)


MAKERS: dict[str, Callable[[Parts], Service]] = {"audio": _audio, "transcribe": _transcribe, "synthesize": _synthesize}


def run_serve(names: list[str], settings: RuntimeSettings) -> int:
    """Serve capabilities until SIGTERM or SIGINT; the process's exit status."""
    wanted = list(MAKERS) if LIVE in names else names
    unknown = [name for name in wanted if name not in MAKERS]
    if unknown:
        known = ", ".join([LIVE, *MAKERS])
        raise FailedPrecondition(f"no capability {unknown[0]!r} in this version: there are {known}", reason="UNKNOWN_CAPABILITY")
    return run("+".join(names), lambda stop: serve(wanted, settings, stop, whole=LIVE in names), settings)


async def serve(names: list[str], settings: RuntimeSettings, stop: asyncio.Event, *, whole: bool) -> None:
    """Start a server with these capabilities, serve until ``stop``, drain. ``whole``: contracts without code answer UNIMPLEMENTED."""
    load_contracts()
    authenticator = Authenticator.from_settings(settings.api_tokens, settings.data_dir)
    bound: list[int] = []
    mesh = Mesh(settings, lambda: f"127.0.0.1:{bound[0]}")
    parts = Parts(transcribe=lambda: mesh.channel("transcribe"))
    services = [MAKERS[name](parts) for name in names]
    absent = [name for name in SERVICES if name not in {service.name for service in services}] if whole else []
    server = Server(services, absent, settings, authenticator)
    for name in names:
        mesh.serve(name, server.in_process)
    bound.append(await server.start())
    serving = asyncio.Event()
    admin = Admin(settings.admin_port, serving.is_set)
    try:
        await server.wait_serving()
        serving.set()
        tune_collector()
        _notify_ready(bound[0], admin.port)
        await stop.wait()
    finally:
        serving.clear()
        await server.stop()
        await mesh.close()
        admin.close()


def _notify_ready(port: int, admin_port: int) -> None:
    from malha.runtime.supervisor import notify_ready  # noqa: PLC0415 - only a supervised process has somebody to tell

    notify_ready({"grpc_port": str(port), "admin_port": str(admin_port)})
