"""PgQueuer's way to the database: one connection of its own, as malha_queue, that is made again whenever it was lost.

While the database is away a statement waits, so that PgQueuer's workers pause and go on. A statement whose answer was lost is sent again:
what it had picked counts as lost after a while and is picked again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

import asyncpg
from pgqueuer.core.tm import TaskManager

from malha.runtime import logs
from malha.runtime.errors import Unavailable
from malha.runtime.logs import Event
from malha.store.database import connect_options, setup_statement
from malha.store.failures import DATABASE_ERRORS, is_away
from malha.store.roles import QUEUE, Connection
from malha.store.settings import StoreSettings

log = logs.get("jobs.driver")

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0

Callback = Callable[[str | bytes | bytearray], None]


class QueueDriver:
    """`pgqueuer.ports.driver.Driver`. Behind a pooler without a direct URL nothing is listened to: then the queue is looked at by time alone."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._listens = bool(settings.database_direct_url) or not settings.database_pooler
        self._listeners: list[tuple[str, Callback]] = []
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._shutdown = asyncio.Event()
        self._tasks = TaskManager()

    async def fetch(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """Rows of a statement."""
        records = await self._run(lambda connection: connection.fetch(query, *args))
        return [dict(record) for record in records]

    async def execute(self, query: str, *args: Any) -> str:
        """The tag of a statement."""
        return str(await self._run(lambda connection: connection.execute(query, *args)))

    async def notify(self, channel: str, payload: str) -> None:
        await self.execute("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: Callback) -> None:
        """Listen on this connection and on each that follows it."""
        self._listeners.append((channel, callback))
        async with self._lock:
            if self._connection is not None and self._listens:
                await self._listen(self._connection, channel, callback)

    @property
    def shutdown(self) -> asyncio.Event:
        """Set: statements no longer wait for a database that is away."""
        return self._shutdown

    @property
    def tm(self) -> TaskManager:
        return self._tasks

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def close(self) -> None:
        """Wait for nothing more."""
        self._shutdown.set()
        if self._connection is not None:
            with contextlib.suppress(*DATABASE_ERRORS):
                await self._connection.close(timeout=self._settings.database_connect_seconds)

    async def _run(self, statement: Callable[[Connection], Awaitable[Any]]) -> Any:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._try(statement)
            except DATABASE_ERRORS as error:
                if not is_away(error):
                    raise
                if self._shutdown.is_set():
                    raise Unavailable("the database is away", reason="STORE_UNAVAILABLE") from error
                if pause == _FIRST_PAUSE:
                    log.warning(Event.STORE_AWAY)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shutdown.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _try(self, statement: Callable[[Connection], Awaitable[Any]]) -> Any:
        async with self._lock:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            try:
                async with self._connection.transaction():
                    await self._connection.execute(setup_statement(QUEUE, "", self._settings.database_statement_seconds))
                    return await statement(self._connection)
            except asyncio.CancelledError:
                self._drop()
                raise
            except DATABASE_ERRORS as error:
                if is_away(error):
                    self._drop()
                raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connect(self) -> Connection:
        connection = await asyncpg.connect(self._settings.direct_url, **connect_options(self._settings, pooler=not self._listens))
        if self._listens:
            for channel, callback in self._listeners:
                await self._listen(connection, channel, callback)
        return connection

    async def _listen(self, connection: Connection, channel: str, callback: Callback) -> None:
        await connection.add_listener(channel, lambda _connection, _pid, _channel, payload: callback(payload))
