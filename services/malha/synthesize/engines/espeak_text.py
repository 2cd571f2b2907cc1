"""Text as espeak-ng reads it well, and the way back from its word positions to the caller's characters."""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from malha.synthesize.engine import Mark

_ZERO_WIDTH_JOINER = "\u200d"
_AROUND_WORDS = "\"'`“”‘’«»‹›()[]{}<>,.;:!?¿¡…—–-*_~|"  # noqa: RUF001 - the dashes and quotes of typeset text
_MAX_PHONEMES = 900


@dataclass(frozen=True, slots=True)
class Prepared:
    """Text to speak. Character ``i`` of it came from ``origins[i]`` of the caller's; one more entry marks the end."""

    text: str
    origins: tuple[int, ...]


def prepare(text: str) -> Prepared:
    """Compose accents (espeak-ng does not know decomposed ones) and take out what is not text.

    Control characters, which espeak-ng could take for commands, become spaces; so do private and unassigned ones. Invisible ones are dropped,
    save the joiner that makes one emoji of several.
    """
    characters, origins = [], []
    for start, cluster in _clusters(text):
        for character in unicodedata.normalize("NFC", cluster):
            category = unicodedata.category(character)
            if category == "Cf" and character != _ZERO_WIDTH_JOINER:
                continue
            characters.append(" " if category[0] in "CZ" and character != _ZERO_WIDTH_JOINER else character)
            origins.append(start)
    return Prepared("".join(characters), (*origins, len(text)))


def _clusters(text: str) -> Iterator[tuple[int, str]]:
    """Characters with the combining marks that follow them, and where they begin."""
    start = 0
    for index in range(1, len(text) + 1):
        if index == len(text) or not unicodedata.combining(text[index]):
            yield start, text[start:index]
            start = index


def portions(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of the parts a prepared text has to be spoken in: one, but for texts full of numbers, symbols or emoji.

    espeak-ng drops, without a word, what goes beyond 1000 phonemes in one clause.
    """
    start = space = 0
    phonemes = 0
    for index, character in enumerate(text):
        phonemes += _phonemes(character)
        if phonemes > _MAX_PHONEMES:
            end = space if space > start else index
            yield start, end
            start, phonemes = end, sum(map(_phonemes, text[end : index + 1]))
        if character == " ":
            space = index + 1
    yield start, len(text)


def _phonemes(character: str) -> int:
    """How many a character may take at most, roughly: a letter two, a digit its name and its power of ten, a symbol a phrase."""
    if character in _AROUND_WORDS or character.isspace():
        return 0
    if character.isalpha():
        return 2
    return 10 if character.isdigit() else 50


class Words:
    """The words of a prepared text: what stands between spaces, without the punctuation around it.

    espeak-ng tells several positions for one word (parts of a number, of an emoji's name, of a hyphenated word) and inexact ones for some
    of them: the first one tells where the word begins.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._origins = prepared.origins
        self._spans = list(_spans(prepared.text))
        self._starts = [start for start, _, _ in self._spans]
        self._told = -1

    def mark(self, position: int, time: float) -> Mark | None:
        """The word at a position of the prepared text, which sounds from ``time`` on; None if it, or one after it, was told before."""
        index = bisect_right(self._starts, position) - 1
        if index <= self._told:
            return None
        self._told = index
        _, first, end = self._spans[index]
        return Mark(self._origins[first], self._origins[end], time)


def _spans(text: str) -> Iterator[tuple[int, int, int]]:
    """(start with punctuation, start, end) of each word."""
    position = 0
    for piece in text.split(" "):
        if piece:
            bare = piece.lstrip(_AROUND_WORDS)
            first = position + len(piece) - len(bare)
            length = len(bare.rstrip(_AROUND_WORDS))
            yield (position, first, first + length) if length else (position, position, position + len(piece))
        position += len(piece) + 1
