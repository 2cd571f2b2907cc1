"""Which windows of speech are of one voice, looking at all of them at once.

Spectral clustering with the refined affinities of Wang et al., "Speaker diarization with LSTM" (ICASSP 2018), made for prints as these. How many
voices there are is hard to tell from the eigenvalues of a short call, so windows are first divided among more than there will be; then voices
whose means are as alike as those of one speaker are joined (the hierarchy of Sell and Garcia-Romero, SLT 2014, with the length of what a mean
rests on taken into account). As in Wang et al., "Highly efficient real-time streaming and fully on-device speaker diarization with multi-stage
clustering" (2022), of very many windows the most alike are joined beforehand, so that the work stays bounded.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.intp]

DIVIDED: Final = 5
"""Voices that windows are divided among at first, unless the eigenvalues say more."""
LEAF_SHARE: Final = 4
"""So many windows for each of them there must be."""
KEPT_SHARE: Final = 0.2
"""Of the affinities of a window, the highest count in full, the others as `FAINT`."""
FAINT: Final = 0.01
NOISE_SECONDS: Final = 0.8
"""How much a mean over so many seconds of windows differs by chance: its cosine with another of that voice is smaller by sqrt(1 + this/seconds)."""
SAME_ABOVE: Final = 0.935
"""Two voices whose means are so alike, chance taken out, are one."""
LEAST_SECONDS: Final = 1.8
"""Of windows that make a voice of its own, where another is there."""
MAX_LEAVES, MAX_LINKED = 400, 1600
"""Leaves whose eigenvectors are computed; of more, those most alike are joined; of yet more, neighbours in time."""
MAX_VOICES: Final = 20
ROUNDS: Final = 20


def group(prints: Array, seconds: Array, max_speakers: int = 0) -> Labels:
    """(windows, dimension) unit vectors, in order of time, to labels from 0 in the order they are first met.

    ``seconds``: the speech in each window. ``max_speakers``: 0 for as many as are found.
    """
    count = len(prints)
    most = min(max_speakers or MAX_VOICES, MAX_VOICES)
    if count <= 1 or most == 1:
        return np.zeros(count, np.intp)
    leaf_of = _joined(prints, seconds)
    leaves, spoken = means(prints, seconds, leaf_of), np.bincount(leaf_of, seconds).astype(np.float32)
    return in_order(_united(leaves, spoken, _divided(leaves), most)[leaf_of])


def means(prints: Array, seconds: Array, labels: Labels) -> Array:
    """(voices, dimension) unit vectors: each voice's windows, weighted by their speech."""
    belongs = labels == np.arange(int(labels.max()) + 1)[:, None]
    return normalised((belongs * seconds) @ prints)


def normalised(vectors: Array) -> Array:
    """Of length 1 along the last axis; zeros stay so."""
    lengths: Array = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Array = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32, copy=False)
    return unit


def in_order(labels: Labels) -> Labels:
    """The same groups, numbered in the order they are first met."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.intp)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[inverse]


def _joined(prints: Array, seconds: Array) -> Labels:
    """The leaf of each window: at most `MAX_LEAVES` of them."""
    step = -(-len(prints) // MAX_LINKED)
    leaf_of: Labels = np.arange(len(prints)) // step
    if leaf_of[-1] < MAX_LEAVES:
        return leaf_of
    leaves = means(prints, seconds, leaf_of)
    merges = _linkage(leaves @ leaves.T, np.bincount(leaf_of, seconds).astype(np.float32))
    return _cut(merges, len(leaves), 1.0, MAX_LEAVES)[leaf_of]


def _divided(prints: Array) -> Labels:
    """More groups than there are voices, but none of two, by the eigenvectors of the affinities."""
    most = max(1, len(prints) // LEAF_SHARE)
    if most == 1:
        return np.arange(len(prints))
    values, vectors = np.linalg.eigh(_refined(prints @ prints.T))
    values, vectors = np.maximum(values[::-1], np.finfo(np.float64).tiny), vectors[:, ::-1]
    highest = min(MAX_VOICES, len(prints) - 1)
    gap = 1 + int(np.argmax(values[:highest] / values[1 : highest + 1]))
    return _nearest_means(vectors[:, : min(max(gap, DIVIDED), most)])


def _refined(cosines: Array) -> npt.NDArray[np.float64]:
    """Each window's own most similar count, both ways; then by what they have in common, and each row against its highest."""
    affinities = cosines.astype(np.float64)
    limits = np.quantile(affinities, 1 - KEPT_SHARE, axis=1, keepdims=True)
    affinities = np.where(affinities < limits, affinities * FAINT, affinities)
    affinities = np.maximum(affinities, affinities.T)
    affinities = affinities @ affinities.T
    affinities /= affinities.max(axis=1, keepdims=True)
    return (affinities + affinities.T) / 2


def _nearest_means(points: npt.NDArray[np.float64]) -> Labels:
    """k-means of (points, k), k of them: begun with the longest vector, then each time the one farthest from those chosen."""
    chosen = [int(np.argmax(np.linalg.norm(points, axis=1)))]
    away = np.full(len(points), np.inf)
    while len(chosen) < points.shape[1]:
        away = np.minimum(away, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(away)))
    centres = points[chosen]
    labels: Labels = np.full(len(points), -1, np.intp)
    for _ in range(ROUNDS):
        nearest = np.argmin(np.linalg.norm(points[:, None] - centres, axis=2), axis=1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        for voice in np.unique(labels):
            centres[voice] = points[labels == voice].mean(axis=0)
    return np.unique(labels, return_inverse=True)[1]


def _linkage(cosines: Array, weights: Array) -> list[tuple[float, int, int]]:
    """Every merge of average linkage: (mean cosine, one leaf of each side), by chains of nearest neighbours (Murtagh, 1983)."""
    similar = cosines.astype(np.float64)
    np.fill_diagonal(similar, -np.inf)
    sizes = weights.astype(np.float64)
    alive = np.ones(len(similar), bool)
    merges: list[tuple[float, int, int]] = []
    chain: list[int] = []
    for _ in range(len(similar) - 1):
        if not chain:
            chain.append(int(np.argmax(alive)))
        while True:
            row = similar[chain[-1]]
            nearest = int(np.argmax(row))
            if len(chain) > 1 and row[chain[-2]] >= row[nearest]:
                break
            chain.append(nearest)
        one, other = chain.pop(), chain.pop()
        merges.append((float(similar[one, other]), one, other))
        joint = (similar[one] * sizes[one] + similar[other] * sizes[other]) / (sizes[one] + sizes[other])
        sizes[one] += sizes[other]
        similar[one], similar[:, one] = joint, joint
        similar[one, one] = -np.inf
        similar[other], similar[:, other] = -np.inf, -np.inf
        alive[other] = False
    return merges


def _cut(merges: list[tuple[float, int, int]], count: int, least: float, most: int) -> Labels:
    """The groups after all merges of at least ``least``, and as many more as leave no more than ``most``."""
    parents = list(range(count))

    def root(leaf: int) -> int:
        while parents[leaf] != leaf:
            parents[leaf] = parents[parents[leaf]]
            leaf = parents[leaf]
        return leaf

    left = count
    for cosine, one, other in sorted(merges, reverse=True):
        if cosine < least and left <= most:
            break
        parents[root(other)] = root(one)
        left -= 1
    return np.unique([root(leaf) for leaf in range(count)], return_inverse=True)[1]


def _united(prints: Array, seconds: Array, labels: Labels, most: int) -> Labels:
    """Groups that are of one voice joined, the most alike first, down to ``most``; then what is too small goes to the nearest."""
    while (voices := int(labels.max()) + 1) > 1:
        centres, spoken = means(prints, seconds, labels), np.bincount(labels, seconds)
        cosines = centres @ centres.T
        chance = np.sqrt(1 + NOISE_SECONDS / spoken)
        alike = cosines * chance[:, None] * chance
        np.fill_diagonal(alike, -np.inf)
        one, other = map(int, divmod(int(np.argmax(alike)), voices))
        if alike[one, other] < SAME_ABOVE and voices <= most:
            one = int(np.argmin(spoken))
            if spoken[one] >= LEAST_SECONDS:
                break
            other = int(np.argmax(np.where(np.arange(voices) == one, -np.inf, cosines[one])))
        labels = np.unique(np.where(labels == one, other, labels), return_inverse=True)[1]
    return labels
