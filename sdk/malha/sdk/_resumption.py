"""When and how long a lost call is taken up again, and a lost answer asked for."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from malha.sdk._unsaved import UnsavedAudio
from malha.sdk.errors import MalhaError, QuotaExceeded, ServerError, Unavailable

T = TypeVar("T")

GIVE_UP_SECONDS = 60.0
"""After this long the server has ended the call as abandoned. An answer could be waited for longer, but nobody would."""
WAITS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Before each attempt, jittered by half; the last again and again."""
_RESUMABLE = {"READER_SLOW": True, "DRAINING": True, "SESSION_MOVED": False}
"""By reason, where the type of the error does not tell."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """What an application knows of a call it had before it was started again."""

    token: str = field(repr=False)
    session_id: str
    after_seq: int
    unsaved: UnsavedAudio | None


class Setback:
    """A time without progress: one loss, or several in a row. Waits grow and the time runs until the server is further than before."""

    def __init__(self) -> None:
        self._give_up_at = asyncio.get_running_loop().time() + GIVE_UP_SECONDS
        self._waits = _waits()

    async def over(self, attempt: Callable[[], Awaitable[T]], error: MalhaError) -> T:
        """What ``attempt`` returns when it succeeds, after ``error``. Raises its last MalhaError: the time is over, or it is refused for ever."""
        loop = asyncio.get_running_loop()
        while (left := self._give_up_at - loop.time()) > 0:
            await asyncio.sleep(min(max(next(self._waits), error.retry_after_seconds or 0.0), left))
            try:
                return await attempt()
            except MalhaError as refused:
                error = refused
            soon = isinstance(error, QuotaExceeded) and error.retry_after_seconds is not None
            if not (may_resume(error) or soon):
                break
        raise error


def may_resume(error: MalhaError) -> bool:
    """Whether a call that ended so is there to be taken up. A server says for what reason it fails: an end without one is a lost connection."""
    known = _RESUMABLE.get(error.reason)
    return known if known is not None else isinstance(error, Unavailable) or (isinstance(error, ServerError) and not error.reason)


def was_cut(error: MalhaError) -> bool:
    """Whether a call ended so without an answer of its server: of one that was not open yet, what the server says would hold again."""
    return may_resume(error) and (not error.reason or error.reason in _RESUMABLE)


def _waits() -> Iterator[float]:
    for seconds in itertools.chain(WAITS_SECONDS, itertools.repeat(WAITS_SECONDS[-1])):
        yield seconds * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, keeps no secret
