"""Writes calls of models to the database off the way of the answer: one task, a bounded queue, what gathers goes together."""

import asyncio
import itertools
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import Final

from malha.chat import metrics
from malha.chat.calls import Call, CallContext
from malha.chat.store import spending
from malha.runtime import logs
from malha.runtime.errors import MalhaError
from malha.runtime.logs import Event
from malha.store.database import Database

log = logs.get("chat.recorder")

MOST_WAITING: Final = 10_000
_MOST_IN_BATCH: Final = 200
_PAUSES: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 10.0, 10.0)
"""Seconds between attempts while the database is away; after the last the batch is dropped and counted."""
_CLOSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Record:
    """A call to write, with what was reserved for it."""

    tenant_id: uuid.UUID
    context: CallContext
    call: Call
    reserved_day: date | None
    reserved: float


class Recorder:
    """From `start` to `close`. A reservation whose call cannot be written stays: better too little is spent than too much."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: asyncio.Queue[Record | None] = asyncio.Queue(MOST_WAITING)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="record-ai-calls")

    async def close(self) -> None:
        """Write what is there, for a few seconds."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._queue.put(None)
                await asyncio.wait([self._task])
        except TimeoutError:
            metrics.UNRECORDED.inc(self._queue.qsize())
        self._task.cancel()
        await asyncio.wait([self._task])

    def put(self, record: Record) -> None:
        """Have a call written. Beyond what may wait it is dropped and counted."""
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            metrics.UNRECORDED.inc()

    async def _run(self) -> None:
        ending = False
        while not ending:
            batch = [await self._queue.get()]
            while len(batch) < _MOST_IN_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            ending = None in batch
            by_tenant: dict[uuid.UUID, list[Record]] = defaultdict(list)
            for record in batch:
                if record is not None:
                    by_tenant[record.tenant_id].append(record)
            for tenant_id, records in by_tenant.items():
                await self._write(tenant_id, records)

    async def _write(self, tenant_id: uuid.UUID, records: list[Record]) -> None:
        for pause in itertools.chain(_PAUSES, (None,)):
            try:
                async with self._database.tenant_tx(tenant_id) as connection:
                    await spending.record(
                        connection, [(record.context, record.call, record.reserved_day, record.reserved) for record in records]
                    )
            except MalhaError:
                if pause is not None:
                    await asyncio.sleep(pause)
                    continue
            except Exception as error:
                log.error(Event.RPC_DEFECT, cause=error, records=len(records))
            else:
                return
            break
        metrics.UNRECORDED.inc(len(records))
