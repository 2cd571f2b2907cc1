"""The text as detectors read it: number words as digits, letters that were named out loud as letters.

Every character of it belongs to a unit, and every unit to the pieces it was made of.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from malha.text.numbers import fold_numbers
from malha.text.pii.dictated import named_letters, without_asides
from malha.text.pii.words import MAGNITUDES, has_digit, plain
from malha.text.spans import Piece


@dataclass(frozen=True, slots=True)
class View:
    """``text`` and ``plain`` (`words.plain` of it) are alike in length. One blank parts units."""

    text: str
    plain: str
    starts: tuple[int, ...]
    """Where each unit begins."""
    units: tuple[Piece, ...]
    """Their ``first`` and ``last`` are indices of the pieces viewed."""
    amounts: tuple[int, ...]
    """Units that were said with a magnitude."""

    def unit(self, place: int) -> int:
        """The index of the unit that holds the character at ``place``."""
        return bisect_right(self.starts, place) - 1

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The first and last piece under these characters."""
        return self.units[self.unit(start)].first, self.units[self.unit(end - 1)].last


def view(pieces: Sequence[Piece], language: str) -> View:
    """How ``pieces`` read in ``language`` (primary subtag)."""
    indexed = [Piece(piece.text, index, index) for index, piece in enumerate(pieces)]
    units = fold_numbers(without_asides(indexed, language), language)
    if any(has_digit(unit.text) for unit in units):
        units = named_letters(units)
    starts, length = [], 0
    for unit in units:
        starts.append(length)
        length += len(unit.text) + 1
    text = " ".join(unit.text for unit in units)
    amounts = tuple(number for number, unit in enumerate(units) if unit.first < unit.last and _in_millions(indexed, unit))
    return View(text, plain(text), tuple(starts), tuple(units), amounts)


def _in_millions(pieces: Sequence[Piece], unit: Piece) -> bool:
    return any(MAGNITUDES.match(plain(piece.text)) for piece in pieces[unit.first : unit.last + 1])
