"""Digits with nothing but separators between them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from malha.text.pii.context import Context, context

_RUN = re.compile(r"\d+(?:(?:[ .\-/()]{1,4}|[,;]-? {0,2}|[-.] ?, | [ey] | and )\(?\d+)*")
_DIGITS = re.compile(r"\d+")
_PARTS = re.compile(r"[,;ey]|and|\. ")
_AND = re.compile(r"[ey]|and")


@dataclass(frozen=True, slots=True)
class Atom:
    """Digits without anything between them."""

    start: int
    end: int
    digits: str
    parted: bool
    """What stands before them (a comma, an "and") may part two numbers."""
    joined: bool
    """An "and" stands before them: they are no group of what precedes."""


@dataclass(frozen=True)
class Run:
    """Atoms in a row."""

    plain: str
    """The text they are in."""
    atoms: tuple[Atom, ...]
    language: str
    told: Context | None
    """What the words around say it is."""

    @cached_property
    def digits(self) -> str:
        """Of all atoms."""
        return "".join(atom.digits for atom in self.atoms)

    @property
    def start(self) -> int:
        return self.atoms[0].start

    @property
    def end(self) -> int:
        return self.atoms[-1].end

    @property
    def parted(self) -> bool:
        """Whether it may be more than one number."""
        return any(atom.parted for atom in self.atoms[1:])

    def part(self, first: int, last: int) -> "Run":
        """The atoms from ``first`` up to ``last``, exclusive."""
        return Run(self.plain, self.atoms[first:last], self.language, self.told)

    def fits_told(self) -> bool:
        """Whether it has as many digits as what is told of it."""
        return self.told is not None and self.told.fits(len(self.digits))


def runs(plain: str, language: str) -> Iterator[Run]:
    """Every run in a view's plain text."""
    for match in _RUN.finditer(plain):
        atoms: list[Atom] = []
        for digits in _DIGITS.finditer(plain, match.start(), match.end()):
            separator = plain[atoms[-1].end : digits.start()] if atoms else ""
            parted = bool(_PARTS.search(separator))
            atoms.append(Atom(digits.start(), digits.end(), digits.group(), parted, parted and bool(_AND.search(separator))))
        yield Run(plain, tuple(atoms), language, context(plain, match.start(), match.end(), language))
