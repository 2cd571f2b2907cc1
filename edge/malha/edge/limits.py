"""How often one caller may come: token buckets, bounded in number."""

import hashlib
from collections.abc import Callable
from time import monotonic

from malha.edge.errors import RateLimited
from malha.runtime.addresses import address_group
from malha.runtime.buckets import Buckets

TOKENS_AN_ADDRESS = 10
"""An address may come this many times as often as one token: many may share it, but made-up tokens must not pass without end."""
FAILURE_COST = 100
"""What an unknown token costs its address, in requests: one forgotten browser tab harms nobody, who guesses is slowed."""


class RateLimit:
    """``per_minute`` requests a minute for each token, or address without one; they may come all at once."""

    def __init__(self, per_minute: int, most: int = 16_384, clock: Callable[[], float] = monotonic) -> None:
        self._per_minute = per_minute
        self._buckets = Buckets(most, clock)

    def take(self, token: str, address: str) -> None:
        """Count one request. Raises RateLimited with the time until the next one is free."""
        if token:
            self._take(_shared(address), self._per_minute * TOKENS_AN_ADDRESS)
        self._take(f"token {token}" if token else f"address {address_group(address)}", self._per_minute)

    def fail(self, address: str) -> None:
        """Count a token that nobody knew."""
        self._buckets.take(_key(_shared(address)), self._per_minute * TOKENS_AN_ADDRESS, FAILURE_COST)

    def _take(self, name: str, per_minute: float) -> None:
        wait = self._buckets.take(_key(name), per_minute)
        if wait:
            raise RateLimited("too many requests: come back later", retry_seconds=wait, quota="requests_per_minute")


def _shared(address: str) -> str:
    return f"address of tokens {address_group(address)}"


def _key(name: str) -> bytes:
    """No bucket keeps a token."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()
