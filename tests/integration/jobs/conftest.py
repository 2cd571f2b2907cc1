"""JobService in a server of this process, with Audio and Transcribe beside it, over a real database."""

import asyncio
import io
import uuid
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import pytest
from conftest import TOKEN, silence, voice

from malha.api.jobs.v1 import jobs_pb2 as api
from malha.api.jobs.v1.jobs_pb2_grpc import JobServiceStub
from malha.audio.call_store import CallStore
from malha.audio.service import AudioStreamService
from malha.audio.settings import AudioSettings
from malha.jobs.service import JobService
from malha.jobs.settings import JobSettings
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import load_contracts
from malha.runtime.job_files import JobFilesSettings
from malha.runtime.mesh import Mesh
from malha.runtime.outbound import OutboundSettings
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tokens import Tokens
from malha.transcribe.engine import Hypothesis, RecognitionConfig, TranscribeEngine
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.service import TranscribeService
from malha.transcribe.settings import TranscribeSettings

ENDED = {api.JOB_STATUS_DONE, api.JOB_STATUS_FAILED, api.JOB_STATUS_CANCELLED}


def recording(seconds: float = 2.0) -> bytes:
    """A WAV file in which somebody speaks."""
    samples = np.concatenate([silence(0.5), voice(seconds), silence(0.7)])
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return out.getvalue()


@dataclass
class Jobs:
    """A server, and its client."""

    stub: Any
    database: Database
    directory: Path
    port: int
    metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {TOKEN}"),)

    async def ask(self, method: str, request: Any, token: str = TOKEN) -> Any:
        return await getattr(self.stub, method)(request, metadata=(("authorization", f"Bearer {token}"),), timeout=60)

    async def transcribe(self, content: bytes | None = None, **fields: Any) -> str:
        """A new job's id."""
        wanted = api.TranscribeJob(content=recording() if content is None else content, **fields)
        return str((await self.ask("CreateJob", api.CreateJobRequest(transcribe=wanted))).job.id)

    async def job(self, job: str) -> api.Job:
        return cast("api.Job", (await self.ask("GetJob", api.GetJobRequest(job_id=job))).job)

    async def until(self, job: str, done: Callable[[api.Job], bool] = lambda job: job.status in ENDED, seconds: float = 90) -> api.Job:
        async with asyncio.timeout(seconds):
            while not done(found := await self.job(job)):
                await asyncio.sleep(0.05)
        return found

    async def tenant(self, name: str = "default") -> uuid.UUID:
        async with self.database.app_tx() as connection:
            return cast("uuid.UUID", await connection.fetchval("SELECT malha_find_tenant($1)", name))

    async def value(self, statement: str, *values: Any) -> Any:
        """As the default tenant."""
        async with self.database.tenant_tx(await self.tenant()) as connection:
            return await connection.fetchval(statement, *values)

    def files(self) -> list[str]:
        """Recordings that still lie there."""
        return sorted(path.name for path in (self.directory / "jobs").glob("*"))


class Slow(NullEngine):
    """Recognises when it is told to."""

    def __init__(self, settings: TranscribeSettings) -> None:
        super().__init__(settings)
        self.begun, self.go, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        self.begun.set()
        try:
            await self.go.wait()
            async for hypothesis in super().recognise(config, audio):
                yield hypothesis
        finally:
            self.ended.set()


QUICK = JobSettings(_env_file=None, job_backoff_seconds=0.1, job_attempts=2, webhook_backoff_seconds=0.1, webhook_give_up_seconds=60)


@asynccontextmanager
async def serving(
    settings: RuntimeSettings,
    database: Database,
    store: StoreSettings,
    *,
    engine: TranscribeEngine | None = None,
    jobs: JobSettings = QUICK,
    outbound: OutboundSettings | None = None,
) -> AsyncIterator[Jobs]:
    load_contracts()
    mesh = Mesh(settings, lambda: "127.0.0.1:1")
    servers: list[Server] = []
    services = [
        AudioStreamService(AudioSettings(_env_file=None), lambda: mesh.channel("transcribe"), CallStore(database, store)),
        TranscribeService(engine or NullEngine(TranscribeSettings(_env_file=None))),
        JobService(
            database,
            store,
            settings.data_dir,
            lambda: cast("grpc.aio.Channel", servers[0].in_process),
            jobs,
            JobFilesSettings(_env_file=None),
            outbound or OutboundSettings(_env_file=None),
        ),
    ]
    authenticator = Authenticator.from_settings(settings.api_tokens, settings.data_dir, Tokens(database))
    server = Server(services, [], settings, authenticator)
    servers.append(server)
    mesh.serve("transcribe", server.in_process)
    async with AsyncExitStack() as stack:
        port = await server.start()
        stack.push_async_callback(mesh.close)
        stack.push_async_callback(server.stop)
        await server.wait_serving()
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        yield Jobs(JobServiceStub(channel), database, settings.data_dir, port)


@pytest.fixture
async def jobs(settings: RuntimeSettings, database: Database, store: StoreSettings) -> AsyncIterator[Jobs]:
    async with serving(settings, database, store) as running:
        yield running
