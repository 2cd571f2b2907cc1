"""Reads number words: what part each token plays, and the cardinal that begins at one.

The grammar of the three languages is one, its differences are in the lexicon::

    cardinal        = below_million [scale [["and"] cardinal of less than that scale]] | scale ["and" half]
    below_million   = [below_thousand] "thousand" [["and"] below_thousand] | below_thousand
    below_thousand  = hundreds [["and"] below_hundred] | below_hundred ["hundred" [["and"] below_hundred]] | digits as written, before a scale
    below_hundred   = tens [["and"] unit] | teen | unit

Each rule gives every way to end, as (value, index after it); of those the longest that its right neighbour allows is taken. So ``dois mil e quinhentos e
três mil`` is 2500 and 3000. Nothing reads across punctuation.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from malha.text.numbers.grammar import Kind, Lexicon
from malha.text.spans import Piece
from malha.text.tokens import Token, fold, split

Ending = tuple[int, int]
"""A value, and the index after its last word."""
WRITTEN_MARKS = "0123456789.,/-:"
"""What digits as written are made of."""
_LONGEST_WRITTEN = 3
"""Digits as written that a scale may follow: ``2 mil``, ``500 mil``."""
_NO_THOUSAND_AFTER = frozenset(
    {Kind.DIGIT, Kind.WEAK, Kind.TEEN, Kind.TENS, Kind.HUNDREDS, Kind.EXACT, Kind.HUNDRED, Kind.THOUSAND, Kind.WRITTEN}
)


class Word(NamedTuple):
    """A piece as the grammar sees it."""

    kind: Kind
    value: int
    folded: str
    character: str
    shared: bool
    glued: bool
    """Whether no punctuation stands between it and the word before."""
    token: Token


def words(pieces: Sequence[Piece], lexicon: Lexicon) -> list[Word]:
    """One word per piece."""
    read: list[Word] = []
    before, tail = "", "start"
    for piece in pieces:
        token = split(piece.text)
        folded = fold(token.core)
        entry = lexicon.words.get(folded)
        kind, value, character, shared = entry if entry and before not in lexicon.not_after.get(folded, ()) else (Kind.NONE, 0, "", False)
        if not entry and token.core[:1].isdigit():
            kind, value = _written(token.core)
        elif not entry and "-" in folded:
            kind, value, digits = _hyphenated(folded, lexicon)
            token = token._replace(core=digits or token.core)
        read.append(Word(kind, value, folded, character, shared, not tail and not token.lead, token))
        before, tail = folded, token.tail
    return read


def _written(core: str) -> tuple[Kind, int]:
    """Digits with what may stand among them; the value only of those that a scale may follow or that may follow one, else -1."""
    plain = core.isascii() and core.isdecimal()
    if not plain and core.strip(WRITTEN_MARKS):
        return Kind.NONE, 0
    return Kind.WRITTEN, int(core) if plain and len(core) <= _LONGEST_WRITTEN and (core[0] != "0" or core == "0") else -1


def _hyphenated(folded: str, lexicon: Lexicon) -> tuple[Kind, int, str]:
    """``twenty-five`` as the one word it is; ``one-two-three`` as digits as written. Two digits are a score or a guess: ``two-three``."""
    entries = [entry for part in folded.split("-") if (entry := lexicon.words.get(part))]
    if len(entries) <= folded.count("-"):
        return Kind.NONE, 0, ""
    if len(entries) > 2 and all(entry.kind in {Kind.DIGIT, Kind.WEAK} for entry in entries):
        digits = "".join(str(entry.value) for entry in entries)
        return *_written(digits), digits
    parts = [Word(entry.kind, entry.value, "", "", entry.shared, index > 0, Token("", "", "")) for index, entry in enumerate(entries)]
    endings = [value for value, end in Reader(parts, lexicon).below_hundred(0) if end == len(parts)]
    return (Kind.TEEN, endings[0], "") if endings else (Kind.NONE, 0, "")


class Reader:
    """The cardinals in a sequence of words."""

    def __init__(self, sequence: Sequence[Word], lexicon: Lexicon) -> None:
        self._words = sequence
        self._lexicon = lexicon

    def cardinal(self, at: int) -> Ending | None:
        """The longest cardinal that begins at a word; None where none begins, or nothing but digits as written."""
        total, end, limit, start = 0, at, 0, at
        while step := self._step(start, limit):
            value, end, scale = step
            total += value
            if not scale:
                break
            limit = scale
            if half := self._half(end):
                return total + scale // 2, half
            start = next(self._on(Kind.SCALE, end), end)
            if start == end and not self._glued(end):
                break
        if end == at or (end == at + 1 and self._words[at].kind is Kind.WRITTEN):
            return None
        return total, end

    def fraction(self, at: int) -> Ending | None:
        """The longest number below 1000 that begins at a word: what follows a decimal sign; a scale after it belongs to the whole."""
        endings = self._below_thousand(at, scaled=False)
        return max(endings, key=_end, default=None)

    def below_hundred(self, at: int) -> list[Ending]:
        kind, value = self._kind(at), self._value(at)
        if kind is Kind.TEEN or (kind is Kind.DIGIT and value > 0):
            return [(value, at + 1)]
        if kind is Kind.TENS:
            return [(value, at + 1), *self._joined(value, Kind.TENS, at + 1, self._unit)]
        return []

    def _step(self, start: int, limit: int) -> tuple[int, int, int] | None:
        """The longest part of a cardinal at ``start`` that is worth less than ``limit`` (0: any): its value, its end and its scale, if it has one."""
        for value, end in sorted(self._below_million(start), key=_end, reverse=True):
            scale = self._value(end) if self._glued(end) and self._kind(end) is Kind.SCALE else 0
            if scale and (not limit or scale < limit):
                return value * scale, end + 1, scale
            if not scale and (not limit or value < limit):
                return value, end, 0
        return None

    def _below_million(self, at: int) -> list[Ending]:
        heads = [(1, at)] if self._kind(at) is Kind.THOUSAND and self._stands_alone(at) else self._below_thousand(at, scaled=True)
        endings = [ending for ending in heads if ending[1] > at]
        for value, end in heads:
            if self._kind(end) is Kind.THOUSAND and (end == at or self._glued(end)):
                base = value * 1000
                rests = self._joined(base, Kind.THOUSAND, end + 1, lambda start: self._below_thousand(start, scaled=True))
                endings += [(base, end + 1), *(rest for rest in rests if not self._before(rest[1], Kind.THOUSAND))]
        return endings

    def _below_thousand(self, at: int, *, scaled: bool) -> list[Ending]:
        """``scaled``: a scale may follow, so that digits as written and the "a" of "a thousand" count."""
        kind, value = self._kind(at), self._value(at)
        if kind is Kind.HUNDREDS:
            return [(value, at + 1), *self._joined(value, Kind.HUNDREDS, at + 1, self.below_hundred)]
        if kind is Kind.EXACT or (kind is Kind.WRITTEN and value > 0 and scaled):
            return [(value, at + 1)]
        heads = [(1, at + 1)] if kind is Kind.ARTICLE else self.below_hundred(at)
        bare = kind is not Kind.ARTICLE or (scaled and self._before(at + 1, Kind.THOUSAND, Kind.SCALE))
        endings = list(heads) if bare else []
        for head, end in heads:
            if self._before(end, Kind.HUNDRED):
                endings += [(head * 100, end + 1), *self._joined(head * 100, Kind.HUNDRED, end + 1, self.below_hundred)]
        return endings

    def _unit(self, at: int) -> list[Ending]:
        return [(self._value(at), at + 1)] if self._kind(at) is Kind.DIGIT and self._value(at) else []

    def _joined(self, value: int, head: Kind, end: int, part: Callable[[int], list[Ending]]) -> Iterator[Ending]:
        """``value`` and what ``part`` reads after it, with "and" or without. ``five hundred and six hundred`` is two numbers."""
        for start in self._on(head, end):
            yield from ((value + more, after) for more, after in part(start) if head is Kind.TENS or not self._before(after, Kind.HUNDRED))

    def _on(self, head: Kind, end: int) -> Iterator[int]:
        """Where a number goes on after its word of kind ``head``, if it does."""
        if self._before(end, Kind.AND):
            if head in self._lexicon.and_after and self._glued(end + 1):
                yield end + 1
        elif self._glued(end) and (head in self._lexicon.bare_after or not self._begins_run(end)):
            yield end

    def _begins_run(self, at: int) -> bool:
        return self._kind(at) is Kind.DIGIT and self._before(at + 1, Kind.DIGIT, Kind.WEAK, Kind.REPEAT)

    def _half(self, end: int) -> int | None:
        """The index after "and a half", where that follows."""
        if not self._before(end, Kind.AND):
            return None
        at = end + 2 if self._before(end + 1, Kind.ARTICLE) else end + 1
        return at + 1 if self._glued(at) and self._words[at].folded in self._lexicon.half else None

    def _stands_alone(self, at: int) -> bool:
        """Whether a "thousand" with nothing before it is 1000."""
        if not self._lexicon.lone_thousand or (at and self._glued(at) and self._words[at - 1].kind in _NO_THOUSAND_AFTER):
            return False
        return not (self._glued(at + 1) and self._words[at + 1].folded in self._lexicon.not_before.get(self._words[at].folded, ()))

    def _kind(self, at: int) -> Kind:
        return self._words[at].kind if at < len(self._words) else Kind.NONE

    def _value(self, at: int) -> int:
        return self._words[at].value

    def _glued(self, at: int) -> bool:
        return at < len(self._words) and self._words[at].glued

    def _before(self, at: int, *kinds: Kind) -> bool:
        return self._glued(at) and self._words[at].kind in kinds


def _end(ending: Ending) -> int:
    return ending[1]
