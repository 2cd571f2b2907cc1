"""Jobs end to end: a recording in, a conversation out."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import grpc
import pytest
from conftest import OTHER_TOKEN
from integration.jobs.conftest import QUICK, Jobs, Slow, recording, serving

from malha.api.jobs.v1 import jobs_pb2 as api
from malha.jobs import store as job_store
from malha.jobs import worker
from malha.jobs.attempts import Attempt
from malha.jobs.settings import JobSettings
from malha.jobs.transcribing import Transcribing
from malha.runtime.errors import FailedPrecondition, Unavailable, UnsupportedLanguage
from malha.runtime.job_files import JobFiles
from malha.runtime.metrics import RPCS
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tenants import Tenants
from malha.transcribe.engine import Capabilities, Hypothesis, RecognitionConfig
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.errors import RemoteRefused
from malha.transcribe.settings import TranscribeSettings


async def test_a_recording_becomes_a_conversation_with_its_segments(jobs: Jobs) -> None:
    job = await jobs.until(await jobs.transcribe(conversation_id="call-7", words=True, analyse=True))
    assert job.status == api.JOB_STATUS_DONE, job
    assert (job.progress, job.attempts, job.reason) == (1.0, 1, "")
    assert [warning.reason for warning in job.warnings] == ["NOT_IN_THIS_VERSION"]
    assert await jobs.value("SELECT external_id FROM conversation WHERE id = $1", uuid.UUID(job.conversation_id)) == "call-7"
    assert await jobs.value("SELECT status FROM conversation WHERE id = $1", uuid.UUID(job.conversation_id)) == "closed"
    assert await jobs.value("SELECT count(*) FROM segment WHERE session_id = $1 AND text <> ''", uuid.UUID(job.session_id)) > 0
    assert jobs.files() == []


async def test_a_recording_that_was_heard_is_not_counted_as_given_up(jobs: Jobs) -> None:
    ended = {code: RPCS.labels("malha.api.audio.v1.AudioStreamService", "Stream", code) for code in ("OK", "CANCELLED")}
    before = {code: counter._value.get() for code, counter in ended.items()}
    assert (await jobs.until(await jobs.transcribe())).status == api.JOB_STATUS_DONE
    assert {code: counter._value.get() - before[code] for code, counter in ended.items()} == {"OK": 1, "CANCELLED": 0}


async def test_what_is_no_audio_fails_with_a_reason_and_is_not_tried_again(jobs: Jobs) -> None:
    job = await jobs.until(await jobs.transcribe(b"%PDF-1.7 not audio at all" * 100))
    assert (job.status, job.reason, job.attempts) == (api.JOB_STATUS_FAILED, "NOT_AUDIO", 1)
    assert job.message
    assert jobs.files() == []


async def test_a_model_there_is_none_of_fails_as_over_the_stream(
    settings: RuntimeSettings, database: Database, store: StoreSettings
) -> None:
    async with serving(settings, database, store, engine=Refusing(TranscribeSettings(_env_file=None))) as jobs:
        job = await jobs.until(await jobs.transcribe(languages=["xx"]))
    assert (job.status, job.reason) == (api.JOB_STATUS_FAILED, "UNSUPPORTED_LANGUAGE")


async def test_a_recogniser_that_is_away_is_tried_again_and_then_given_up(
    settings: RuntimeSettings, database: Database, store: StoreSettings
) -> None:
    engine = Away(TranscribeSettings(_env_file=None))
    async with serving(settings, database, store, engine=engine) as jobs:
        job = await jobs.until(await jobs.transcribe())
        assert (job.status, job.reason, job.attempts) == (api.JOB_STATUS_FAILED, "ENGINE_AWAY", QUICK.job_attempts)
        engine.away = False
        assert (await jobs.until(await jobs.transcribe())).status == api.JOB_STATUS_DONE


async def test_a_recording_of_which_nothing_can_be_recognised_is_tried_again_and_not_taken_for_silence(
    settings: RuntimeSettings, database: Database, store: StoreSettings
) -> None:
    engine = Refused(TranscribeSettings(_env_file=None))
    async with serving(settings, database, store, engine=engine) as jobs:
        job = await jobs.until(await jobs.transcribe())
        assert (job.status, job.reason, job.attempts) == (api.JOB_STATUS_FAILED, "REMOTE_REFUSED", QUICK.job_attempts)


async def test_a_running_job_stops_within_a_second_of_its_cancelling(
    settings: RuntimeSettings, database: Database, store: StoreSettings
) -> None:
    engine = Slow(TranscribeSettings(_env_file=None))
    async with serving(settings, database, store, engine=engine) as jobs:
        job = await jobs.transcribe()
        await asyncio.wait_for(engine.begun.wait(), 60)
        assert (await jobs.job(job)).status == api.JOB_STATUS_RUNNING
        answer = await jobs.ask("CancelJob", api.CancelJobRequest(job_id=job))
        assert answer.job.status == api.JOB_STATUS_CANCELLED
        await asyncio.wait_for(engine.ended.wait(), 10)  # a second, on a machine that is not busy
        assert await jobs.ask("CancelJob", api.CancelJobRequest(job_id=job)) == answer
        async with asyncio.timeout(10):
            while jobs.files():
                await asyncio.sleep(0.05)
        assert await jobs.value("SELECT count(*) FROM segment") == 0


async def test_a_waiting_job_is_cancelled_and_never_begun(settings: RuntimeSettings, database: Database, store: StoreSettings) -> None:
    engine = Slow(TranscribeSettings(_env_file=None))
    one = QUICK.model_copy(update={"job_complex_concurrency": 1})
    async with serving(settings, database, store, engine=engine, jobs=one) as jobs:
        first, second = await jobs.transcribe(), await jobs.transcribe()
        await asyncio.wait_for(engine.begun.wait(), 60)
        assert (await jobs.job(second)).status == api.JOB_STATUS_QUEUED
        await jobs.ask("CancelJob", api.CancelJobRequest(job_id=second))
        engine.go.set()
        assert (await jobs.until(first)).status == api.JOB_STATUS_DONE
        third = await jobs.until(await jobs.transcribe())
        assert third.status == api.JOB_STATUS_DONE
        kept = await jobs.job(second)
    assert (kept.status, kept.attempts) == (api.JOB_STATUS_CANCELLED, 0)


async def test_a_server_that_stops_puts_its_job_back_and_another_does_it(
    settings: RuntimeSettings, database: Database, store: StoreSettings
) -> None:
    engine = Slow(TranscribeSettings(_env_file=None))
    async with serving(settings, database, store, engine=engine) as jobs:
        job = await jobs.transcribe()
        await asyncio.wait_for(engine.begun.wait(), 60)
    async with serving(settings, database, store) as jobs:
        done = await jobs.until(job)
        assert (done.status, done.attempts) == (api.JOB_STATUS_DONE, 1)  # the one that was put back does not count


async def test_jobs_are_listed_newest_first_page_by_page(jobs: Jobs) -> None:
    made = [await jobs.transcribe(b"no audio") for _ in range(5)]
    for job in made:
        await jobs.until(job)
    first = await jobs.ask("ListJobs", api.ListJobsRequest(page_size=3))
    second = await jobs.ask("ListJobs", api.ListJobsRequest(page_size=3, page_token=first.next_page_token))
    assert [job.id for job in [*first.jobs, *second.jobs]] == made[::-1]
    assert not second.next_page_token
    assert len((await jobs.ask("ListJobs", api.ListJobsRequest(status=api.JOB_STATUS_DONE))).jobs) == 0
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ask("ListJobs", api.ListJobsRequest(page_token="nonsense"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_page_goes_on_after_a_job_that_is_gone(jobs: Jobs) -> None:
    made = [await jobs.transcribe(b"no audio") for _ in range(3)]
    first = await jobs.ask("ListJobs", api.ListJobsRequest(page_size=2))
    async with jobs.database.tenant_tx(await jobs.tenant()) as connection:
        await connection.execute("DELETE FROM job WHERE id = $1", uuid.UUID(made[1]))
    second = await jobs.ask("ListJobs", api.ListJobsRequest(page_size=2, page_token=first.next_page_token))
    assert [job.id for job in second.jobs] == made[:1]


async def test_a_job_that_ends_while_a_call_of_its_conversation_goes_on_leaves_the_conversation_to_the_call(jobs: Jobs) -> None:
    """The call ends it, and tells so: taken for over already, it would tell nobody."""
    tenant = await jobs.tenant()
    async with jobs.database.tenant_tx(tenant) as connection:
        session = await connection.fetchval("SELECT malha_uuid7()")
        conversation = await connection.fetchval(
            "INSERT INTO conversation (tenant_id, external_id, session_id) VALUES ($1, 'now', $2) RETURNING id", tenant, session
        )
        await connection.execute(
            "INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config, state, detached_at)"
            " VALUES ($1, $2, $3, '', '', '', 'detached', now() + interval '1 hour')",
            session, tenant, conversation,
        )  # fmt: skip
    job = await jobs.until(await jobs.transcribe(conversation_id="now"))
    assert (job.status, job.conversation_id) == (api.JOB_STATUS_DONE, str(conversation))
    async with jobs.database.tenant_tx(tenant) as connection:
        kept = await connection.fetchrow("SELECT status, session_id, ended_at FROM conversation")
        assert tuple(kept) == ("open", session, None)
        assert await connection.fetchval("SELECT count(*) FROM segment WHERE session_id = $1", uuid.UUID(job.session_id)) > 0


async def test_with_a_conversation_go_the_jobs_that_name_it_and_none_of_them_makes_it_again(
    settings: RuntimeSettings, database: Database, store: StoreSettings
) -> None:
    engine = Slow(TranscribeSettings(_env_file=None))
    one = QUICK.model_copy(update={"job_complex_concurrency": 1})
    async with serving(settings, database, store, engine=engine, jobs=one) as jobs:
        await jobs.transcribe(conversation_id="gone")
        await jobs.transcribe(conversation_id="gone")
        await asyncio.wait_for(engine.begun.wait(), 60)
        async with database.tenant_tx(await jobs.tenant()) as connection:
            await connection.execute("INSERT INTO conversation (tenant_id, external_id) VALUES (malha_tenant(), 'gone')")
        bound = await jobs.transcribe(conversation_id="gone")
        assert (await jobs.job(bound)).conversation_id, "it belongs to the conversation that is there"
        async with database.tenant_tx(await jobs.tenant()) as connection:
            await connection.execute("DELETE FROM conversation")
            assert await connection.fetchval("SELECT count(*) FROM job") == 0
        engine.go.set()
        async with asyncio.timeout(60):
            while jobs.files():
                await asyncio.sleep(0.05)
        assert await jobs.value("SELECT count(*) FROM conversation") == 0


async def test_a_job_and_an_erasure_of_its_conversation_do_not_wait_for_each_other(database: Database) -> None:
    tenant = (await Tenants(database).ensure(["default"]))["default"]
    async with database.tenant_tx(tenant) as connection:
        await connection.execute("INSERT INTO conversation (tenant_id, external_id) VALUES (malha_tenant(), 'gone')")
        job = await job_store.create(connection, uuid.uuid4(), "transcribe", {"conversation_id": "gone"})
        begun = await job_store.begin(connection, job.id)
    assert begun is not None
    assert begun.session_id is not None
    locked = asyncio.Event()

    async def erase() -> None:
        async with database.tenant_tx(tenant) as connection:
            await connection.execute("SELECT FROM conversation FOR UPDATE")
            locked.set()
            await asyncio.sleep(0.5)
            await connection.execute("DELETE FROM conversation")

    erasing = asyncio.create_task(erase())
    await locked.wait()
    async with database.tenant_tx(tenant) as connection:
        assert not await job_store.finish(connection, begun, begun.session_id, job_store.Transcribed(b"", [], 1.0, []))
    await erasing


async def test_an_attempt_that_another_has_overtaken_leaves_it_the_recording(database: Database, tmp_path: Path) -> None:
    """As where a process was taken for dead: what it still finds out is no longer heard."""
    tenant, job, files = (await Tenants(database).ensure(["default"]))["default"], uuid.uuid4(), JobFiles(tmp_path, 10**6)
    async with database.tenant_tx(tenant) as connection:
        await job_store.create(connection, job, "transcribe", {})
    upload, file = files.create()
    file.close()
    files.complete(upload)
    files.claim(upload, tenant, job)

    def overtaken() -> grpc.aio.Channel:
        raise FailedPrecondition("no")

    class Overtaken(Transcribing):
        async def _attempt(self, attempt: Attempt) -> float | None:
            async with database.tenant_tx(tenant) as connection:
                assert await job_store.begin(connection, job) is not None
            raise FailedPrecondition("what is no fault of the other's")

    await Overtaken(database, files, overtaken, QUICK).run(tenant, job)
    assert files.path(tenant, job).exists()
    async with database.tenant_tx(tenant) as connection:
        assert (await job_store.get(connection, job)).status == "running"
        await job_store.cancel(connection, job)
    assert await Transcribing(database, files, overtaken, QUICK).run(tenant, job) is None
    assert not files.path(tenant, job).exists()


async def test_maintenance_outlives_a_defect(store: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_MAINTENANCE_SECONDS", 0.01)
    runs, again = 0, asyncio.Event()

    async def maintain() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ZeroDivisionError
        again.set()

    working = worker.Worker(store, JobSettings(_env_file=None), {}, maintain)
    working.start()
    try:
        await asyncio.wait_for(again.wait(), 60)
    finally:
        await working.close()


async def test_another_tenant_sees_nothing_of_it(jobs: Jobs) -> None:
    job = await jobs.transcribe(b"no audio")
    await jobs.until(job)
    assert (await jobs.ask("ListJobs", api.ListJobsRequest(), OTHER_TOKEN)).jobs == []
    for method, request in (("GetJob", api.GetJobRequest(job_id=job)), ("CancelJob", api.CancelJobRequest(job_id=job))):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await jobs.ask(method, request, OTHER_TOKEN)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ask("CancelJob", api.CancelJobRequest(job_id=job))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_an_upload_is_good_for_one_job(jobs: Jobs) -> None:
    files = JobFiles(jobs.directory, 1_000_000)
    upload, file = files.create()
    with file:
        file.write(recording())
    files.complete(upload)
    wanted = api.CreateJobRequest(transcribe=api.TranscribeJob(upload_id=upload))
    job = (await jobs.ask("CreateJob", wanted)).job.id
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await jobs.ask("CreateJob", wanted)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert (await jobs.until(job)).status == api.JOB_STATUS_DONE


async def test_a_job_whose_place_in_the_queue_was_lost_gets_it_back(jobs: Jobs, store: StoreSettings) -> None:
    """As after a restore: the row is there, the queue is of another moment."""
    tenant, job = await jobs.tenant(), uuid.uuid4()
    async with jobs.database.tenant_tx(tenant) as connection:
        await connection.execute("INSERT INTO job (tenant_id, id, kind) VALUES ($1, $2, 'transcribe')", tenant, job)
    owner = await asyncpg.connect(store.owner_url)
    try:
        await owner.execute("SELECT malha_enqueue_lost()")  # a worker does so each minute
        assert await owner.fetchval("SELECT malha_enqueue_lost()") == 0
    finally:
        await owner.close()
    ended = await jobs.until(str(job))
    assert (ended.status, ended.reason) == (api.JOB_STATUS_FAILED, "RECORDING_LOST")


async def test_the_queue_holds_ids_and_no_tenant_sees_it(settings: RuntimeSettings, database: Database, store: StoreSettings) -> None:
    engine = Slow(TranscribeSettings(_env_file=None))
    async with serving(settings, database, store, engine=engine) as jobs:
        job = await jobs.transcribe(conversation_id="secret-name")
        await asyncio.wait_for(engine.begun.wait(), 60)
        owner = await asyncpg.connect(store.owner_url)
        try:
            payload = await owner.fetchval("SELECT convert_from(payload, 'UTF8') FROM pgqueuer")
        finally:
            await owner.close()
        assert payload == f"transcribe:{await jobs.tenant()}:{job}"
        for statement in ("SELECT FROM pgqueuer", "DELETE FROM pgqueuer", "SELECT FROM pgqueuer_log", "SELECT malha_enqueue_lost()"):
            with pytest.raises(FailedPrecondition):
                async with database.tenant_tx(await jobs.tenant()) as connection:
                    await connection.execute(statement)
        engine.go.set()
        assert (await jobs.until(job)).status == api.JOB_STATUS_DONE


class Refusing(NullEngine):
    """Knows no language."""

    def check(self, language: str, model: str) -> Capabilities:
        raise UnsupportedLanguage("none")


class Refused(NullEngine):
    """Takes calls, and recognises nothing of them."""

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        async for _ in audio:
            pass
        raise RemoteRefused("a wrong key")
        yield


class Away(NullEngine):
    """Cannot be reached for now."""

    away = True

    def check(self, language: str, model: str) -> Capabilities:
        if self.away:
            raise Unavailable("away", reason="ENGINE_AWAY")
        return super().check(language, model)
