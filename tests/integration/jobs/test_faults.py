"""Jobs whose process is killed, and whose connection to the database is lost."""

import asyncio
import os
import sys
import uuid
from pathlib import Path

import asyncpg
from conftest import TOKEN
from integration.jobs.conftest import QUICK, Jobs, Slow, recording, serving

from malha.api.jobs.v1 import jobs_pb2 as api
from malha.jobs.jobs import Jobs as JobMethods
from malha.runtime.auth import Principal
from malha.runtime.job_files import JobFiles
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tenants import Tenants
from malha.transcribe.settings import TranscribeSettings

TESTS = Path(__file__).parents[2]


async def made(database: Database, directory: Path) -> str:
    """A job that nobody works on yet."""
    tenant = (await Tenants(database).ensure(["default"]))["default"]
    request = api.CreateJobRequest(transcribe=api.TranscribeJob(content=recording()))
    answer = await JobMethods(database, JobFiles(directory, 10**9)).create(request, Principal("default", TOKEN, tenant))
    return str(answer.job.id)


async def test_a_killed_processs_job_is_taken_up_once_by_another(
    settings: RuntimeSettings, database: Database, store: StoreSettings
) -> None:
    job = await made(database, settings.data_dir)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "integration.jobs.hanging",
        store.url,
        str(settings.data_dir),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            assert (await process.stdout.readline()) == b"begun\n"
    finally:
        process.kill()
        await process.wait()
    lost = QUICK.model_copy(update={"job_lost_seconds": 5})
    async with serving(settings, database, store, jobs=lost) as one, serving(settings, database, store, jobs=lost):
        done = await one.until(job)
        assert (done.status, done.attempts) == (api.JOB_STATUS_DONE, 2)
        assert await one.value("SELECT count(DISTINCT session_id) FROM segment") == 1
        assert await one.value("SELECT count(*) FROM live_session WHERE session_id = $1", uuid.UUID(done.session_id)) == 1
        assert await one.value("SELECT count(*) FROM conversation") == 1
        assert one.files() == []


async def test_lost_connections_only_pause_the_work(settings: RuntimeSettings, database: Database, store: StoreSettings) -> None:
    engine = Slow(TranscribeSettings(_env_file=None))
    async with serving(settings, database, store, engine=engine) as jobs:
        job = await jobs.transcribe()
        await asyncio.wait_for(engine.begun.wait(), 60)
        await cut(store)
        engine.go.set()
        done = await jobs.until(job)
        assert done.status == api.JOB_STATUS_DONE
        await cut(store)
        assert (await jobs.until(await jobs.transcribe())).status == api.JOB_STATUS_DONE
        assert await sessions(jobs) == 2


async def test_behind_a_pooler_the_queue_is_looked_at_by_time(settings: RuntimeSettings, database: Database, store: StoreSettings) -> None:
    pooled = store.model_copy(update={"database_pooler": True})
    async with serving(settings, database, pooled) as jobs:
        assert (await jobs.until(await jobs.transcribe())).status == api.JOB_STATUS_DONE


async def test_a_recording_that_takes_too_long_fails(settings: RuntimeSettings, database: Database, store: StoreSettings) -> None:
    engine, short = Slow(TranscribeSettings(_env_file=None)), QUICK.model_copy(update={"job_seconds": 0.5})
    async with serving(settings, database, store, engine=engine, jobs=short) as jobs:
        job = await jobs.until(await jobs.transcribe())
        assert (job.status, job.reason, job.attempts) == (api.JOB_STATUS_FAILED, "JOB_TIMEOUT", 1)


async def test_a_job_that_kills_every_process_is_given_up(settings: RuntimeSettings, database: Database, store: StoreSettings) -> None:
    job = await made(database, settings.data_dir)
    tenant = (await Tenants(database).ensure(["default"]))["default"]
    async with database.tenant_tx(tenant) as connection:
        await connection.execute("UPDATE job SET status = 'running', attempts = $1", QUICK.job_attempts)
    async with serving(settings, database, store) as jobs:
        ended = await jobs.until(job)
        assert (ended.status, ended.reason) == (api.JOB_STATUS_FAILED, "ATTEMPTS_EXHAUSTED")
        assert jobs.files() == []


async def sessions(jobs: Jobs) -> int:
    return int(await jobs.value("SELECT count(*) FROM live_session"))


async def cut(store: StoreSettings) -> None:
    """End every connection of the services."""
    owner = await asyncpg.connect(store.owner_url)
    try:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        await owner.execute(ended)
    finally:
        await owner.close()
