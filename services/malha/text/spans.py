"""Tokens that remember where they came from.

The finals of a recogniser carry a time per word. Every step of the text pipeline maps tokens to tokens, may merge or drop some, and each token of output names
the input tokens it rests on, so that its times can be read off them afterwards.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of output and the input it rests on."""

    text: str
    """As shown, punctuation attached."""
    first: int
    """Index of the first input token it came from."""
    last: int
    """Index of the last input token it came from, inclusive."""


def tokens(text: str) -> list[str]:
    """Whitespace tokens, punctuation attached, as recognisers write words; letters and accents composed (NFC), for what is looked for in them is."""
    return unicodedata.normalize("NFC", text).split()


def pieces(text: str) -> list[Piece]:
    """One piece per token of ``text``."""
    return [Piece(token, index, index) for index, token in enumerate(tokens(text))]


def joined(pieces: Sequence[Piece]) -> str:
    """The text that ``pieces`` show, one space between each."""
    return " ".join(piece.text for piece in pieces)
