"""Admission to an engine: so many streams are open at once, so many more wait in the order of arrival, the next one is refused.

Background streams hold and wait in at most half of the places, and those that wait go after the live ones: there is always room for a call.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from malha.runtime.errors import EngineBusy, MalhaError
from malha.runtime.precedence import Precedence


class Places:
    """The places at the engine ``name``. ``on_wait`` is told the seconds each stream waited that had to."""

    def __init__(self, name: str, *, places: int, max_waiting: int, on_wait: Callable[[float], None]) -> None:
        self._name = name
        self._places = places
        self._free = places
        self._max_waiting = max_waiting
        self._on_wait = on_wait
        self._live: deque[asyncio.Future[None]] = deque()
        self._background: deque[asyncio.Future[None]] = deque()
        self._background_free = max(1, places // 2)
        self._precedence = Precedence()
        self._held_seconds = 0.5  # how long a place is held, on average

    @property
    def waiting(self) -> int:
        return len(self._live) + len(self._background)

    @contextlib.asynccontextmanager
    async def take(self, *, background: bool = False) -> AsyncIterator[None]:
        """Hold a place. Raises EngineBusy at once if too many wait already."""
        if self._free and (not background or self._background_free):
            self._hold(background=background)
        else:
            await self._wait(background=background)
        began = time.monotonic()
        try:
            yield
        finally:
            self._held_seconds += (time.monotonic() - began - self._held_seconds) / 16
            self._give_back(background=background)

    def refuse_waiting(self, error: MalhaError) -> None:
        """Fail all who wait."""
        for queue in (self._live, self._background):
            while queue:
                queue.popleft().set_exception(error)

    async def _wait(self, *, background: bool) -> None:
        queue = self._background if background else self._live
        if self.waiting >= self._max_waiting or (background and len(queue) >= (self._max_waiting + 1) // 2):
            expected = self._held_seconds * (self.waiting + 1) / self._places
            raise EngineBusy(
                f"the queue of engine {self._name} is full", retry_seconds=min(max(expected, 0.1), 30.0), quota="engine_waiting_streams"
            )
        place = asyncio.get_running_loop().create_future()
        queue.append(place)
        began = time.monotonic()
        try:
            await place
        except asyncio.CancelledError:
            if place in queue:
                queue.remove(place)
            elif not place.cancelled() and place.exception() is None:  # it was handed over in the same moment
                self._give_back(background=background)
            raise
        self._on_wait(time.monotonic() - began)

    def _hold(self, *, background: bool) -> None:
        self._free -= 1
        self._background_free -= background

    def _give_back(self, *, background: bool) -> None:
        self._free += 1
        self._background_free += background
        while self._free:
            admissible = bool(self._background) and self._background_free > 0
            if not self._live and not admissible:
                return
            background = self._precedence.background_next(live=bool(self._live), background=admissible)
            place = (self._background if background else self._live).popleft()
            if not place.done():
                self._hold(background=background)
                place.set_result(None)
