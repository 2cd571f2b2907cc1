"""Keeps one row for each processed utterance, off the path of insights: what gathers is written together, a few times a second."""

import asyncio
import contextlib
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import asyncpg
from prometheus_client import Counter

from malha.insight.store import InsightStore, Interaction
from malha.runtime import logs
from malha.runtime.errors import MalhaError, Unavailable
from malha.runtime.logs import Event
from malha.store.database import Database

log = logs.get("insight.interactions")

LOST = Counter("malha_interactions_lost_total", "Interactions that could not be kept: the database was away too long, or refused them.")

GATHER_SECONDS: Final = 0.2
MOST_WAITING: Final = 20_000
"""50 calls for half an hour without a database."""
PAUSE_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Whose interaction it is."""

    tenant_id: uuid.UUID
    conversation_id: uuid.UUID
    session_id: uuid.UUID
    author: str
    """The token's id."""
    counter: str | None


def interaction_id(session_id: uuid.UUID, seq: int) -> uuid.UUID:
    """The same for whoever comes to own the call."""
    return uuid.uuid5(session_id, str(seq))


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
        self._waiting[interaction.id] = place, interaction
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            try:
                await self._write()
            except Unavailable as error:
                log.warning(Event.STORE_AWAY, reason=error.reason)
                self._wake.set()
                await asyncio.sleep(PAUSE_SECONDS)

    async def _write(self) -> None:
        """Raises Unavailable; what is not written waits."""
        unwritten, self._waiting = self._waiting, {}
        tenants: dict[uuid.UUID, list[tuple[Place, Interaction]]] = defaultdict(list)
        for place, interaction in unwritten.values():
            tenants[place.tenant_id].append((place, interaction))
        try:
            for tenant_id, each in tenants.items():
                await self._write_tenant(InsightStore(self._database, tenant_id), each)
                for _, interaction in each:
                    del unwritten[interaction.id]
        finally:
            self._waiting = unwritten | self._waiting

    async def _write_tenant(self, store: InsightStore, each: list[tuple[Place, Interaction]]) -> None:
        """All of them, or, where one is refused (its conversation is erased, say), one by one."""
        rows = [(place.conversation_id, place.session_id, place.author, place.counter, interaction) for place, interaction in each]
        try:
            await store.interactions(rows)
        except Unavailable:
            raise
        except (MalhaError, asyncpg.IntegrityConstraintViolationError):
            if len(rows) == 1:
                LOST.inc()
                return
            for one in each:
                await self._write_tenant(store, [one])
