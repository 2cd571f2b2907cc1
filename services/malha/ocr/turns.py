"""One item at a time for each worker of an engine host, and so much time for each, counted from when a worker is free.

A worker that an item took too long on, or whose item nobody waits for any more, may go on with it for a while, or be killed and have to load anew. Its
turn is given to nobody until then: the next item would pay for it.
"""

import asyncio
from typing import Final

from malha.runtime.host import EngineHost

LOOK_SECONDS: Final = 0.05


class Turns:
    """The turns of a host that has as many places as workers."""

    def __init__(self, host: EngineHost, workers: int, seconds: float) -> None:
        self._host = host
        self._workers = workers
        self._seconds = seconds
        self._free = asyncio.Semaphore(workers)
        self._under_way = 0
        self._recovering: set[asyncio.Task[None]] = set()

    async def call(self, item: object) -> object:
        """What the worker answers. One that dies is replaced, and the item repeated once. Raises DeadlineExceeded, EngineCrashed and what it raises."""
        await self._free.acquire()
        self._under_way += 1
        try:
            return await self._host.call(None, item, timeout_seconds=self._seconds)
        finally:
            self._under_way -= 1
            if self._ready:
                self._free.release()
            else:
                task = asyncio.create_task(self._recover(), name="ocr-recover")
                self._recovering.add(task)
                task.add_done_callback(self._recovering.discard)

    async def close(self) -> None:
        """Wait for no worker any more."""
        for task in self._recovering:
            task.cancel()
        await asyncio.gather(*self._recovering, return_exceptions=True)

    @property
    def _ready(self) -> bool:
        """Whether all workers are there, and none computes but for those who wait."""
        return len(self._host.worker_pids) == self._workers and self._host.busy_workers <= self._under_way

    async def _recover(self) -> None:
        """A host that cannot have its workers back says so to the next who asks."""
        try:
            while not self._ready and self._host.healthy:  # noqa: ASYNC110 - a host tells nobody that a worker is back
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._free.release()
