"""Group commit: what all calls of a process store goes through one connection, at once when it is idle, together with what gathers otherwise.

A commit returns when its rows are durable. One that PostgreSQL could not take yet, because it is away, is sent again until its deadline:
sending twice stores once. A value that PostgreSQL refuses fails its own commit alone.
"""

import asyncio
import collections
import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import asyncpg
from prometheus_client import Gauge, Histogram

from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, Internal, MalhaError, Unavailable
from malha.runtime.logs import Event
from malha.store.database import connect_options, setup_statement
from malha.store.failures import DATABASE_ERRORS, RETRY_SECONDS, as_malha_error
from malha.store.roles import INGEST, Connection
from malha.store.session_updates import COMMIT, Rows, SessionMoved, SessionUpdate, columns, rows_of
from malha.store.settings import StoreSettings

log = logs.get("store.group_commit")

COMMIT_SECONDS = Histogram(
    "malha_store_commit_seconds",
    "From asking for a commit until it is durable.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10, 60),
)
BATCH_COMMITS = Histogram(
    "malha_store_batch_commits", "Commits that became durable together.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
WAITING = Gauge("malha_store_commits_waiting", "Commits that are not durable yet.")

_MOST_WAITING: Final = 20_000
"""Commits beyond are refused. Calls have one each: many times more than a process serves."""
_MOST_IN_BATCH: Final = 250
_PAUSES: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds between attempts while the database is away."""
_CLOSE_SECONDS: Final = 10.0
_PARTITIONS_SECONDS: Final = 6 * 3600.0
_PARTITIONS: Final = "SET LOCAL lock_timeout = '100ms'; SELECT ensure_event_partitions(7)"
"""Whoever reads all events, such as a backup, holds what this needs: commits do not wait for that."""
_SESSION: Final = (
    "SELECT set_config('plan_cache_mode', 'force_generic_plan', false), set_config('application_name', 'malha group commit', false)"
)
"""The statement is always the same, and planning it takes longer than running it."""


@dataclass(slots=True, eq=False)
class Pending:
    """What is to be stored: ``make`` gives it when its turn comes. ``done`` is told once: None when it is stored, or why it cannot be."""

    make: Callable[[], Rows]
    done: Callable[[MalhaError | None], None]
    began: float
    late: asyncio.TimerHandle | None = None
    """Ends it at its deadline."""
    rows: Rows | None = None
    over: bool = False

    def end(self, error: MalhaError | None) -> None:
        """It is stored, or cannot be."""
        if self.over:
            return
        self.withdraw()
        if error is None:
            COMMIT_SECONDS.observe(time.monotonic() - self.began)
        self.done(error)

    def withdraw(self) -> None:
        """Nobody waits any more: it may be stored or not."""
        if not self.over:
            self.over = True
            if self.late is not None:
                self.late.cancel()
            WAITING.dec()


class GroupCommit:
    """The writer of live calls. Used as ``async with``; leaving waits for what was asked for."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._session = bool(settings.database_direct_url) or not settings.database_pooler
        """Whether a connection is a session of its own, that can be malha_ingest for all its life."""
        self._connection: Connection | None = None
        self._queue: collections.deque[Pending] = collections.deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._away = False
        self._partitions_due = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write(), name="group-commit")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing = True
        self._wake.set()
        assert self._task is not None
        await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
        self._task.cancel()
        await asyncio.wait([self._task])
        for waiting in self._queue:
            waiting.end(_stopping())
        self._drop_connection()

    async def commit(self, update: SessionUpdate, *, deadline_seconds: float = 60.0) -> None:
        """Store an update; returns once it is durable. Cancelled, it may be stored or not.

        Raises SessionMoved if another process took the session over, InvalidArgument (UNSTORABLE) if PostgreSQL refuses a value, Unavailable
        if it stayed away until the deadline.
        """
        rows, stored = rows_of(update), asyncio.get_running_loop().create_future()

        def done(error: MalhaError | None) -> None:
            if stored.done():
                return
            if error is None:
                stored.set_result(None)
            else:
                stored.set_exception(error)

        pending = self.submit(lambda: rows, done, deadline_seconds=deadline_seconds)
        try:
            await stored
        finally:
            pending.withdraw()

    def submit(self, make: Callable[[], Rows], done: Callable[[MalhaError | None], None], *, deadline_seconds: float = 60.0) -> Pending:
        """Store what ``make`` gives when its turn comes, which spares its caller a task. ``done`` is told the errors that `commit` raises.

        Neither is called before this returns, and ``done`` may not raise.
        """
        loop = asyncio.get_running_loop()
        pending = Pending(make, done, time.monotonic())
        pending.late = loop.call_later(deadline_seconds, pending.end, _away())
        WAITING.inc()
        if self._closing or self._task is None or self._task.done():
            loop.call_soon(pending.end, _stopping())
        elif len(self._queue) >= _MOST_WAITING:
            loop.call_soon(pending.end, _away())
        else:
            self._queue.append(pending)
            self._wake.set()
        return pending

    async def _write(self) -> None:
        try:
            while self._queue or not self._closing:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_IN_BATCH))]
                try:
                    await self._store(batch)
                except BaseException:
                    self._queue.extendleft(reversed(batch))
                    raise
        except Exception as error:
            log.error(Event.RPC_DEFECT, cause=error)
            self._closing = True
            for waiting in self._queue:
                waiting.end(Internal("the store's writer ended", reason="STORE_WRITER"))
        finally:
            await self._close_connection()

    async def _store(self, batch: list[Pending]) -> None:
        """Make a batch durable, or fail of it what cannot be. Waits while the database is away."""
        attempt = 0
        while rows := _rows(batch):
            batch = list(rows)
            try:
                self._resolve(rows, await self._send(rows.values()))
            except DATABASE_ERRORS as error:
                told = as_malha_error(error)
                if isinstance(told, Unavailable | DeadlineExceeded):
                    self._drop_connection()
                    self._tell_away(told)
                    await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
                    attempt += 1
                    continue
                await self._store_halves(
                    batch, told or Internal(f"the database refused a commit ({type(error).__name__})", reason="STORE_REFUSED")
                )
            return

    async def _store_halves(self, batch: list[Pending], error: MalhaError) -> None:
        """One of these values is refused: find it by halving."""
        if len(batch) == 1:
            batch[0].end(error)
            return
        middle = len(batch) // 2
        await self._store(batch[:middle])
        await self._store(batch[middle:])

    async def _send(self, rows: Iterable[Rows]) -> set[tuple[uuid.UUID, int]]:
        """One round trip. Returns which sessions, at which epoch, were stored."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        connection = self._connection
        if time.monotonic() >= self._partitions_due:
            await self._ensure_partitions(connection)
        arguments = columns(rows)
        if self._session:
            records = await connection.fetch(COMMIT, *arguments)
        else:
            async with connection.transaction():
                await connection.execute(setup_statement(INGEST, "", self._settings.database_statement_seconds))
                records = await connection.fetch(COMMIT, *arguments)
        if self._away:
            self._away = False
            log.info(Event.STORE_BACK)
        return {(record["session_id"], record["epoch"]) for record in records}

    async def _connect(self) -> Connection:
        options = connect_options(self._settings, pooler=not self._session)
        connection = await asyncpg.connect(self._settings.direct_url, **options)
        if self._session:
            await connection.execute(setup_statement(INGEST, "", self._settings.database_statement_seconds, local=False))
            await connection.execute(_SESSION)
        return connection

    async def _ensure_partitions(self, connection: Connection) -> None:
        """Make the coming days' partitions of ``event``. If that fails, their rows go to the default one."""
        self._partitions_due = time.monotonic() + _PARTITIONS_SECONDS
        try:
            async with connection.transaction():
                await connection.execute(setup_statement(INGEST, "", self._settings.database_statement_seconds))
                await connection.execute(_PARTITIONS)
        except asyncpg.PostgresError as error:
            log.warning(Event.STORE_PARTITIONS_FAILED, error=type(error).__name__)

    def _resolve(self, batch: Mapping[Pending, Rows], stored: set[tuple[uuid.UUID, int]]) -> None:
        BATCH_COMMITS.observe(len(batch))
        for waiting, rows in batch.items():
            waiting.end(None if rows.key in stored else SessionMoved("another process took this session over, or it is gone"))

    def _tell_away(self, error: MalhaError) -> None:
        if not self._away:
            self._away = True
            log.warning(Event.STORE_AWAY, reason=error.reason)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _close_connection(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*DATABASE_ERRORS):  # it is lost, which is as good
                await self._connection.close(timeout=_CLOSE_SECONDS)
            self._connection = None


def _rows(batch: Iterable[Pending]) -> dict[Pending, Rows]:
    """Of those that are still waited for; made once, however often they are sent. A defect in one ends it alone."""
    found: dict[Pending, Rows] = {}
    for waiting in batch:
        if waiting.over:
            continue
        try:
            waiting.rows = found[waiting] = waiting.rows or waiting.make()
        except Exception as error:
            log.error(Event.RPC_DEFECT, cause=error)
            waiting.end(Internal("a defect of Malha; its log has the place"))
    return found


def _away() -> Unavailable:
    return Unavailable("the database is away: try again", reason="STORE_UNAVAILABLE", retry_seconds=RETRY_SECONDS)


def _stopping() -> Unavailable:
    return Unavailable("the server stops", reason="STORE_UNAVAILABLE", retry_seconds=RETRY_SECONDS)
