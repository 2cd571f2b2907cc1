"""Deletes state that has expired, tenant by tenant, a few rows at a time: what has expired is never answered, so there is no hurry."""

import asyncio
import contextlib
import uuid
from typing import Final

from prometheus_client import Counter

from malha.conversation.store.conversations import affected
from malha.conversation.store.states import SWEEP
from malha.runtime import logs
from malha.runtime.errors import MalhaError
from malha.runtime.logs import Event
from malha.store.database import Database

log = logs.get("conversation.sweeper")

SWEPT = Counter("malha_conversation_states_swept", "Expired pieces of state that were deleted.")
FAILED = Counter("malha_conversation_sweeps_failed", "Sweeps of expired state that ended early; the next one goes on.")

_BATCH: Final = 500
_MOST_BATCHES: Final = 200
"""Of one tenant in one sweep."""


class Sweeper:
    """Sweeps every ``seconds`` from `start` to `close`."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="sweep-states")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def sweep(self) -> int:
        """Delete what has expired; how many rows. Raises Unavailable and DeadlineExceeded as the database does."""
        async with self._database.app_tx() as connection:
            tenants = [row["id"] for row in await connection.fetch("SELECT id FROM malha_tenants()")]
        return sum([await self._sweep_tenant(tenant) for tenant in tenants])

    async def _sweep_tenant(self, tenant: uuid.UUID) -> int:
        deleted = 0
        for _ in range(_MOST_BATCHES):
            async with self._database.tenant_tx(tenant) as connection:
                count = affected(await connection.execute(SWEEP, _BATCH))
            SWEPT.inc(count)
            deleted += count
            if count < _BATCH:
                break
        return deleted

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.sweep()
            except MalhaError:
                FAILED.inc()
            except Exception as error:
                log.error(Event.BACKGROUND_DEFECT, cause=error)
                FAILED.inc()
