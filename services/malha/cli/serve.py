"""The composition root of a gRPC process: capabilities by name, their engines by setting, one server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import cast

import grpc

from malha.audio.call_store import CallStore
from malha.audio.service import AudioStreamService
from malha.audio.settings import AudioSettings
from malha.cli.mode import ModeSettings
from malha.privacy.retention import Retention
from malha.privacy.settings import PrivacySettings
from malha.privacy.sweeper import RetentionSweeper
from malha.recording.blobs import RecordedFiles, make_blobs
from malha.recording.make import make_recordings
from malha.recording.settings import RecordingSettings
from malha.runtime import engines
from malha.runtime.admin import Admin
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import SERVICES, load_contracts
from malha.runtime.errors import FailedPrecondition
from malha.runtime.job_files import JobFiles, JobFilesSettings
from malha.runtime.mesh import Mesh
from malha.runtime.process import run, tune_collector
from malha.runtime.quotas import Quotas, QuotaSettings
from malha.runtime.rpc import Service
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tenants import Tenants
from malha.store.tokens import Tokens
from malha.transcribe.aligners import make_aligner
from malha.transcribe.choose import make_engine
from malha.transcribe.service import TranscribeService
from malha.transcribe.settings import TranscribeSettings

LIVE = "live"
"""All capabilities of this version in one process."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a capability is made with."""

    channel: Callable[[str], grpc.aio.Channel]
    """To a capability by name, here or elsewhere."""
    reachable: frozenset[str]
    """Capabilities there are, here or elsewhere."""
    database: Database | None
    store: StoreSettings
    quotas: Quotas
    data_dir: Path
    in_process: Callable[[], grpc.aio.Channel]
    """To the services of this very process."""
    whole: bool = False
    """Whether this process serves all there is: what is not installed then says so when it is asked, and keeps nothing else from serving."""


def _audio(parts: Parts) -> Service:
    store = CallStore(parts.database, parts.store) if parts.database is not None else None
    recordings = make_recordings(parts.database, parts.data_dir) if parts.database is not None else None
    insight, diarize = (partial(parts.channel, name) if name in parts.reachable else None for name in ("insight", "diarize"))
    return AudioStreamService(AudioSettings(), partial(parts.channel, "transcribe"), store, parts.quotas, recordings, insight, diarize)


def _conversation(parts: Parts) -> Service:
    from malha.conversation.service import ConversationService  # noqa: PLC0415 - one capability alone need not load the others
    from malha.conversation.settings import ConversationSettings  # noqa: PLC0415

    if parts.database is None:
        raise FailedPrecondition("Conversation needs a database: set MALHA_DATABASE_URL", reason="STORE_NOT_CONFIGURED")
    return ConversationService(parts.database, ConversationSettings())


def _jobs(parts: Parts) -> Service:
    from malha.jobs.service import JobService  # noqa: PLC0415 - one capability alone need not load the others
    from malha.jobs.settings import JobSettings  # noqa: PLC0415
    from malha.runtime.outbound import OutboundSettings  # noqa: PLC0415

    if parts.database is None:
        raise FailedPrecondition("Jobs needs a database: set MALHA_DATABASE_URL", reason="STORE_NOT_CONFIGURED")
    return JobService(parts.database, parts.store, parts.data_dir, parts.in_process, JobSettings(), JobFilesSettings(), OutboundSettings())


def _transcribe(_: Parts) -> Service:
    settings = TranscribeSettings()
    return TranscribeService(make_engine(settings), make_aligner(settings))


def _synthesize(parts: Parts) -> Service:
    from malha.synthesize.service import SynthesizeService  # noqa: PLC0415 - one capability alone need not load the others
    from malha.synthesize.settings import SynthesizeSettings  # noqa: PLC0415

    settings = SynthesizeSettings()
    diarize = partial(parts.channel, "diarize") if "diarize" in parts.reachable else None
    return SynthesizeService(engines.load("synthesize", settings.synthesize_engine)(settings), settings, parts.database, diarize)


def _insight(parts: Parts) -> Service:
    from malha.insight.service import InsightService  # noqa: PLC0415 - one capability alone need not load the others
    from malha.insight.settings import InsightSettings  # noqa: PLC0415

    return InsightService(parts.database, partial(parts.channel, "chat"), InsightSettings())


def _chat(parts: Parts) -> Service:
    from malha.chat.service import ChatService  # noqa: PLC0415 - one capability alone need not load the others
    from malha.chat.settings import ChatSettings  # noqa: PLC0415

    return ChatService(ChatSettings(), parts.data_dir, parts.database)


def _ocr(parts: Parts) -> Service:
    from malha.ocr.service import OcrService  # noqa: PLC0415 - one capability alone need not load the others
    from malha.ocr.settings import OcrSettings  # noqa: PLC0415

    settings = OcrSettings()
    return OcrService(engines.load("ocr", settings.ocr_engine)(settings), settings, parts.database)


def _diarize(parts: Parts) -> Service:
    from malha.diarize.choose import make_engine as make_diarizer  # noqa: PLC0415 - one capability alone need not load the others
    from malha.diarize.service import DiarizeService  # noqa: PLC0415
    from malha.diarize.settings import DiarizeSettings  # noqa: PLC0415

    settings = DiarizeSettings()
    return DiarizeService(make_diarizer(settings, optional=parts.whole), settings, parts.database)


MAKERS: dict[str, Callable[[Parts], Service]] = {
    "audio": _audio,
    "transcribe": _transcribe,
    "synthesize": _synthesize,
    "diarize": _diarize,
    "conversation": _conversation,
    "jobs": _jobs,
    "chat": _chat,
    "insight": _insight,
    "ocr": _ocr,
}


NEED_DATABASE = frozenset({"conversation", "jobs"})
LAZY = frozenset({"synthesize", "conversation", "jobs", "chat", "insight", "ocr", "diarize"})
"""Capabilities that are imported when they are made."""


def live_capabilities() -> list[str]:
    """What ``live`` has, by its setting."""
    mode = ModeSettings()
    return [name for name in MAKERS if mode.serves(name)]


def run_serve(names: list[str], settings: RuntimeSettings) -> int:
    """Serve capabilities until SIGTERM or SIGINT; the process's exit status."""
    wanted = live_capabilities() if LIVE in names else names
    if "jobs" in wanted and "audio" not in wanted:
        raise FailedPrecondition("Jobs needs Audio in its own process: malha serve audio jobs", reason="JOBS_WITHOUT_AUDIO")
    unknown = [name for name in wanted if name not in MAKERS]
    if unknown:
        known = ", ".join([LIVE, *MAKERS])
        raise FailedPrecondition(f"no capability {unknown[0]!r} in this version: there are {known}", reason="UNKNOWN_CAPABILITY")
    return run(
        "+".join(names), lambda stop: serve(wanted, settings, stop, whole=LIVE in names), settings, lambda: load(wanted, settings.data_dir)
    )


def load(names: list[str], data_dir: Path) -> None:
    """Import what serving these capabilities will import, and do nothing else."""
    load_contracts()
    if "transcribe" in names:
        make_engine(TranscribeSettings())
    for name in LAZY.intersection(names):
        import_module(f"malha.{name}.service")
    if "chat" in names:
        from malha.chat.choose import preload  # noqa: PLC0415 - one capability alone need not load the others
        from malha.chat.settings import ChatSettings  # noqa: PLC0415

        preload(ChatSettings(), data_dir)


async def serve(names: list[str], settings: RuntimeSettings, stop: asyncio.Event, *, whole: bool) -> None:
    """Start a server with these capabilities, serve until ``stop``, drain. ``whole``: contracts without code answer UNIMPLEMENTED."""
    load_contracts()
    store = StoreSettings()
    async with _database(store) as database:
        tokens = Tokens(database) if database is not None else None
        authenticator = Authenticator.from_settings(settings.api_tokens, settings.data_dir, tokens)
        quotas = Quotas(QuotaSettings(), Tenants(database) if database is not None else None)
        bound: list[int] = []
        mesh = Mesh(settings, lambda: f"127.0.0.1:{bound[0]}")
        servers: list[Server] = []
        parts = Parts(
            mesh.channel,
            frozenset({*names, *(name for name in ("insight", "diarize") if getattr(settings, f"{name}_target"))}),
            database,
            store,
            quotas,
            settings.data_dir,
            lambda: cast("grpc.aio.Channel", servers[0].in_process),
            whole,
        )
        served = [name for name in names if not (whole and name in NEED_DATABASE and database is None)]
        services = [MAKERS[name](parts) for name in served]
        absent = [name for name in SERVICES if name not in {service.name for service in services}] if whole else []
        server = Server(services, absent, settings, authenticator, quotas=quotas)
        servers.append(server)
        for name in served:
            mesh.serve(name, server.in_process)
        bound.append(await server.start())
        async with _retention(database if "conversation" in served else None, settings):
            await _serve_until(stop, server, bound[0], settings)
        await mesh.close()


async def _serve_until(stop: asyncio.Event, server: Server, port: int, settings: RuntimeSettings) -> None:
    serving = asyncio.Event()
    admin = Admin(settings.admin_port, serving.is_set)
    try:
        await server.wait_serving()
        serving.set()
        tune_collector()
        _notify_ready(port, admin.port)
        await stop.wait()
    finally:
        serving.clear()
        await server.stop()
        admin.close()


@asynccontextmanager
async def _retention(database: Database | None, settings: RuntimeSettings) -> AsyncIterator[None]:
    """What tenants keep no longer goes while this process serves."""
    if database is None:
        yield
        return
    blobs = make_blobs(RecordingSettings(), settings.data_dir)
    uploads = JobFiles(settings.data_dir, JobFilesSettings().job_files_bytes)
    sweeper = RetentionSweeper(Retention(database, RecordedFiles(blobs), uploads), PrivacySettings().retention_sweep_seconds)
    sweeper.start()
    try:
        yield
    finally:
        await sweeper.close()
        await blobs.close()


@asynccontextmanager
async def _database(settings: StoreSettings) -> AsyncIterator[Database | None]:
    """The database, checked; None where none is set: calls are then not kept, and cannot be resumed."""
    if not settings.url:
        yield None
        return
    async with await Database.connect(settings) as database:
        await database.check()
        yield database


def _notify_ready(port: int, admin_port: int) -> None:
    from malha.runtime.supervisor import notify_ready  # noqa: PLC0415 - only a supervised process has somebody to tell

    notify_ready({"grpc_port": str(port), "admin_port": str(admin_port)})
