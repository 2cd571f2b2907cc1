"""How the edge hands audio on: at once while it is quiet, in common beats while it has some calls, in larger pieces too while it has many.

A message costs the mesh about the same whatever its size, and a task that is woken alone costs more than its share of many woken together:
with 400 calls, pieces of 200 ms in common beats cost the edge and Audio about half of what 100 ms cost, each as it comes.
"""

import asyncio
from collections.abc import Callable
from itertools import cycle

PIECE_SECONDS, BUSY_PIECE_SECONDS = 0.1, 0.2
"""Size that small pieces are joined to, and how long a piece may wait for others."""
SOME_SOCKETS = 100
"""From so many on, pieces of different calls come within one short beat often enough for it to pay."""
SHORT_BEAT_SECONDS, BEAT_SECONDS = 0.002, 0.005
"""With some calls, and with many."""
STAGGER = (1.0, 0.5, 0.75, 0.25)
"""Sizes of calls' first joined pieces, in turn: calls that began together would else all be heard in the same moment."""


class Pace:
    """The pace of all sockets. ``sockets`` tells how many are open; ``busy_sockets`` are many."""

    def __init__(self, sockets: Callable[[], int], busy_sockets: int) -> None:
        self._sockets = sockets
        self._busy_sockets = busy_sockets
        self._waiters: list[asyncio.Future[None]] = []
        self._stagger = cycle(STAGGER)

    @property
    def piece_seconds(self) -> float:
        """What small pieces of audio are joined to at present."""
        return BUSY_PIECE_SECONDS if self._busy() else PIECE_SECONDS

    def stagger(self) -> float:
        """The next call's first piece, as a share of a piece."""
        return next(self._stagger) if self._busy() else 1.0

    def wake(self, waiter: asyncio.Future[None]) -> None:
        """Complete a future: now, or with the next beat."""
        if not self._waiters:
            open_now = self._sockets()
            if open_now < SOME_SOCKETS and open_now < self._busy_sockets:
                wake(waiter)
                return
            waiter.get_loop().call_later(BEAT_SECONDS if open_now >= self._busy_sockets else SHORT_BEAT_SECONDS, self._beat)
        self._waiters.append(waiter)

    def _busy(self) -> bool:
        return self._sockets() >= self._busy_sockets

    def _beat(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            wake(waiter)


def wake(waiter: asyncio.Future[None]) -> None:
    """Complete a future that may have been cancelled."""
    if not waiter.done():
        waiter.set_result(None)
