"""Personal data out of the lines of a block. A number that goes on in the next line is found all the same: its mask stands where it begins."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from malha.ocr.engine import Line
from malha.text.pii import scrub
from malha.text.spans import Piece, tokens

STRETCH_WORDS: Final = 120
"""Decided at once: the time this takes grows faster than the words."""
AROUND_WORDS: Final = 40
"""Before and behind that are read with them."""


def scrub_block(lines: Sequence[Line], language: str, names: Sequence[str]) -> list[Line]:
    """The lines as they may be shown, white space as single blanks; one that is all part of the mask before it is left out."""
    words = [(number, word) for number, line in enumerate(lines) for word in tokens(line.text)]
    shown: list[list[str]] = [[] for _ in lines]
    place = 0
    while place < len(words):
        stop = min(place + STRETCH_WORDS, len(words))
        first = max(0, place - AROUND_WORDS)
        around = [Piece(word, index, index) for index, (_, word) in enumerate(words[first : stop + AROUND_WORDS], first)]
        for piece in scrub(around, language, names):
            if piece.last < place:
                continue
            if piece.first >= stop:
                break
            shown[words[max(piece.first, place)][0]].append(piece.text)
            place = piece.last + 1
    return [replace(line, text=" ".join(told)) for line, told in zip(lines, shown, strict=True) if told]
