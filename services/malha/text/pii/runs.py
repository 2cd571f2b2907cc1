"""Which runs of digits are personal: by themselves, by the words around them, or because nothing explains them."""

import itertools
import re
from collections.abc import Iterator, Sequence

from malha.text.pii.identify import LENGTHS, identified, match
from malha.text.pii.kinds import Kind, Match
from malha.text.pii.run import Run, runs
from malha.text.pii.words import UNITS

UNEXPLAINED = 7
"""Digits from which on a number must be explained to be shown."""
_YEAR = re.compile(r"(?:19|20)\d\d")
_NEXT_WORD = re.compile(r" ?(?P<word>[^\W\d_]+)")
_ALTERNATIVE = re.compile(r" (?:ou|o|or|u) \d")
_LONGEST_AMOUNT = 6
_LONG_ATOM = 9
"""Digits that are a number by themselves: what stands beside them is another one."""
_MOST_ATOMS = 40
"""Of a run that is searched for numbers within; a longer one is masked whole."""


def numbers(plain: str, language: str) -> Iterator[Match]:
    r"""Every personal number of digits in a view's plain text, in which ``\\x00`` stands for what was found or explained."""
    for run in runs(plain, language):
        yield from _resolved(run)


def _resolved(run: Run) -> Iterator[Match]:
    count = len(run.digits)
    if one := identified(run):
        yield one
    elif run.told and not run.parted and run.fits_told():
        yield match(run, run.told.kind, whole=False)
    elif count < UNEXPLAINED:
        if run.told and run.told.holds(count) and not _YEAR.fullmatch(run.digits):
            yield match(run, run.told.kind, whole=False)
    elif run.told or not _harmless(run):
        yield from _parts(run.part(0, len(run.atoms) - 1) if _counts_what_follows(run) else run)


def _parts(run: Run) -> Iterator[Match]:
    """A run that is not one number: searched for numbers within, split where a comma or an "and" stands, or masked whole."""
    if len(run.atoms) == 1 and (one := identified(run)):
        yield one
        return
    within = list(_within(run)) if 1 < len(run.atoms) <= _MOST_ATOMS else []
    if within:
        yield from within
    elif run.parted:
        yield from _split(run)
    elif len(run.digits) >= UNEXPLAINED:
        yield match(run, run.told.kind if run.told and run.fits_told() else Kind.NUMBER, whole=False)


def _split(run: Run) -> Iterator[Match]:
    edges = (0, *(number for number, atom in enumerate(run.atoms) if number and atom.parted), len(run.atoms))
    parts = [run.part(first, last) for first, last in itertools.pairwise(edges)]
    listed = _is_list(run, parts)
    if run.told and run.fits_told() and not listed:
        yield match(run, run.told.kind, whole=False)
    elif len(run.digits) > UNEXPLAINED and len(parts) > 2 and not listed and _in_groups(parts):
        yield match(run, Kind.NUMBER, whole=False)
    else:
        for part in parts:
            yield from _resolved(part)


def _within(run: Run) -> Iterator[Match]:
    """Numbers that say what they are among the atoms, and what is left over where it may belong to them."""
    found: list[tuple[int, int, Match]] = []
    first = 0
    while first < len(run.atoms):
        longest = _longest(run, first)
        found += [longest] if longest else []
        first = longest[1] if longest else first + 1
    place = 0
    for start, end, one in found:
        yield from _rest(run, place, start)
        yield one
        place = end
    if found:
        yield from _rest(run, place, len(run.atoms))


def _longest(run: Run, first: int) -> tuple[int, int, Match] | None:
    """The longest number that begins at an atom, and is not all of the run."""
    for last in range(len(run.atoms), first, -1):
        part = run.part(first, last)
        if len(part.digits) in LENGTHS and last - first < len(run.atoms) and (one := identified(part)):
            return first, last, one
    return None


def _rest(run: Run, first: int, last: int) -> Iterator[Match]:
    """Atoms beside a number that was found: masked, unless they stand apart as a short number of their own."""
    if first >= last:
        return
    rest = run.part(first, last)
    apart = (first > 0 and run.atoms[first].parted) or (last < len(run.atoms) and run.atoms[last].parted)
    beside = run.atoms[last if last < len(run.atoms) else first - 1]
    written = len(rest.atoms) == 1 and len(beside.digits) >= _LONG_ATOM
    if len(rest.digits) >= UNEXPLAINED or not (apart or written):
        yield match(rest, Kind.NUMBER, whole=False)


def _harmless(run: Run) -> bool:
    """Years, a date in groups, or quantities of which an alternative follows."""
    groups = [atom.digits for atom in run.atoms]
    if all(_YEAR.fullmatch(group) for group in groups):
        return True
    if len(groups) == 3 and _YEAR.fullmatch(groups[2]) and max(map(len, groups[:2])) <= 2:
        return 1 <= int(groups[0]) <= 31 and 1 <= int(groups[1]) <= 12
    return len(groups) > 1 and _alternative_follows(run) and max(map(len, groups)) < UNEXPLAINED


def _is_list(run: Run, parts: Sequence[Run]) -> bool:
    """Numbers told one after the other rather than one number in groups: they rise, or an alternative follows."""
    told = [part.digits for part in parts]
    rising = all((len(one), one) < (len(other), other) for one, other in itertools.pairwise(told)) and min(map(len, told)) > 1
    return rising or _alternative_follows(run)


def _in_groups(parts: Sequence[Run]) -> bool:
    """Whether these may be the groups of one number: short, and told without an "and"."""
    return all(len(part.digits) < UNEXPLAINED and not part.atoms[0].joined for part in parts)


def _alternative_follows(run: Run) -> bool:
    return _ALTERNATIVE.match(run.plain, run.end) is not None


def _counts_what_follows(run: Run) -> bool:
    """Whether the last of several atoms counts what follows it."""
    after = _NEXT_WORD.match(run.plain, run.end, run.end + 24)
    return after is not None and after["word"] in UNITS and len(run.atoms) > 1 and len(run.atoms[-1].digits) <= _LONGEST_AMOUNT
