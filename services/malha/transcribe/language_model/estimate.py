"""Estimation of the call-centre trigram model: the project's own sentences, mixed with PocketSphinx's general model of English.

Both are needed: on call sentences neither has seen, the general model has a perplexity of 105, the sentences alone 110, the mixture 55.
The sentences are counted with interpolated absolute discounting, lower orders by continuation counts (Kneser and Ney 1995); the mixture is
linear, and n-grams whose loss changes the distribution least, weighted by how often they are met, are pruned (Seymore and Rosenfeld 1996).
Words outside the vocabulary do not exist: the general model's probabilities are renormalised by the back-off weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from malha.transcribe.language_model.ngrams import Floats, Ints, NGrams

NDBool = NDArray[np.bool_]

BEGIN: Final = "<s>"
END: Final = "</s>"
_NEVER_LOG: Final = -99.0
"""By convention the log10 probability of what is never predicted: the beginning."""
_TINY: Final = 1e-9
_DECIMALS: Final = 4
"""Of logarithms, as in ARPA files: the last bits of NumPy's depend on the processor."""


@dataclass(frozen=True)
class Mixture:
    """How the model is mixed and pruned. The values were chosen on the development sentences of ``heldout_calls.txt``."""

    text_weight: float = 0.5
    bigram_discount: float = 0.7
    trigram_discount: float = 0.8
    bigram_threshold: float = 2e-7
    trigram_threshold: float = 3e-7
    """What an n-gram's loss must change (natural log, weighted by its probability) for it to be kept."""


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order: sorted keys, and for each its probability and its back-off weight as a history (1 for trigrams)."""

    keys: Ints
    probability: Floats
    backoff: Floats

    def find(self, keys: Ints) -> tuple[Ints, NDBool]:
        """The index of each key, and whether it is there."""
        if not self.keys.size:
            return np.zeros(keys.shape, np.int64), np.zeros(keys.shape, bool)
        index = np.minimum(np.searchsorted(self.keys, keys), self.keys.size - 1)
        return index, self.keys[index] == keys


class _Text:
    """The discounted counts of the sentences. Words are ids; a bigram's key is ``first * size + last``, and so on."""

    def __init__(self, sentences: Sequence[Sequence[int]], begin: int, end: int, size: int, mixture: Mixture) -> None:
        self._size, self._mixture = size, mixture
        padded = [np.array((begin, *sentence, end)) for sentence in sentences]
        first, second, last = (np.concatenate([words[at : len(words) - 2 + at] for words in padded]) for at in range(3))
        self.trigrams, self._trigram_counts = np.unique((first * size + second) * size + last, return_counts=True)
        # Of lower orders it counts after how many different words they came; of a sentence's begin, how often.
        opening = np.array([words[0] * size + words[1] for words in padded])
        self.bigrams, self._bigram_counts = np.unique(
            np.concatenate([self.trigrams % (size * size), opening]),
            return_counts=True,
        )
        unigrams = np.bincount(self.bigrams % size, minlength=size).astype(np.float64)
        self.unigram = unigrams / unigrams.sum()
        self._bigram_total, self._bigram_freed = self._histories(self.bigrams // size, self._bigram_counts, size, mixture.bigram_discount)
        self._contexts, inverse = np.unique(self.trigrams // size, return_inverse=True)
        self._trigram_total, self._trigram_freed = self._histories(
            inverse, self._trigram_counts, self._contexts.size, mixture.trigram_discount
        )

    @staticmethod
    def _histories(history: Ints, counts: Ints, size: int, discount: float) -> tuple[Floats, Floats]:
        """For each history: how often it was met, and the share of that which discounting frees for lower orders."""
        total: Floats = np.bincount(history, counts, size).astype(np.float64)
        freed = discount * np.bincount(history, minlength=size)
        return total, np.divide(freed, total, out=np.ones(size), where=total > 0)

    def bigram(self, keys: Ints) -> Floats:
        """P(last | first)."""
        first, last = keys // self._size, keys % self._size
        kept = self._kept(self.bigrams, self._bigram_counts, keys, self._mixture.bigram_discount)
        probability: Floats = kept / np.maximum(self._bigram_total[first], 1) + self._bigram_freed[first] * self.unigram[last]
        return probability

    def trigram(self, keys: Ints) -> Floats:
        """P(last | first, second)."""
        lower = self.bigram(keys % (self._size * self._size))
        index = np.minimum(np.searchsorted(self._contexts, keys // self._size), self._contexts.size - 1)
        known = self._contexts[index] == keys // self._size
        kept = self._kept(self.trigrams, self._trigram_counts, keys, self._mixture.trigram_discount)
        return np.where(known, kept / self._trigram_total[index] + self._trigram_freed[index] * lower, lower)

    @staticmethod
    def _kept(known: Ints, counts: Ints, keys: Ints, discount: float) -> Floats:
        index = np.minimum(np.searchsorted(known, keys), known.size - 1)
        return np.where(known[index] == keys, counts[index] - discount, 0.0)


class _General:
    """The general model, seen through the vocabulary."""

    def __init__(self, model: NGrams, words: Sequence[str]) -> None:
        size = len(words)
        ids = {word: index for index, word in enumerate(words)}
        renumbered = np.array([ids.get(word, -1) for word in model.words])
        inside = renumbered >= 0
        unigram = np.zeros(size)
        unigram[renumbered[inside]] = 10.0 ** model.unigram_log[inside]
        self.unigram = unigram / unigram.sum()
        self._backoff = np.ones(size)
        self._backoff[renumbered[inside]] = 10.0 ** model.unigram_backoff[inside]
        self._size = size
        self._bigrams = self._order(renumbered[model.bigrams], model.bigram_log, model.bigram_backoff)
        self._trigrams = self._order(renumbered[model.trigrams], model.trigram_log, np.zeros(len(model.trigrams)))
        self.bigrams, self.trigrams = self._bigrams.keys, self._trigrams.keys

    def _order(self, rows: Ints, log: Floats, backoff_log: Floats) -> _Order:
        inside = (rows >= 0).all(axis=1)
        rows = rows[inside]
        keys = rows[:, 0]
        for column in rows.T[1:]:
            keys = keys * self._size + column
        by_key = np.argsort(keys)
        return _Order(keys[by_key], 10.0 ** log[inside][by_key], 10.0 ** backoff_log[inside][by_key])

    def bigram(self, keys: Ints) -> Floats:
        """P(last | first)."""
        index, known = self._bigrams.find(keys)
        return np.where(known, self._bigrams.probability[index], self._backoff[keys // self._size] * self.unigram[keys % self._size])

    def trigram(self, keys: Ints) -> Floats:
        """P(last | first, second)."""
        index, known = self._trigrams.find(keys)
        context, context_known = self._bigrams.find(keys // self._size)
        weight = np.where(context_known, self._bigrams.backoff[context], 1.0)
        return np.where(known, self._trigrams.probability[index], weight * self.bigram(keys % (self._size * self._size)))


def estimate(sentences: Sequence[Sequence[str]], general: NGrams, vocabulary: Sequence[str], mixture: Mixture) -> NGrams:
    """The mixed, pruned trigram model. Words of the sentences must be in the vocabulary."""
    words = (*sorted(vocabulary), END, BEGIN)
    size, end, begin = len(words), len(words) - 2, len(words) - 1
    ids = {word: index for index, word in enumerate(words)}
    text = _Text([[ids[word] for word in sentence] for sentence in sentences], begin, end, size, mixture)
    other = _General(general, words)
    share = mixture.text_weight

    unigram = share * text.unigram + (1 - share) * other.unigram
    unigram[begin] = 0.0
    unigram /= unigram.sum()
    met = unigram.copy()
    met[begin] = unigram[end]

    keys = np.union1d(text.bigrams, other.bigrams)
    keys = keys[keys % size != begin]
    first, last = keys // size, keys % size
    bigram = share * text.bigram(keys) + (1 - share) * other.bigram(keys)
    kept, unigram_backoff = _prune(first, bigram, unigram[last], met[first], size, mixture.bigram_threshold)
    bigrams = _Order(keys[kept], bigram[kept], np.ones(int(kept.sum())))

    def lower(pairs: Ints) -> Floats:
        index, known = bigrams.find(pairs)
        return np.where(known, bigrams.probability[index], unigram_backoff[pairs // size] * unigram[pairs % size])

    keys = np.union1d(text.trigrams, other.trigrams)
    keys = keys[keys % size != begin]
    contexts, history = np.unique(keys // size, return_inverse=True)
    trigram = share * text.trigram(keys) + (1 - share) * other.trigram(keys)
    met_context = met[contexts // size] * (share * text.bigram(contexts) + (1 - share) * other.bigram(contexts))
    suffixes = keys % (size * size)
    kept, context_backoff = _prune(history, trigram, lower(suffixes), met_context[history], contexts.size, mixture.trigram_threshold)
    keys, trigram = keys[kept], trigram[kept]

    # The format wants the first two and the last two words of every trigram as bigrams too.
    pairs = np.unique(np.concatenate([bigrams.keys, keys // size, keys % (size * size)]))
    context = np.minimum(np.searchsorted(contexts, pairs), contexts.size - 1)
    pair_backoff = np.where(contexts[context] == pairs, context_backoff[context], 1.0)
    by_last = np.lexsort((pairs // size, pairs % size))
    pairs, pair_backoff = pairs[by_last], pair_backoff[by_last]
    by_last = np.lexsort((keys // (size * size), keys // size % size, keys % size))
    keys, trigram = keys[by_last], trigram[by_last]
    unigram_log = _log(unigram)
    unigram_log[begin] = _NEVER_LOG
    return NGrams(
        words=words,
        unigram_log=unigram_log,
        unigram_backoff=_log(unigram_backoff),
        bigrams=np.stack([pairs // size, pairs % size], axis=1),
        bigram_log=_log(lower(pairs)),
        bigram_backoff=_log(pair_backoff),
        trigrams=np.stack([keys // (size * size), keys // size % size, keys % size], axis=1),
        trigram_log=_log(trigram),
    )


def _log(values: Floats) -> Floats:
    logarithms: Floats = np.log10(np.maximum(values, _TINY))
    return logarithms.round(_DECIMALS)


def _prune(history: Ints, high: Floats, low: Floats, met: Floats, size: int, threshold: float) -> tuple[NDBool, Floats]:
    """Which n-grams to keep, and the back-off weight of every history.

    ``high`` and ``low`` are each n-gram's probability and that of its suffix, ``met`` how often its history is met, of all words.
    """

    def backoff(kept: NDBool) -> Floats:
        left = 1 - np.bincount(history[kept], high[kept], size)
        left_lower = 1 - np.bincount(history[kept], low[kept], size)
        return np.maximum(left, _TINY) / np.maximum(left_lower, _TINY)

    weight = backoff(np.ones(history.size, bool))
    change = met * high * np.log(np.maximum(high, _TINY) / np.maximum(weight[history] * low, _TINY))
    kept = change > threshold
    return kept, backoff(kept)
