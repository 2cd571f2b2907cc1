"""Runs jobs that transcribe: begin an attempt, watch whether it is still wanted, store what came of it or why it failed."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Final

import grpc
from prometheus_client import Counter

from malha.jobs import store
from malha.jobs.recording import AudioChannel, Recording
from malha.jobs.settings import JobSettings
from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, Internal, MalhaError
from malha.runtime.job_files import JobFiles
from malha.runtime.logs import Event
from malha.store.database import Database

log = logs.get("jobs.transcribing")

ENDED = Counter("malha_jobs_ended", "Attempts at jobs that ended, by how: done, failed for good, to be tried again.", ["outcome"])

WATCH_SECONDS: Final = 0.5
"""How soon a cancelled job stops."""
_STORE_PAUSE: Final = 1.0
_TIMEOUT: Final = "JOB_TIMEOUT"
_DRAINING: Final = "DRAINING"
"""Why Audio ends a recording whose process stops: no fault of the job's."""
_LONGEST_PAUSE: Final = 600.0
_WORTH_TRYING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
    }
)
_NOT_IN_THIS_VERSION: Final = {
    "reason": "NOT_IN_THIS_VERSION",
    "message": "analysis: not in this version of Malha; the transcript is there to be analysed later",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a job."""

    tenant: uuid.UUID
    job: store.JobRow
    session: uuid.UUID


class Transcribing:
    """Runs jobs: a `malha.jobs.worker.Runner`. ``audio`` gives the channel to Audio in this process."""

    def __init__(self, database: Database, files: JobFiles, audio: AudioChannel, settings: JobSettings) -> None:
        self._database = database
        self._files = files
        self._audio = audio
        self._settings = settings

    async def run(self, tenant: uuid.UUID, item: uuid.UUID) -> float | None:
        """Attempt a job; when to try again."""
        try:
            async with self._database.tenant_tx(tenant) as connection:
                job = await store.begin(connection, item)
        except MalhaError:
            return _STORE_PAUSE
        if job is None or job.session_id is None:
            self._files.discard(tenant, item)
            return None
        attempt = Attempt(tenant, job, job.session_id)
        try:
            if job.attempts > self._settings.job_attempts:  # whoever began the last attempt died of it
                raise FailedPrecondition("every attempt ended with its process", reason="ATTEMPTS_EXHAUSTED")
            return await self._attempt(attempt)
        except asyncio.CancelledError:
            await self._put_back(attempt)
            raise
        except MalhaError as error:
            return await self._failed(attempt, error)
        except OSError as error:
            gone = FailedPrecondition(f"the recording cannot be read ({type(error).__name__})", reason="RECORDING_LOST")
            return await self._failed(attempt, gone)

    async def _attempt(self, attempt: Attempt) -> float | None:
        recording = Recording(self._audio(), attempt.tenant, attempt.job.id, attempt.job.input)
        work = asyncio.ensure_future(recording.transcribe(self._files.path(attempt.tenant, attempt.job.id)))
        watch = asyncio.ensure_future(self._watch(attempt, recording))
        try:
            await asyncio.wait({work, watch}, timeout=self._settings.job_seconds, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
                if await self._is_over(attempt):
                    self._files.discard(attempt.tenant, attempt.job.id)
                return None
            if not work.done():
                raise DeadlineExceeded(f"the recording was not transcribed within {self._settings.job_seconds:g} s", reason=_TIMEOUT)
            done = work.result()
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)
        await self._finish(attempt, done)
        return None

    async def _watch(self, attempt: Attempt, recording: Recording) -> None:
        """Tell how far it is; returns when nobody wants it any more: it was cancelled, deleted, or begun elsewhere."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                async with self._database.tenant_tx(attempt.tenant) as connection:
                    if not await store.tell_progress(connection, attempt.job.id, attempt.session, recording.progress):
                        return
            except MalhaError:
                continue  # the store is away: the work goes on

    async def _finish(self, attempt: Attempt, done: store.Transcribed) -> None:
        """Store it, as often as the store is away."""
        if attempt.job.input.get("analyse"):
            done = store.Transcribed(done.config, done.segments, done.duration_seconds, [*done.warnings, _NOT_IN_THIS_VERSION])
        while True:
            try:
                async with self._database.tenant_tx(attempt.tenant) as connection:
                    kept = await store.finish(connection, attempt.job, attempt.session, done)
                break
            except MalhaError as error:
                if error.code not in _WORTH_TRYING:
                    raise
                await asyncio.sleep(_STORE_PAUSE)
        if kept:
            self._files.discard(attempt.tenant, attempt.job.id)
            ENDED.labels("done").inc()
            log.info(Event.JOB_ENDED, job=str(attempt.job.id), segments=len(done.segments))

    async def _failed(self, attempt: Attempt, error: MalhaError) -> float | None:
        """Put the job back, or end it; when to try again."""
        if error.reason == _DRAINING:
            await self._put_back(attempt)
            return _STORE_PAUSE
        last = attempt.job.attempts >= self._settings.job_attempts or error.code not in _WORTH_TRYING or error.reason == _TIMEOUT
        pause = min(self._settings.job_backoff_seconds * 2.0 ** (attempt.job.attempts - 1), _LONGEST_PAUSE)
        try:
            async with self._database.tenant_tx(attempt.tenant) as connection:
                if last:
                    message = "a defect of Malha; its log has the place" if isinstance(error, Internal) else error.message
                    await store.fail(connection, attempt.job.id, attempt.session, error.reason, message)
                else:
                    await store.wait(connection, attempt.job.id, attempt.session, counts=True)
        except MalhaError:
            return pause
        ENDED.labels("failed" if last else "again").inc()
        log.info(Event.JOB_FAILED, job=str(attempt.job.id), reason=error.reason, again=not last)
        if last:
            self._files.discard(attempt.tenant, attempt.job.id)
        return None if last else pause

    async def _put_back(self, attempt: Attempt) -> None:
        """This process stops: the attempt does not count. Where the store is away the job is found lost later, and it counts."""
        try:
            async with self._database.tenant_tx(attempt.tenant) as connection:
                await store.wait(connection, attempt.job.id, attempt.session, counts=False)
        except MalhaError as error:
            log.warning(Event.JOB_FAILED, job=str(attempt.job.id), reason=error.reason, again=True)

    async def _is_over(self, attempt: Attempt) -> bool:
        """Whether the job is over, rather than begun elsewhere."""
        async with self._database.tenant_tx(attempt.tenant) as connection:
            return not await store.is_open(connection, attempt.job.id)
