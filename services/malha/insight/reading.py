"""Texts as the checks of an answer read them: each form is made once, when first asked for, however many checks ask.

A call's window is read for every type of insight that is asked about, and its forms are what a check costs; the last few dozen texts are kept, so
that the second answer to a question finds them ready. What is kept is scrubbed as the window is, never leaves the process, and is forgotten when a call ends.
"""

import unicodedata
from functools import cached_property, lru_cache
from typing import Final

from malha.insight.claims import amounts, plain
from malha.insight.words import Word, content, words
from malha.text.numbers import fold_numbers
from malha.text.spans import joined, pieces
from malha.text.tokens import primary

KEPT: Final = 64
"""Texts whose forms are kept."""


class Text:
    """One text in one language (a BCP 47 tag) and its forms."""

    def __init__(self, text: str, language: str) -> None:
        self.text = unicodedata.normalize("NFKC", text)
        self.language = language

    @cached_property
    def plain(self) -> str:
        """As ``claims`` reads it."""
        return plain(self.text)

    @cached_property
    def digits(self) -> str:
        """With number words as digits."""
        return joined(fold_numbers(pieces(self.text), primary(self.language)))

    @cached_property
    def amounts(self) -> set[str]:
        """Percentages and prices, see ``claims.amounts``."""
        return amounts(self.text)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The stems of all its words, one after the other."""
        return tuple(word.stem for word in self._words)

    @cached_property
    def stems(self) -> frozenset[str]:
        """The same, each once."""
        return frozenset(self.order)

    @cached_property
    def content(self) -> tuple[str, ...]:
        """The stems that carry meaning, in their order."""
        return tuple(content(self._words, self.language))

    @cached_property
    def _words(self) -> tuple[Word, ...]:
        return words(self.text, self.language)


@lru_cache(maxsize=KEPT)
def read(text: str, language: str) -> Text:
    """A text to be read; the same object for the same text, as long as it is kept."""
    return Text(text, language)


def forget() -> None:
    """Drop all texts that are kept. Those of calls that go on are read anew when they are asked for."""
    read.cache_clear()
    plain.cache_clear()
