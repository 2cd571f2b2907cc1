"""A circuit breaker: who failed too often is left alone for a while, then tried by one call, and the rest follows if that went well."""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from malha.chat.models_file import BreakerLimits

MOST_OPEN_SECONDS: Final = 300.0
"""However long a server says it wants to be left alone."""
LEAST_RETRY_SECONDS: Final = 1.0


class State(StrEnum):
    """Of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Counts failures one after the other. `enter` before each call, then exactly one of `succeeded`, `failed`, `left`."""

    def __init__(self, limits: BreakerLimits, on_state: Callable[[State], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._on_state = on_state
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0
        self._open = False
        self._probing = False
        on_state(State.CLOSED)

    @property
    def state(self) -> State:
        """Now."""
        if not self._open:
            return State.CLOSED
        return State.HALF_OPEN if self._probing or self._clock() >= self._open_until else State.OPEN

    @property
    def retry_seconds(self) -> float:
        """When to ask again, of one that does not let in: once its time is over, or the one call that tries is."""
        return max(self._open_until - self._clock(), LEAST_RETRY_SECONDS)

    def enter(self) -> bool:
        """Whether a call may be made. Of an open breaker whose time is over, one alone may."""
        if not self._open:
            return True
        if self._probing or self._clock() < self._open_until:
            return False
        self._probing = True
        self._on_state(State.HALF_OPEN)
        return True

    def succeeded(self) -> None:
        """The call went well."""
        self._failures, self._probing = 0, False
        if self._open:
            self._open = False
            self._on_state(State.CLOSED)

    def failed(self, retry_seconds: float | None = None) -> None:
        """The call failed. ``retry_seconds``: its server says how long it wants to be left alone."""
        self._failures += 1
        if retry_seconds is None and not self._probing and self._failures < self._limits.failures:
            return
        seconds = self._limits.open_seconds if retry_seconds is None else min(retry_seconds, MOST_OPEN_SECONDS)
        self._probing, self._open = False, True
        self._open_until = max(self._open_until, self._clock() + seconds)
        self._on_state(State.OPEN)

    def left(self) -> None:
        """The call ended without telling anything of the server: it was given up, or the request was at fault."""
        if self._probing:
            self._probing = False
            self._on_state(State.OPEN)
