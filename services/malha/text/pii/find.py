"""All detectors over one segment, the surest first: what one has found, the next do not see."""

import re
from collections.abc import Iterable, Sequence

from malha.text.numbers import number_words
from malha.text.pii.context import context
from malha.text.pii.emails import emails
from malha.text.pii.kinds import Found, Kind, Match
from malha.text.pii.names import names_in
from malha.text.pii.runs import numbers
from malha.text.pii.shapes import EXPLAINED, GROUPED, forms, ibans, lettered_cnpjs
from malha.text.pii.view import View, view
from malha.text.pii.words import has_digit
from malha.text.spans import Piece
from malha.text.tokens import fold, primary, split

LANGUAGES = ("pt", "es", "en")
_IDENTITIES = frozenset({Kind.CPF, Kind.RG, Kind.DNI, Kind.NIE, Kind.NIF, Kind.PHONE})
_AT = frozenset({"arroba", "at"})
_HIDDEN = "\x00"
_DIGIT = re.compile(r"\d")


def find(pieces: Sequence[Piece], language: str, names: Sequence[str] = ()) -> list[Found]:
    """Everything personal in ``pieces``, in order, not overlapping.

    ``language`` may have a region (``pt-BR``). One that is unknown or empty is read as each of Portuguese, Spanish and English in turn, and what any
    of them finds is found: text in none of them is masked too much rather than too little.
    """
    found: list[Found] = []
    for seen, match in matches(pieces, language, names):
        first, last = seen.span(match.start, match.end)
        found.append(Found(match.kind, first, last))
    return _apart(found)


def readings(language: str) -> tuple[str, ...]:
    """The primary subtags that a text in ``language`` is read as."""
    code = primary(language)
    return (code,) if code in LANGUAGES else LANGUAGES


def matches(pieces: Sequence[Piece], language: str, names: Sequence[str] = ()) -> list[tuple[View, Match]]:
    """What was found, each with the view it was found in, in the order of the text."""
    languages = readings(language)
    if not names and not may_identify(pieces, languages):
        return []
    found = [(seen, match) for reading in languages for seen in (view(pieces, reading),) for match in _matches(seen, reading, names)]
    return sorted(found, key=lambda pair: (pair[0].span(pair[1].start, pair[1].end)[0], pair[1].start))


def may_identify(pieces: Sequence[Piece], languages: Sequence[str]) -> bool:
    """Whether there is anything to look at, names apart: a digit, a word that numbers are said with, an address. Most of what is said has none."""
    telling = number_words(*languages)
    for piece in pieces:
        if "@" in piece.text or has_digit(piece.text):
            return True
        word = fold(split(piece.text).core)
        if word in _AT or word in telling or ("-" in word and not telling.isdisjoint(word.split("-"))):
            return True
    return False


def _matches(seen: View, language: str, names: Sequence[str]) -> list[Match]:
    found: list[Match] = []
    rest = _take(seen.plain, emails(seen.plain), found)
    if _DIGIT.search(rest):
        rest = _numbers(seen, rest, language, found)
    if names:
        _take(rest, names_in(seen.text, rest, names), found)
    return found


def _numbers(seen: View, rest: str, language: str, found: list[Match]) -> str:
    rest = _take(rest, ibans(rest), found)
    if "cnpj" in rest or any(map(str.isupper, seen.text)):
        rest = _take(rest, lettered_cnpjs(seen.text, rest, told="cnpj" in rest), found)
    rest = _take(rest, forms(rest), found)
    rest = _explained(seen, rest, language)
    return _take(rest, numbers(rest, language), found)


def _explained(seen: View, plain: str, language: str) -> str:
    """``plain`` without amounts, dates, times: numbers that name nobody."""

    def is_identity(start: int, end: int) -> bool:
        told = context(plain, start, end, language)
        return told is not None and told.adjacent and told.kind in _IDENTITIES

    def hidden(match: re.Match[str]) -> str:
        shown = GROUPED.fullmatch(match.group()) and is_identity(match.start(), match.end())
        return match.group() if shown else _HIDDEN * len(match.group())

    rest = EXPLAINED.sub(hidden, plain)
    for number in seen.amounts:
        start, end = seen.starts[number], seen.starts[number] + len(seen.units[number].text)
        if not is_identity(start, end):
            rest = rest[:start] + _HIDDEN * (end - start) + rest[end:]
    return rest


def _take(plain: str, matches: Iterable[Match], found: list[Match]) -> str:
    """``plain`` without what is found."""
    parts, place = [], 0
    for match in sorted(matches, key=lambda match: match.start):
        if match.start >= place and _HIDDEN not in plain[match.start : match.end]:
            found.append(match)
            parts += [plain[place : match.start], _HIDDEN * (match.end - match.start)]
            place = match.end
    return "".join([*parts, plain[place:]])


def _apart(found: Sequence[Found]) -> list[Found]:
    """Without what overlaps something before it; where they overlap in part, one that reaches over both."""
    apart: list[Found] = []
    for one in found:
        if apart and one.first <= apart[-1].last:
            kind = one.kind if apart[-1].kind is Kind.NUMBER else apart[-1].kind
            apart[-1] = Found(kind, apart[-1].first, max(apart[-1].last, one.last))
        else:
            apart.append(one)
    return apart
