"""Which voice a window is, the moment it is heard: the nearest of those known, or a new one.

Incremental clustering by the mean of each voice, with a threshold below which a voice is new (Coria et al., "Overlap-aware low-latency online
speaker diarization", ASRU 2021), and short windows, which are less sure, neither begin nor move a voice. What it decides is looked at again:
`malha.diarize.clustering` groups all windows so far every so often, and its groups then are the voices.
"""

from typing import Final

import numpy as np

from malha.diarize.clustering import MAX_VOICES, Array, Labels, means, normalised
from malha.diarize.engine import Embedding

NEW_BELOW: Final = 0.66
"""A window less like every voice than this is a new one."""
SURE_ABOVE: Final = 0.72
"""A window more like a voice than this makes its mean more exact."""
SURE_SECONDS: Final = 1.0
"""Of speech that a window must have for either."""


class Voices:
    """The voices of one stream."""

    def __init__(self, max_speakers: int) -> None:
        self._most = min(max_speakers or MAX_VOICES, MAX_VOICES)
        self._sums: Array = np.zeros((0, 0), np.float32)
        self._seconds: Array = np.zeros(0, np.float32)

    @property
    def count(self) -> int:
        """Voices that somebody has: one that was given up leaves a name without speech behind."""
        return int(np.count_nonzero(self._seconds))

    @property
    def means(self) -> Array:
        """(voices, dimension)."""
        return normalised(self._sums)

    @property
    def seconds(self) -> Array:
        """Speech behind each mean."""
        return self._seconds

    def hear(self, embedding: Embedding, seconds: float) -> int:
        """The voice of a window, from 0."""
        if not self.count:
            self._sums = embedding[None] * np.float32(seconds)
            self._seconds = np.array([seconds], np.float32)
            return 0
        cosines = self.means @ embedding
        nearest = int(np.argmax(cosines))
        sure = seconds >= SURE_SECONDS
        if sure and cosines[nearest] < NEW_BELOW and self.count < self._most:
            self._sums = np.vstack([self._sums, embedding * np.float32(seconds)])
            self._seconds = np.append(self._seconds, np.float32(seconds))
            return len(self._sums) - 1
        if sure and cosines[nearest] > SURE_ABOVE:
            self._sums[nearest] += embedding * np.float32(seconds)
            self._seconds[nearest] += np.float32(seconds)
        return nearest

    def adopt(self, prints: Array, seconds: Array, groups: Labels, heard: Labels) -> Labels:
        """Take over what grouping all windows so far has found; the windows' voices after that.

        ``heard``: their voices before. A group keeps the name of the voice it shares most speech with; others get new names.
        """
        names = _matched(groups, heard, seconds)
        labels = names[groups]
        found = means(prints, seconds, groups)
        spoken = np.bincount(groups, seconds).astype(np.float32)
        count = max(int(names.max()) + 1, len(self._sums))
        sums, lengths = np.zeros((count, prints.shape[1]), np.float32), np.zeros(count, np.float32)
        sums[names], lengths[names] = found * spoken[:, None], spoken
        self._sums, self._seconds = sums, lengths
        return labels


def _matched(groups: Labels, heard: Labels, seconds: Array) -> Labels:
    """The name of each group: greedily by shared speech, the largest share first."""
    count, known = int(groups.max()) + 1, int(heard.max()) + 1
    shared = np.zeros((count, known))
    np.add.at(shared, (groups, heard), seconds)
    names = np.full(count, -1, np.intp)
    for flat in np.argsort(-shared, axis=None):
        one, name = divmod(int(flat), known)
        if shared[one, name] > 0 and names[one] < 0 and name not in names:
            names[one] = name
    free = iter(sorted(set(range(known + count)) - set(names.tolist())))
    for one in range(count):
        if names[one] < 0:
            names[one] = next(free)
    return names
