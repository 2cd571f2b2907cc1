"""Stores files that were recorded, and a row for each. A store that is away is waited for, for a while; what comes beyond is lost and counted."""

import asyncio
from contextlib import suppress
from typing import Final

import asyncpg
from prometheus_client import Counter, Gauge

from malha.recording.blobs import Blobs
from malha.recording.recorder import Sealed
from malha.runtime import logs
from malha.runtime.errors import MalhaError
from malha.runtime.logs import Event
from malha.store.database import Database

log = logs.get("recording.keeper")

LOST = Counter("malha_recording_files_lost", "Files of recordings that could not be stored.")
WAITING = Gauge("malha_recording_waiting_bytes", "Files of recordings that wait to be stored.")

_MOST_BYTES: Final = 128 * 1024 * 1024
_TASKS: Final = 4
_PAUSES: Final = (0.5, 2.0, 5.0, 10.0, 15.0)
"""Seconds between attempts."""
_INSERT: Final = """
    INSERT INTO recording (tenant_id, conversation_id, session_id, channel, start_ms, epoch, duration_ms, bytes)
    VALUES (malha_tenant(), $1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (tenant_id, session_id, channel, start_ms, epoch)
    DO UPDATE SET duration_ms = EXCLUDED.duration_ms, bytes = EXCLUDED.bytes, written_at = now()
    WHERE recording.duration_ms <= EXCLUDED.duration_ms
"""


class Keeper:
    """Stores on the event loop's spare time: all it waits for is a network, a database, a thread."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs
        self._waiting: dict[str, Sealed] = {}
        self._bytes = 0
        self._busy: set[str] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    def start(self) -> None:
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._run(), name=f"keep-recordings-{number}") for number in range(_TASKS)]

    def keep(self, sealed: Sealed) -> None:
        """Store a file soon. A longer one of the same name takes the place of one that waits."""
        earlier = self._waiting.pop(sealed.name, None)
        self._count(-len(earlier.content) if earlier is not None else 0)
        if self._bytes + len(sealed.content) > _MOST_BYTES:
            LOST.inc()
            return
        self._waiting[sealed.name] = sealed
        self._count(len(sealed.content))
        self._wake.set()

    async def close(self, seconds: float) -> None:
        """Store what waits, as far as ``seconds`` allow."""
        self._closing = True
        self._wake.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            LOST.inc(len(self._waiting) + len(self._busy))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._count(-self._bytes)

    async def _run(self) -> None:
        while (name := await self._next()) is not None:
            sealed = self._waiting.pop(name)
            self._busy.add(name)
            try:
                await self._store(sealed)
            except Exception as error:
                log.error(Event.BACKGROUND_DEFECT, cause=error)
                LOST.inc()
            finally:
                self._count(-len(sealed.content))
                self._busy.discard(name)
                self._wake.set()

    async def _next(self) -> str | None:
        """A file that waits, and of which no earlier state is being stored. None: there will be no more."""
        while True:
            name = next((each for each in self._waiting if each not in self._busy), None)
            if name is not None or self._closing:
                return name
            self._wake.clear()
            await self._wake.wait()

    async def _store(self, sealed: Sealed) -> None:
        for pause in (*_PAUSES, None):
            try:
                await self._blobs.put(sealed.name, sealed.content)
                await self._insert(sealed)
            except MalhaError:
                if pause is None or self._closing:
                    LOST.inc()
                    return
                await asyncio.sleep(pause)
            else:
                return

    async def _insert(self, sealed: Sealed) -> None:
        label = sealed.label
        values = (label.conversation_id, label.session_id, sealed.channel, sealed.start_ms, label.epoch)
        try:
            async with self._database.tenant_tx(label.tenant_id) as connection:
                await connection.execute(_INSERT, *values, sealed.duration_ms, len(sealed.content))
        except asyncpg.ForeignKeyViolationError:  # erased meanwhile: nobody may hear it
            with suppress(MalhaError):  # a retention's run finds it: it has no key
                await self._blobs.remove(f"{label.tenant_id}/{label.conversation_id}")

    def _count(self, more: int) -> None:
        self._bytes += more
        WAITING.set(self._bytes)
