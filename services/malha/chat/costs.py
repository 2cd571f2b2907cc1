"""What calls of models cost each tenant of late: sums over the last hour and the last day, read when they are scraped.

They are this process's own and begin with it; what a tenant's budget has left stands in the database.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from malha.runtime.metrics import TenantLabels

HOUR: Final = 3_600.0
DAY: Final = 86_400.0
PARTS: Final = 60
"""A sum is as fine as one part of its time: a minute of the hour, 24 of the day."""


class Lately:
    """The sum of what was added in the last ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._part_seconds = seconds / PARTS
        self._parts: deque[tuple[int, float]] = deque()
        """Number since the clock's zero, and what was added in it. Parts in which nothing was are left out."""

    def add(self, amount: float, now: float) -> None:
        """Count an amount at ``now``, in seconds of a clock that never goes back."""
        number = int(now // self._part_seconds)
        before = self._parts.pop()[1] if self._parts and self._parts[-1][0] == number else 0.0
        self._parts.append((number, before + amount))
        self._forget(number)

    def total(self, now: float) -> float:
        """The sum at ``now``."""
        self._forget(int(now // self._part_seconds))
        return sum(amount for _, amount in self._parts)

    def _forget(self, number: int) -> None:
        while self._parts and self._parts[0][0] <= number - PARTS:
            self._parts.popleft()


class Costs(Collector):
    """The gauges of all tenants. Counted on the loop, read on the thread that answers a scrape."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._labels = TenantLabels()
        self._tenants: dict[str, tuple[Lately, Lately]] = {}
        self._lock = Lock()

    def add(self, tenant: str, cost: float) -> None:
        """Count what a call cost."""
        if not cost:
            return
        now = self._clock()
        with self._lock:
            label = self._labels.of(tenant)
            windows = self._tenants.get(label)
            if windows is None:
                windows = self._tenants[label] = Lately(HOUR), Lately(DAY)
            for window in windows:
                window.add(cost, now)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics, as they are now."""
        hour = GaugeMetricFamily("malha_ai_cost_hour", "Cost of a tenant's calls of models in the last hour.", labels=("tenant",))
        day = GaugeMetricFamily("malha_ai_cost_day", "Cost of a tenant's calls of models in the last 24 hours.", labels=("tenant",))
        now = self._clock()
        with self._lock:
            for label, windows in self._tenants.items():
                for family, window in zip((hour, day), windows, strict=True):
                    family.add_metric((label,), window.total(now))
        yield hour
        yield day


COSTS: Final = Costs()
REGISTRY.register(COSTS)
