"""What is started by whoever needs it first, once, while all others who need it wait for the same start."""

import asyncio
from collections.abc import Awaitable, Callable


class Starting:
    """Starts something on demand. A start that fails is tried again by the next who asks."""

    def __init__(self, start: Callable[[], Awaitable[object]], close: Callable[[], Awaitable[None]]) -> None:
        self._start = start
        self._close = close
        self._task: asyncio.Future[object] | None = None

    async def started(self) -> object:
        """Wait until it is started; what the start returned. Raises what the start raised."""
        if self._task is None or (self._task.done() and (self._task.cancelled() or self._task.exception() is not None)):
            self._task = asyncio.ensure_future(self._start())
        return await asyncio.shield(self._task)

    async def close(self) -> None:
        """Wait for a start under way, and close what was started."""
        if self._task is not None:
            await asyncio.wait({self._task})
            await self._close()
