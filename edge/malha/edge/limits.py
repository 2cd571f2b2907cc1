"""How often one caller may come: token buckets, bounded in number."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from malha.edge.errors import RateLimited

TOKENS_AN_ADDRESS = 10
"""An address may come this many times as often as one token: many may share it, but made-up tokens must not pass without end."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class RateLimit:
    """``per_minute`` requests a minute for each token, or address without one; they may come all at once.

    The least recently used of more than ``most`` keys are forgotten, which gives those a full bucket again: the bound on memory wins
    over exactness.
    """

    def __init__(self, per_minute: int, most: int = 16_384, clock: Callable[[], float] = monotonic) -> None:
        self._per_minute = per_minute
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()

    def take(self, token: str, address: str) -> None:
        """Count one request. Raises RateLimited with the time until the next one is free."""
        if token:
            self._take(f"address of tokens {address}", self._per_minute * TOKENS_AN_ADDRESS)
        self._take(f"token {token}" if token else f"address {address}", self._per_minute)

    def _take(self, name: str, per_minute: float) -> None:
        now, key = self._clock(), hashlib.blake2b(name.encode(), digest_size=16).digest()
        bucket = self._buckets.pop(key, None) or _Bucket(per_minute, now)
        bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / 60)
        bucket.at = now
        self._buckets[key] = bucket
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            raise RateLimited(
                "too many requests: come back later", retry_seconds=(1 - bucket.left) * 60 / per_minute, quota="requests_per_minute"
            )
        bucket.left -= 1
