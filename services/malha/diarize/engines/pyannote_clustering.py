"""Bounds what pyannote's clustering costs: its linkage takes memory, and time, by the square of the number of voices it is given.

Of the voices of a recording, up to three in each chunk of a second, only those that are clear take part in it, and the others go to the nearest
of the clusters they make. So of more voices than there is memory for, as many take part as there is, evenly from the beginning to the end; earlier
versions of pyannote had such a limit of their own (``max_num_embeddings``).
"""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

PAIR_BYTES: Final = 8
"""scipy's linkage keeps the distance of each pair of voices in 64 bits, twice: measured, 275 MB for 6,000 voices."""

Array = npt.NDArray[Any]
Filter = Callable[..., tuple[Array, Array, Array]]
"""``BaseClustering.filter_embeddings``: to (voices, dimension) embeddings, and of each its chunk and its place there."""


def most_voices(memory_bytes: int) -> int:
    """How many voices may be clustered in so much memory."""
    return math.isqrt(memory_bytes // PAIR_BYTES)


def thinned(clear: Filter, most: int) -> Filter:
    """The same filter, which lets no more than so many through."""

    def some(*given: Any, **named: Any) -> tuple[Array, Array, Array]:
        embeddings, chunks, speakers = clear(*given, **named)
        if len(embeddings) <= most:
            return embeddings, chunks, speakers
        chosen = np.linspace(0, len(embeddings) - 1, most).round().astype(np.intp)
        return embeddings[chosen], chunks[chosen], speakers[chosen]

    return some
