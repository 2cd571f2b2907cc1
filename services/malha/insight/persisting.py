"""Writes what must not be lost again and again while the database is away, as long as calls themselves wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, TypeVar

from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, Unavailable
from malha.runtime.logs import Event

log = logs.get("insight")

AWAY_SECONDS: Final = 120.0
"""Calls end after as long without a database, to be resumed."""
AGAIN_SECONDS: Final = 0.5

Result = TypeVar("Result")


async def persist(write: Callable[[], Awaitable[Result]]) -> Result:
    """What ``write`` gives, which may run many times, also after it was done and nobody could tell. Raises MalhaError: it is away too long, or refuses."""
    deadline = monotonic() + AWAY_SECONDS
    while True:
        try:
            return await write()
        except (Unavailable, DeadlineExceeded) as error:
            if monotonic() > deadline:
                raise
            log.warning(Event.STORE_AWAY, reason=error.reason)
        await asyncio.sleep(AGAIN_SECONDS)
