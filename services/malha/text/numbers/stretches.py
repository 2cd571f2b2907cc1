"""Finds the numbers in a sequence of words, and which stand together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from malha.text.numbers.grammar import Kind
from malha.text.numbers.reader import Reader, Word

_SUFFIXES = {1: "st", 2: "nd", 3: "rd"}
_DECIMAL_SIGNS = frozenset({",", "."})


@dataclass(frozen=True, slots=True)
class Number:
    """A number found: the words it takes (``first`` to before ``end``) and how it is written."""

    first: int
    end: int
    text: str
    digit: bool = False
    """A digit said alone, which may join a run; doubled ones as well."""
    shared: bool = False
    weak: bool = False
    written: bool = False
    joint: str = ""
    """The separator said between it and the number before."""
    glued: bool = False
    """Whether it follows the number before with no punctuation between."""


def stretches(read: Sequence[Word], reader: Reader) -> Iterator[list[Number]]:
    """Numbers that stand next to each other, but for punctuation and separators said between them."""
    stretch: list[Number] = []
    at = 0
    while at < len(read):
        joint = ""
        start = at
        if _separates(stretch, read, at):
            joint, start = read[at].character, at + 1
        number = _number(read, reader, start, joint) if read[start].kind else None
        if number:
            stretch.append(number)
            at = number.end
            continue
        if stretch:
            yield stretch
            stretch = []
        at += 1
    if stretch:
        yield stretch


def _separates(stretch: Sequence[Number], read: Sequence[Word], at: int) -> bool:
    """Whether a word may join the number before it, if that is one for certain, to one after it."""
    if read[at].kind is not Kind.SEPARATOR or not read[at].glued or at + 1 == len(read) or not read[at + 1].glued:
        return False
    return len(stretch) > 1 or (len(stretch) == 1 and not stretch[0].weak)


def _number(read: Sequence[Word], reader: Reader, at: int, joint: str) -> Number | None:
    word = read[at]
    glued = bool(joint) or word.glued
    if word.kind is Kind.REPEAT:
        return _repeated(read, at, joint)
    if word.kind is Kind.WEAK:
        return None if _scaled(read, at + 1) else Number(at, at + 1, str(word.value), digit=True, weak=True, joint=joint, glued=glued)
    ending = (reader.fraction(at) if joint in _DECIMAL_SIGNS else None) or reader.cardinal(at)
    if ending is None:
        if word.kind is Kind.WRITTEN:
            digit = len(word.token.core) == 1 and not _scaled(read, at + 1)
            return Number(at, at + 1, word.token.core, digit=digit, written=True, joint=joint, glued=glued)
        if word.kind is Kind.DIGIT:
            return Number(at, at + 1, str(word.value), digit=not _scaled(read, at + 1), joint=joint, glued=glued)
        return None
    value, end = ending
    digit = end == at + 1 and word.kind is Kind.DIGIT
    if ordinal := _ordinal(read, value, end):
        return Number(at, end + 1, ordinal, joint=joint, glued=glued)
    return Number(at, end, str(value), digit=digit, shared=digit and word.shared, joint=joint, glued=glued)


def _repeated(read: Sequence[Word], at: int, joint: str) -> Number | None:
    """``double five``; not ``double five thousand``."""
    if at + 1 == len(read) or not read[at + 1].glued or read[at + 1].kind not in {Kind.DIGIT, Kind.WEAK} or _scaled(read, at + 2):
        return None
    return Number(at, at + 2, str(read[at + 1].value) * read[at].value, digit=True, joint=joint, glued=bool(joint) or read[at].glued)


def _scaled(read: Sequence[Word], at: int) -> bool:
    """Whether a word is a scale of what stands before it: a digit does not join a run then."""
    return at < len(read) and read[at].glued and read[at].kind in {Kind.THOUSAND, Kind.SCALE}


def _ordinal(read: Sequence[Word], value: int, end: int) -> str:
    """``21st`` where an English ordinal closes the number. ``twenty second`` is one only next to "the" or "of": else it is a time."""
    if end == len(read) or read[end].kind is not Kind.ORDINAL or not read[end].glued:
        return ""
    unit = read[end].value
    if value < 20 or value % 10 or (read[end - 1].kind is Kind.TEEN):
        return ""
    return f"{value + unit}{_SUFFIXES.get(unit, 'th')}" if unit != 2 or _dated(read, end) else ""


def _dated(read: Sequence[Word], end: int) -> bool:
    return (end > 1 and read[end - 2].folded == "the") or (end + 1 < len(read) and read[end + 1].folded == "of")
