"""Token buckets, bounded in number: how often somebody may do something."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from time import monotonic


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Buckets:
    """A bucket for each key. It holds what comes in a minute, so that all of it may be taken at once.

    The least recently used of more than ``most`` keys are forgotten, which gives those a full bucket again: the bound on memory wins
    over exactness.
    """

    def __init__(self, most: int = 16_384, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, per_minute: float, cost: float = 1) -> float:
        """Take ``cost``. 0.0, or the seconds until there is one, and then nothing was taken. What was not there has to flow in first."""
        wait = self.wait(key, per_minute)
        if not wait:
            self._buckets[key].left -= cost
        return wait

    def wait(self, key: Hashable, per_minute: float) -> float:
        """Seconds until one can be taken."""
        now = self._clock()
        bucket = self._buckets.pop(key, None) or _Bucket(per_minute, now)
        bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / 60)
        bucket.at = now
        self._buckets[key] = bucket
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0.0 if bucket.left >= 1 else (1 - bucket.left) * 60 / per_minute
