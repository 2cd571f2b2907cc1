"""Admission to an engine: so many streams are open at once, so many more wait in the order of arrival, the next one is refused."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from malha.runtime.errors import EngineBusy, MalhaError


class Places:
    """The places at the engine ``name``. ``on_wait`` is told the seconds each stream waited that had to."""

    def __init__(self, name: str, *, places: int, max_waiting: int, on_wait: Callable[[float], None]) -> None:
        self._name = name
        self._places = places
        self._free = places
        self._max_waiting = max_waiting
        self._on_wait = on_wait
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held_seconds = 0.5  # how long a place is held, on average

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Hold a place. Raises EngineBusy at once if too many wait already."""
        if self._free:
            self._free -= 1
        else:
            await self._wait()
        began = time.monotonic()
        try:
            yield
        finally:
            self._held_seconds += (time.monotonic() - began - self._held_seconds) / 16
            self._give_back()

    def refuse_waiting(self, error: MalhaError) -> None:
        """Fail all who wait."""
        while self._waiting:
            self._waiting.popleft().set_exception(error)

    async def _wait(self) -> None:
        if len(self._waiting) >= self._max_waiting:
            expected = self._held_seconds * (len(self._waiting) + 1) / self._places
            raise EngineBusy(
                f"the queue of engine {self._name} is full", retry_seconds=min(max(expected, 0.1), 30.0), quota="engine_waiting_streams"
            )
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        began = time.monotonic()
        try:
            await place
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
            elif not place.cancelled() and place.exception() is None:  # it was handed over in the same moment
                self._give_back()
            raise
        self._on_wait(time.monotonic() - began)

    def _give_back(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
