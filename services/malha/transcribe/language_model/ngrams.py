"""Trigram models in memory, and in the binary trie format of PocketSphinx: the one its own model comes in, read in milliseconds.

PocketSphinx itself can write the format, but through the C library's ``qsort`` with a comparison that is no order, so that the bytes depend
on the machine. This writer's depend on the model alone. Format: ``ngram_model_trie.c``, ``lm_trie.c`` and ``lm_trie_quant.c`` of
PocketSphinx 5; little-endian throughout::

    "Trie Language Model" | order: u8 | counts: u32 x order | 1: i32 | quantisation tables: f32
    unigrams (count + 1): f32 probability, f32 back-off, u32 first bigram | bigrams, bit-packed | trigrams, bit-packed
    length: u32 | words, each with a NUL

The trie is walked from an n-gram's last word to its first. Logarithms have the base 1.0001.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LOG10_OF_BASE: Final = math.log10(1.0001)
_MAGIC: Final = b"Trie Language Model"
_BINS: Final = 1 << 16
_ORDER: Final = 3
_SPARE_BYTES: Final = 8
_UNIGRAM: Final = np.dtype([("probability", "<f4"), ("backoff", "<f4"), ("first", "<u4")])


class FormatError(ValueError):
    """The file is not a trigram model in PocketSphinx's binary format."""


@dataclass(frozen=True)
class NGrams:
    """A back-off model. Probabilities and back-off weights are log10. Words are indices into ``words``.

    ``bigrams`` has the columns (first, last), ``trigrams`` (first, second, last). Both are sorted by last word, then the one before it.
    """

    words: tuple[str, ...]
    unigram_log: Floats
    unigram_backoff: Floats
    bigrams: Ints
    bigram_log: Floats
    bigram_backoff: Floats
    trigrams: Ints
    trigram_log: Floats


def read(path: Path) -> NGrams:
    """Read a model. Raises FormatError."""
    data = path.read_bytes()
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC)] != _ORDER:
        raise FormatError(f"{path.name} is not a trigram model in the binary format of PocketSphinx")
    at = len(_MAGIC) + 1
    unigram_count, bigram_count, trigram_count = struct.unpack_from("<3I", data, at)
    at += 4 * _ORDER + 4
    tables = np.frombuffer(data, "<f4", 3 * _BINS, at).reshape(3, _BINS).astype(np.float64) * LOG10_OF_BASE
    at += tables.size * 4
    unigrams = np.frombuffer(data, _UNIGRAM, unigram_count + 1, at)
    at += unigrams.nbytes
    word_bits, next_bits = unigram_count.bit_length(), trigram_count.bit_length()
    bigrams = _unpack(data, at, bigram_count + 1, (word_bits, 16, 16, next_bits))
    at += _packed_bytes(bigram_count, word_bits + 32 + next_bits)
    trigrams = _unpack(data, at, trigram_count, (word_bits, 16))
    at += _packed_bytes(trigram_count, word_bits + 16)
    words = data[at + 4 :].decode().split("\0")[:-1]
    # PocketSphinx's own model counts more n-grams than it holds.
    begins = unigrams["first"].astype(np.int64)
    bigram_last = np.repeat(np.arange(unigram_count), begins[1:] - begins[:-1])
    held = bigram_last.size
    begins = bigrams[3][: held + 1]
    parents = np.repeat(np.arange(held), begins[1:] - begins[:-1])
    return NGrams(
        words=tuple(words),
        unigram_log=unigrams["probability"][:-1].astype(np.float64) * LOG10_OF_BASE,
        unigram_backoff=unigrams["backoff"][:-1].astype(np.float64) * LOG10_OF_BASE,
        bigrams=np.stack([bigrams[0][:held], bigram_last], axis=1),
        bigram_log=tables[0][bigrams[2][:held]],
        bigram_backoff=tables[1][bigrams[1][:held]],
        trigrams=np.stack([trigrams[0][: parents.size], bigrams[0][parents], bigram_last[parents]], axis=1),
        trigram_log=tables[2][trigrams[1][: parents.size]],
    )


def write(model: NGrams, path: Path) -> None:
    """Write a model. For each trigram (a, b, c) the bigrams (a, b) and (b, c) must be there."""
    size = len(model.words)
    word_bits, next_bits = size.bit_length(), len(model.trigrams).bit_length()
    probability_table, probability = _quantise(model.bigram_log)
    backoff_table, backoff = _quantise(model.bigram_backoff)
    trigram_table, trigram = _quantise(model.trigram_log)
    first, last = model.bigrams.T
    # Where each bigram's trigrams begin; one more entry tells where the last one's end.
    keys = last * size + first
    begins = np.searchsorted(model.trigrams[:, 2] * size + model.trigrams[:, 1], np.append(keys, size * size))
    zero = np.zeros(1, np.int64)
    unigrams = np.zeros(size + 1, _UNIGRAM)
    unigrams["probability"][:-1] = model.unigram_log / LOG10_OF_BASE
    unigrams["backoff"][:-1] = model.unigram_backoff / LOG10_OF_BASE
    unigrams["first"] = np.searchsorted(last, np.arange(size + 1))
    names = "".join(f"{word}\0" for word in model.words).encode()
    path.write_bytes(
        b"".join(
            (
                _MAGIC,
                struct.pack("<B3Ii", _ORDER, size, len(first), len(model.trigrams), 1),
                (np.stack([probability_table, backoff_table, trigram_table]) / LOG10_OF_BASE).astype("<f4").tobytes(),
                unigrams.tobytes(),
                _pack(
                    (
                        (np.append(first, zero), word_bits),
                        (np.append(backoff, zero), 16),
                        (np.append(probability, zero), 16),
                        (begins, next_bits),
                    )
                ),
                _pack(((np.append(model.trigrams[:, 0], zero), word_bits), (np.append(trigram, zero), 16))),
                struct.pack("<I", len(names)),
                names,
            )
        )
    )


def _quantise(values: Floats) -> tuple[Floats, Ints]:
    """A sorted table of 65,536 values, and for each value the index of the one nearest to it."""
    distinct = np.unique(values)
    table = distinct if distinct.size <= _BINS else np.sort(values)[np.linspace(0, values.size - 1, _BINS).round().astype(np.int64)]
    above = np.clip(np.searchsorted(table, values), 1, table.size - 1) if table.size > 1 else np.zeros(values.size, np.int64)
    nearest = np.where((above > 0) & (values - table[above - 1] <= table[above] - values), above - 1, above)
    return np.append(table, np.full(_BINS - table.size, table[-1])), nearest


def _packed_bytes(entries: int, bits: int) -> int:
    return ((1 + entries) * bits + 7) // 8 + _SPARE_BYTES


def _pack(fields: tuple[tuple[Ints, int], ...]) -> bytes:
    """Entries of bit fields, the lowest bit first, without gaps between them; and the spare bytes PocketSphinx reads over."""
    columns = [((values[:, None] >> np.arange(bits)) & 1).astype(np.uint8) for values, bits in fields]
    return np.packbits(np.concatenate(columns, axis=1).reshape(-1), bitorder="little").tobytes() + bytes(_SPARE_BYTES)


def _unpack(data: bytes, at: int, entries: int, widths: tuple[int, ...]) -> list[Ints]:
    """The fields of so many entries, each as one array."""
    total = sum(widths)
    packed = np.frombuffer(data, np.uint8, min(_packed_bytes(entries, total), len(data) - at), at)
    starts = np.arange(entries, dtype=np.int64) * total
    fields = []
    for width in widths:
        window = np.zeros(entries, np.uint64)
        for byte in range((width + 14) // 8):
            source = np.minimum(starts // 8 + byte, packed.size - 1)
            window |= packed[source].astype(np.uint64) << np.uint64(8 * byte)
        shifted = window >> (starts % 8).astype(np.uint64)
        fields.append((shifted & np.uint64((1 << width) - 1)).astype(np.int64))
        starts = starts + width
    return fields
