"""Takes work from PgQueuer's queues `simple` and `complex` and runs it.

What is queued is named ``KIND:TENANT:OBJECT``. Whoever runs a kind says when to try again, or that it is over: PgQueuer is told nothing
else, no text of an error reaches its log. Work that stops because this process does goes back into the queue.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

from pgqueuer import Job, Queries, QueueManager, RetryRequested

from malha.jobs.driver import QueueDriver
from malha.jobs.settings import JobSettings
from malha.runtime import logs
from malha.runtime.errors import MalhaError
from malha.runtime.logs import Event
from malha.store.failures import DATABASE_ERRORS
from malha.store.settings import StoreSettings

log = logs.get("jobs.worker")

Runner = Callable[[uuid.UUID, uuid.UUID], Awaitable[float | None]]
"""Works on an object of a tenant; seconds after which to do so again, None when that is over. Cancelled when this process stops."""

SIMPLE: Final = "simple"
COMPLEX: Final = "complex"
_POLL: Final = timedelta(seconds=2)
"""How often the queue is looked at where no notification comes."""
_BATCH: Final = 4
_AGAIN_SECONDS: Final = 5.0
"""After what should not happen."""
_STOP_SECONDS: Final = 5.0
_MAINTENANCE_SECONDS: Final = 60.0
_FAILURES: Final[tuple[type[BaseException], ...]] = (MalhaError, RuntimeError, *DATABASE_ERRORS)
"""RuntimeError: PgQueuer finds its tables wanting."""
_FORGET: Final = "DELETE FROM pgqueuer_log WHERE created < now() - interval '7 days'"


class Worker:
    """One process's share of the work, from `start` to `close`. ``maintain`` runs each minute beside it."""

    def __init__(
        self, store: StoreSettings, settings: JobSettings, runners: Mapping[str, Runner], maintain: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._settings = settings
        self._runners = runners
        self._maintain = maintain
        self._driver = QueueDriver(store)
        self._manager: QueueManager | None = None
        self._stopping = asyncio.Event()
        self._running: set[asyncio.Task[float | None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, now or when the database is there."""
        self._tasks = [
            asyncio.create_task(self._work(), name="jobs-work"),
            asyncio.create_task(self._look_after(), name="jobs-maintenance"),
        ]

    async def close(self) -> None:
        """Stop; what runs goes back into the queue."""
        self._stopping.set()
        for task in self._running:
            task.cancel()
        if self._manager is not None:
            self._manager.shutdown.set()
        if self._tasks:
            self._tasks[1].cancel()
            await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)
        self._driver.shutdown.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._driver.close()

    async def _work(self) -> None:
        concurrency = {SIMPLE: self._settings.job_simple_concurrency, COMPLEX: self._settings.job_complex_concurrency}
        while not self._stopping.is_set():
            self._manager = QueueManager(Queries(self._driver))
            for queue, limit in concurrency.items():
                self._manager.entrypoint(queue, concurrency_limit=limit)(self._take)
            try:
                await self._manager.run(
                    dequeue_timeout=_POLL,
                    batch_size=_BATCH,
                    max_concurrent_tasks=max(sum(concurrency.values()), 2 * _BATCH),
                    heartbeat_timeout=timedelta(seconds=self._settings.job_lost_seconds),
                    log_aggregation_interval=timedelta(0),
                )
            except _FAILURES as error:
                log.error(Event.JOBS_STOPPED, cause=error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _AGAIN_SECONDS)

    async def _take(self, job: Job) -> None:
        kind, tenant, item = (job.payload or b"").decode().split(":")
        again = await self._run(kind, uuid.UUID(tenant), uuid.UUID(item))
        if again is not None:
            raise RetryRequested(timedelta(seconds=again)) from None

    async def _run(self, kind: str, tenant: uuid.UUID, item: uuid.UUID) -> float | None:
        runner = self._runners.get(kind)
        if runner is None:
            log.error(Event.JOB_FAILED, kind=kind, reason="UNKNOWN_KIND")
            return None
        if self._stopping.is_set():
            return 0.0
        task = asyncio.ensure_future(runner(tenant, item))
        self._running.add(task)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            self._running.discard(task)
        if task.cancelled():
            return 0.0
        if (error := task.exception()) is not None:
            log.error(Event.JOB_FAILED, cause=error, kind=kind, job=str(item))
            return _AGAIN_SECONDS
        return task.result()

    async def _look_after(self) -> None:
        while True:
            try:
                await self._driver.fetch("SELECT malha_enqueue_lost()")
                await self._driver.execute(_FORGET)
                await self._maintain()
            except _FAILURES as error:
                log.warning(Event.JOBS_UNSWEPT, error=type(error).__name__)
            except Exception as error:
                log.error(Event.BACKGROUND_DEFECT, cause=error)
            await asyncio.sleep(_MAINTENANCE_SECONDS)
