"""Places at a deployment: so many calls at once, so many that wait, and no more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from malha.chat.errors import ModelBusy


class Places:
    """First come, first served."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._inside = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.asynccontextmanager
    async def place(self, deadline: float) -> AsyncIterator[None]:
        """A place, once there is one. Raises ModelBusy where too many wait, or it came to the loop's time ``deadline``."""
        if self._inside >= self._most:
            raise ModelBusy("too many calls wait for this model", retry_seconds=1.0, quota="model_calls")
        self._inside += 1
        self._idle.clear()
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._free.acquire()
            except TimeoutError:
                raise ModelBusy("no place at the model came free in time", retry_seconds=1.0, quota="model_calls") from None
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._inside -= 1
            if not self._inside:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until nobody is inside."""
        await self._idle.wait()
