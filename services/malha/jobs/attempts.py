"""Runs jobs: begin an attempt, watch whether it is still wanted, store what came of it or why it failed."""

import asyncio
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import grpc
from prometheus_client import Counter

from malha.jobs import store
from malha.jobs.settings import JobSettings
from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, Internal, MalhaError
from malha.runtime.logs import Event
from malha.store.database import Database
from malha.store.roles import Connection

log = logs.get("jobs.attempts")

ENDED = Counter("malha_jobs_ended", "Attempts at jobs that ended, by how: done, failed for good, to be tried again.", ["outcome"])

Done = TypeVar("Done")
Done_co = TypeVar("Done_co", covariant=True)

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


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a job."""

    tenant: uuid.UUID
    job: store.JobRow
    session: uuid.UUID


class Work(Protocol[Done_co]):
    """What an attempt does. ``progress`` is from 0 to 1."""

    @property
    def progress(self) -> float: ...

    async def run(self) -> Done_co:
        """Do it. Raises MalhaError; some of them are worth another attempt."""


class Attempting(ABC, Generic[Done]):
    """Runs jobs of one kind: a `malha.jobs.worker.Runner`."""

    def __init__(self, database: Database, settings: JobSettings) -> None:
        self._database = database
        self._settings = settings

    @abstractmethod
    def _work(self, attempt: Attempt) -> Work[Done]:
        """What this attempt has to do."""

    @abstractmethod
    async def _keep(self, connection: Connection, attempt: Attempt, done: Done) -> bool:
        """Store what came of it and that the job is done, both or neither. Whether this attempt was still the one."""

    @abstractmethod
    def _discard(self, tenant: uuid.UUID, job: uuid.UUID) -> None:
        """Let go of what belongs to a job that is over."""

    async def run(self, tenant: uuid.UUID, item: uuid.UUID) -> float | None:
        """Attempt a job; when to try again."""
        try:
            async with self._database.tenant_tx(tenant) as connection:
                job = await store.begin(connection, item)
        except MalhaError:
            return _STORE_PAUSE
        if job is None or job.session_id is None:
            self._discard(tenant, item)
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

    async def _attempt(self, attempt: Attempt) -> float | None:
        wanted = self._work(attempt)
        work = asyncio.ensure_future(wanted.run())
        watch = asyncio.ensure_future(self._watch(attempt, wanted))
        try:
            await asyncio.wait({work, watch}, timeout=self._settings.job_seconds, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
                await self._discard_if_over(attempt)
                return None
            if not work.done():
                raise DeadlineExceeded(f"the job was not done within {self._settings.job_seconds:g} s", reason=_TIMEOUT)
            done = work.result()
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)
        await self._finish(attempt, done)
        return None

    async def _watch(self, attempt: Attempt, work: Work[Done]) -> None:
        """Tell how far it is; returns when nobody wants it any more: it was cancelled, deleted, or begun elsewhere."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                async with self._database.tenant_tx(attempt.tenant) as connection:
                    if not await store.tell_progress(connection, attempt.job.id, attempt.session, work.progress):
                        return
            except MalhaError:
                continue  # the store is away: the work goes on

    async def _finish(self, attempt: Attempt, done: Done) -> None:
        """Store it, as often as the store is away."""
        while True:
            try:
                async with self._database.tenant_tx(attempt.tenant) as connection:
                    kept = await self._keep(connection, attempt, done)
                break
            except MalhaError as error:
                if error.code not in _WORTH_TRYING:
                    raise
                await asyncio.sleep(_STORE_PAUSE)
        if not kept:
            await self._discard_if_over(attempt)
            return
        self._discard(attempt.tenant, attempt.job.id)
        ENDED.labels("done").inc()
        log.info(Event.JOB_ENDED, job=str(attempt.job.id), kind=attempt.job.kind)

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
                    over = await store.fail(connection, attempt.job.id, attempt.session, error.reason, message)
                else:
                    over = False
                    await store.wait(connection, attempt.job.id, attempt.session, counts=True)
            if over:
                self._discard(attempt.tenant, attempt.job.id)
            else:
                await self._discard_if_over(attempt)
        except MalhaError:
            return pause
        ENDED.labels("failed" if last else "again").inc()
        log.info(Event.JOB_FAILED, job=str(attempt.job.id), reason=error.reason, again=not last)
        return None if last else pause

    async def _put_back(self, attempt: Attempt) -> None:
        """This process stops: the attempt does not count. Where the store is away the job is found lost later, and it counts."""
        try:
            async with self._database.tenant_tx(attempt.tenant) as connection:
                await store.wait(connection, attempt.job.id, attempt.session, counts=False)
        except MalhaError as error:
            log.warning(Event.JOB_FAILED, job=str(attempt.job.id), reason=error.reason, again=True)

    async def _discard_if_over(self, attempt: Attempt) -> None:
        """Let go of it, unless another attempt is under way."""
        async with self._database.tenant_tx(attempt.tenant) as connection:
            wanted = await store.unfinished(connection, [attempt.job.id])
        if not wanted:
            self._discard(attempt.tenant, attempt.job.id)
