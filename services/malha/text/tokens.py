"""What every step needs to know of a token: its punctuation, its folded form, and the language it is read in."""

import unicodedata
from typing import NamedTuple

_QUOTES = "\"'\u2018\u2019\u201c\u201d\u00ab\u00bb"
_DASHES = "-\u2013\u2014"
OPENING = _QUOTES + _DASHES + "([{\u00bf\u00a1\u2026"
CLOSING = _QUOTES + _DASHES + ")]}.,;:!?\u2026"


class Token(NamedTuple):
    """A token taken apart; ``lead + core + tail`` is the token."""

    lead: str
    core: str
    tail: str


def split(token: str) -> Token:
    """Part the punctuation around a token from its core, which is empty where the token is nothing but punctuation."""
    if token.isalnum():
        return Token("", token, "")
    bare = token.lstrip(OPENING)
    core = bare.rstrip(CLOSING)
    return Token(token[: len(token) - len(bare)], core, bare[len(core) :])


def fold(word: str) -> str:
    """``word`` without case and accents: how a word is compared."""
    if word.isascii():
        return word.lower()
    return "".join(mark for mark in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(mark))


def primary(language: str) -> str:
    """The language of a tag: ``pt`` for ``pt-BR`` and ``pt_PT``; empty for none."""
    return language.replace("_", "-").partition("-")[0].lower()


def word_set(text: str) -> frozenset[str]:
    """The words of ``text``: how a word list is written down."""
    return frozenset(text.split())
