"""Keeps one row for each processed utterance, off the path of insights: what gathers is written together, a few times a second."""

import asyncio
import contextlib
import uuid
from collections import defaultdict
from typing import Final

import asyncpg
from prometheus_client import Counter

from malha.insight.interaction_store import Interaction, InteractionStore, Place
from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, MalhaError, Unavailable
from malha.runtime.logs import Event
from malha.store.database import Database

log = logs.get("insight.interactions")

LOST = Counter("malha_interactions_lost_total", "Interactions that could not be kept: the database was away too long, or refused them.")

GATHER_SECONDS: Final = 0.2
MOST_WAITING: Final = 20_000
"""50 calls for half an hour without a database."""
PAUSE_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 5.0


class Interactions:
    """The writer of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[uuid.UUID, tuple[Place, Interaction]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="interactions")

    async def close(self) -> None:
        """Write what waits, for a while, and end."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        with contextlib.suppress(TimeoutError, MalhaError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._write()
        LOST.inc(len(self._waiting))

    def keep(self, place: Place, interaction: Interaction) -> None:
        """Keep an utterance as it is when it is written; told again, it is written again."""
        if len(self._waiting) >= MOST_WAITING and interaction.id not in self._waiting:
            self._waiting.pop(next(iter(self._waiting)))
            LOST.inc()
        self._put(place, interaction)
        self._wake.set()

    def _put(self, place: Place, interaction: Interaction) -> None:
        """Two connections may keep the same utterance, the second before the first's is written."""
        _, earlier = self._waiting.get(interaction.id, (place, interaction))
        if earlier is not interaction:
            interaction.fill_in(earlier)
        self._waiting[interaction.id] = place, interaction

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            try:
                await self._write()
            except (Unavailable, DeadlineExceeded) as error:
                log.warning(Event.STORE_AWAY, reason=error.reason)
                self._wake.set()
                await asyncio.sleep(PAUSE_SECONDS)

    async def _write(self) -> None:
        """Raises Unavailable and DeadlineExceeded; what is not written waits."""
        unwritten, self._waiting = self._waiting, {}
        tenants: dict[uuid.UUID, list[tuple[Place, Interaction]]] = defaultdict(list)
        for place, interaction in unwritten.values():
            tenants[place.tenant_id].append((place, interaction))
        try:
            for tenant_id, each in tenants.items():
                await self._write_tenant(InteractionStore(self._database, tenant_id), each)
                for _, interaction in each:
                    del unwritten[interaction.id]
        finally:
            since, self._waiting = self._waiting, unwritten
            for place, interaction in since.values():
                self._put(place, interaction)

    async def _write_tenant(self, store: InteractionStore, each: list[tuple[Place, Interaction]]) -> None:
        """All of them, or, where one is refused (its conversation is erased, say), one by one."""
        try:
            await store.write(each)
        except (Unavailable, DeadlineExceeded):
            raise
        except (MalhaError, asyncpg.IntegrityConstraintViolationError):
            if len(each) == 1:
                LOST.inc()
                return
            for one in each:
                await self._write_tenant(store, [one])
