"""How the edge hands audio on: at once while it is quiet, in larger pieces and common beats while it has many calls.

A message costs the mesh about the same whatever its size, and a task that is woken alone costs more than its share of many woken together:
with 400 calls, pieces of 200 ms in common beats cost the edge and Audio about half of what 100 ms cost, each as it comes.
"""

import asyncio
from collections.abc import Callable
from itertools import cycle

PIECE_SECONDS, BUSY_PIECE_SECONDS = 0.1, 0.2
"""Size that small pieces are joined to, and how long a piece may wait for others."""
BEAT_SECONDS = 0.01
STAGGER = (1.0, 0.5, 0.75, 0.25)
"""Sizes of calls' first joined pieces, in turn: calls that began together would else all be heard in the same moment."""


class Pace:
    """The pace of all sockets. ``busy`` tells whether there are many."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        self._busy = busy
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
        if not self._busy():
            wake(waiter)
            return
        if not self._waiters:
            waiter.get_loop().call_later(BEAT_SECONDS, self._beat)
        self._waiters.append(waiter)

    def _beat(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            wake(waiter)


def wake(waiter: asyncio.Future[None]) -> None:
    """Complete a future that may have been cancelled."""
    if not waiter.done():
        waiter.set_result(None)
