"""Runs retention in a serving process, again and again. Two that run at once erase once."""

import asyncio
from typing import Final

from prometheus_client import Counter

from malha.privacy.retention import Retention
from malha.runtime import logs
from malha.runtime.errors import MalhaError
from malha.runtime.logs import Event

log = logs.get("privacy.sweeper")

ERASED = Counter("malha_retention_erased", "Conversations that were erased because their tenant's retention ran out.")
FAILED = Counter("malha_retention_runs_failed", "Runs that ended early; the next one goes on.")

_FIRST_SECONDS: Final = 60.0
"""A process that starts has better things to do."""


class RetentionSweeper:
    """Sweeps every ``seconds`` from `start` to `close`."""

    def __init__(self, retention: Retention, seconds: float) -> None:
        self._retention = retention
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="retention")

    async def close(self) -> None:
        """Stop, if need be in the middle: the next run goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause = min(_FIRST_SECONDS, self._seconds)
        while True:
            await asyncio.sleep(pause)
            pause = self._seconds
            try:
                done = await self._retention.run()
            except MalhaError:
                FAILED.inc()
            except Exception as error:
                log.error(Event.BACKGROUND_DEFECT, cause=error)  # the task lives on: nobody else would erase
                FAILED.inc()
            else:
                ERASED.inc(sum(swept.conversations for swept in done.values()))
