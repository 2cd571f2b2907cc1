"""The voices of a stream and when they speak, as they have been told, and what a new look at the stream makes of them."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from malha.diarize.engine import Embedding
from malha.diarize.engines.pyannote_messages import Print, Said, Told

LIKE: Final = 0.5
"""The least cosine at which a voice that spoke nowhere near is taken for one of before. Clustering all chunks decides it later."""
TOUCHING_SECONDS: Final = 0.05
"""What was told before and what follows in a look are one turn where they are so near."""


class Look(NamedTuple):
    """Who speaks from ``since`` on, by names of its own."""

    since: float
    said: Sequence[Said]
    prints: Mapping[int, Embedding]
    whole: bool
    """Whether it is at all of the stream."""


class KnownVoices:
    """Names voices as they were named before."""

    def __init__(self, max_speakers: int) -> None:
        self._most = max_speakers
        self._said: list[Said] = []
        self._prints: dict[int, Embedding] = {}

    def take(self, look: Look) -> Told:
        """What to tell after a look."""
        names = self._names(look)
        if look.whole:
            self._prints.clear()
        for voice, embedding in look.prints.items():
            if look.whole or names[voice] not in self._prints:
                self._prints[names[voice]] = embedding
        said = _joined(
            [
                *(one._replace(end=min(one.end, look.since)) for one in self._said if one.start < look.since),
                *(Said(max(one.start, look.since), one.end, names[one.voice]) for one in look.said if one.end > look.since),
            ]
        )
        kept = next(
            (at for at, (old, new) in enumerate(zip(self._said, said, strict=False)) if old != new), min(len(self._said), len(said))
        )
        self._said = said
        return Told(kept, tuple(said[kept:]), tuple(map(Print._make, self._prints.items())) if look.whole else ())

    def _names(self, look: Look) -> dict[int, int]:
        """The name of each voice in a look: that of the one it shares most time with, most time first; then of one alike; then a new one."""
        names: dict[int, int] = {}
        shared = self._shared(look)
        for (voice, known), _ in sorted(shared.items(), key=lambda item: -item[1]):
            if voice not in names and known not in names.values():
                names[voice] = known
        for voice in dict.fromkeys(one.voice for one in sorted(look.said)):
            if voice not in names:
                alike = None if look.whole else self._alike(look.prints.get(voice), set(names.values()))
                names[voice] = _free(set(names.values()) | (set() if look.whole else self._taken)) if alike is None else alike
        return names

    @property
    def _taken(self) -> set[int]:
        return {one.voice for one in self._said}

    def _shared(self, look: Look) -> dict[tuple[int, int], float]:
        """Seconds that a voice in the look and a known one have in common."""
        shared: dict[tuple[int, int], float] = {}
        for one in look.said:
            for other in self._said:
                seconds = min(one.end, other.end) - max(one.start, other.start)
                if seconds > 0:
                    shared[one.voice, other.voice] = shared.get((one.voice, other.voice), 0.0) + seconds
        return shared

    def _alike(self, embedding: Embedding | None, but: set[int]) -> int | None:
        """The known voice that is most like this one, where it is like enough or there can be no more."""
        others = {name: known for name, known in self._prints.items() if name not in but}
        full = bool(self._most) and len(self._taken) >= self._most
        if embedding is None or not others:
            return min(self._taken, default=None) if full else None
        name, cosine = max(((name, float(np.dot(known, embedding))) for name, known in others.items()), key=lambda pair: pair[1])
        return name if full or cosine >= LIKE else None


def _free(taken: set[int]) -> int:
    return next(name for name in range(len(taken) + 1) if name not in taken)


def _joined(said: list[Said]) -> list[Said]:
    """In order of time; what one voice says without a gap is one."""
    joined: list[Said] = []
    last: dict[int, int] = {}
    for one in sorted(said):
        at = last.get(one.voice)
        if at is not None and one.start - joined[at].end <= TOUCHING_SECONDS:
            joined[at] = joined[at]._replace(end=max(joined[at].end, one.end))
        elif one.end > one.start:
            last[one.voice] = len(joined)
            joined.append(one)
    return joined
