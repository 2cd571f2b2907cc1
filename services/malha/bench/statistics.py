"""What a run is judged by: percentiles, and whether anything was lost or told twice."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Boundary = tuple[int, float, float]
"""A segment as far as it must not differ between two sessions over the same audio: channel, start and end in seconds."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of values in ascending order; NaN of none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary(values: Iterable[float], shares: Sequence[int] = (50, 95, 99)) -> dict[str, float | None]:
    """``{"p50": ..., "p95": ..., ...}`` rounded to microseconds where values are milliseconds; None where there are no values."""
    ordered = sorted(values)
    return {f"p{share}": round(percentile(ordered, share / 100), 3) if ordered else None for share in shares}


@dataclass(slots=True)
class Ledger:
    """What one session was told. ``seq`` of durable events must run 1, 2, 3, ... and every final segment must be told once.

    ``lost`` counts: sequence numbers never seen, finals that the server's own summary counts and that never came, and the end itself if it
    was not told. ``duplicated`` counts: sequence numbers seen before, and a second final of the same segment.
    """

    boundaries: list[Boundary] = field(default_factory=list)
    """Of the finals with a duration, in the order they came."""
    summary_segments: int | None = None
    ended: bool = False
    error: str = ""
    """The ``reason`` of an error event, or why the socket closed."""
    _highest: int = 0
    _seen: int = 0
    _repeated: int = 0
    _finals: set[tuple[str, int]] = field(default_factory=set)
    _final_repeated: int = 0
    _with_text: int = 0

    def told(self, seq: int) -> None:
        """A durable event came."""
        if seq <= self._highest:
            self._repeated += 1
            return
        self._seen += 1
        self._highest = seq

    def final(self, segment: str, revision: int, text: str, boundary: Boundary) -> None:
        """A final segment came."""
        if (segment, revision) in self._finals:
            self._final_repeated += 1
            return
        self._finals.add((segment, revision))
        self._with_text += bool(text)
        self.boundaries.append(boundary)

    @property
    def finals(self) -> int:
        return len(self._finals)

    def until(self, seconds: float) -> list[Boundary]:
        """The finals that end before this second of the call."""
        return [boundary for boundary in self.boundaries if boundary[2] < seconds]

    @property
    def lost(self) -> int:
        missing = 0 if self.summary_segments is None else self.summary_segments - self._with_text
        return max(self._highest - self._seen, missing) + (not self.ended)

    @property
    def duplicated(self) -> int:
        surplus = 0 if self.summary_segments is None else self._with_text - self.summary_segments
        return max(self._repeated, self._final_repeated, surplus)


def compare(reference: Iterable[Boundary], told: Iterable[Boundary]) -> tuple[int, int]:
    """How many segments of a reference session are missing in another over the same audio, and how many it has besides."""
    wanted, got = Counter(reference), Counter(told)
    return (wanted - got).total(), (got - wanted).total()
