"""Rewrites number words as digits.

What is decided here, beyond the grammar of one cardinal (``reader.py``):

- Digits said one by one become one run: ``um dois três`` -> ``123``. Cardinals beside each other stay apart: ``vinte e três quarenta e cinco`` -> ``23 45``.
  Two digits alone that count up are a guess, not a run: ``dois três dias`` -> ``2 3 dias``.
- ``um``, ``uma``, ``un``, ``uno``, ``una`` and ``one`` alone stay words. They are digits in a stretch of three or more numbers, beside a spoken separator,
  or before a measure. ``meia`` (6), ``oh`` and ``o`` (0) are digits among at least two others.
- ``double five`` -> ``55``. Separators between two numbers join them: ``três vírgula cinco`` -> ``3,5``, ``doze barra três`` -> ``12/3``.
- Units, currencies and percent stay words: ``10 reais e 50 centavos``. So do ordinals, but for ``twenty first`` -> ``21st``.
- Punctuation ends a number and stays where it was; it does not end a stretch: ``um, dois, três`` -> ``1, 2, 3``.
"""

from collections.abc import Iterator, Sequence

from malha.text.numbers.grammar import Lexicon
from malha.text.numbers.lexicon import lexicon
from malha.text.numbers.reader import Reader, Word, words
from malha.text.numbers.stretches import Number, stretches
from malha.text.spans import Piece
from malha.text.tokens import primary

_STRETCH = 3
"""So many numbers in a row are dictated, and an article among them is a digit."""
_ALL_SHARED = 4
"""So many articles in a row, too."""
_SAID_YEARS = frozenset("012")
"""Tens of the years of this century that are said in halves already; ``twenty thirty`` is more often two numbers."""


def fold_numbers(pieces: Sequence[Piece], language: str) -> list[Piece]:
    """``pieces`` with number words as digits, ungrouped (``25000``); unchanged in a language that is not known."""
    known = lexicon(primary(language))
    if known is None:
        return list(pieces)
    read = words(pieces, known)
    if not any(word.kind for word in read):
        return list(pieces)
    out: list[Piece] = []
    at = 0
    for number in _written(stretches(read, Reader(read, known)), read, known):
        out.extend(pieces[at : number.first])
        text = read[number.first].token.lead + number.text + read[number.end - 1].token.tail
        out.append(Piece(text, pieces[number.first].first, pieces[number.end - 1].last))
        at = number.end
    out.extend(pieces[at:])
    return out


def _written(found: Iterator[list[Number]], read: Sequence[Word], known: Lexicon) -> Iterator[Number]:
    """The numbers to write, in order; what was no number after all is left out."""
    for stretch in found:
        taken = _taken(stretch, read, known)
        for part in _contiguous(taken):
            runs = _runs(part, alone=len(part) == len(stretch))
            yield from _chained(_year(runs, read, known) if known.years else runs)


def _taken(stretch: Sequence[Number], read: Sequence[Word], known: Lexicon) -> list[Number]:
    """Those of a stretch that are numbers: articles by what is beside them, then weak digits by what was taken."""
    separated = {number.first - 1 for number in stretch if number.joint}
    certain = [number for number in stretch if not number.weak and (not number.shared or _counts(number, separated, read, known))]
    dictated = len(stretch) >= (_STRETCH if certain else _ALL_SHARED)
    strong = [number for number in stretch if not number.weak] if dictated else certain
    taken = {number.first for number in strong}
    return [number for number in stretch if number.first in taken or (number.weak and _counts_weak(number, strong, read, known))]


def _counts(number: Number, separated: set[int], read: Sequence[Word], known: Lexicon) -> bool:
    """Whether an article is a number: beside a separator (they stand at ``separated``), or before a measure."""
    beside = bool(number.joint) or number.end in separated
    return beside or (number.end < len(read) and read[number.end].glued and _measured(number.end, read, known))


def _counts_weak(number: Number, strong: Sequence[Number], read: Sequence[Word], known: Lexicon) -> bool:
    """Whether a weak digit is one, beside those that are certain."""
    barred = known.not_before.get(read[number.first].folded, frozenset())
    if number.end < len(read) and read[number.end].glued and read[number.end].folded in barred:
        return False
    return len(strong) > 1 or (bool(number.joint) and any(other.end + 1 == number.first for other in strong))


def _measured(at: int, read: Sequence[Word], known: Lexicon) -> bool:
    """Whether a measure stands at a word: by itself, with the word after it, or at the end of what is said (``$``)."""
    following = read[at + 1].folded if at + 1 < len(read) and read[at + 1].glued else "$"
    return read[at].folded in known.units or f"{read[at].folded} {following}" in known.units


def _contiguous(taken: Sequence[Number]) -> list[list[Number]]:
    """Parted where a word lies between that is no number and no separator of two."""
    parts: list[list[Number]] = []
    for number in taken:
        if parts and parts[-1][-1].end + bool(number.joint) == number.first:
            parts[-1].append(number)
        else:
            parts.append([number])
    return parts


def _runs(part: Sequence[Number], *, alone: bool) -> list[Number]:
    """Digits said one by one as one number each run; ``alone``: nothing else is in the stretch."""
    runs: list[list[Number]] = []
    for number in part:
        if runs and number.digit and runs[-1][-1].digit and number.glued and not number.joint:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [number for run in runs for number in (run if _apart(run, alone=alone and len(runs) == 1) else [_run(run)])]


def _apart(run: Sequence[Number], *, alone: bool) -> bool:
    """Whether digits do not join: one, two that a recogniser wrote apart, or two that count up with nothing else beside them."""
    if len(run) > 2:
        return False
    if all(number.written for number in run):
        return True
    return len(run) == 1 or (alone and all(len(number.text) == 1 for number in run) and int(run[1].text) == int(run[0].text) + 1)


def _run(run: Sequence[Number]) -> Number:
    text = "".join(number.text for number in run)
    return Number(run[0].first, run[-1].end, text, digit=True, joint=run[0].joint, glued=run[0].glued)


def _year(runs: list[Number], read: Sequence[Word], known: Lexicon) -> list[Number]:
    """``nineteen ninety eight`` is 1998, where it is all that is said and no measure follows."""
    if len(runs) != 2:
        return runs
    century, rest = runs
    halves = not century.written and not rest.written and rest.glued and not rest.joint and len(rest.text) == 2 and rest.text.isdecimal()
    said = century.text == "19" or (century.text == "20" and rest.text[0] in _SAID_YEARS)
    price = rest.end < len(read) and read[rest.end].glued and _measured(rest.end, read, known)
    if not halves or not said or price:
        return runs
    return [Number(century.first, rest.end, century.text + rest.text, joint=century.joint, glued=century.glued)]


def _chained(runs: Sequence[Number]) -> list[Number]:
    """Numbers with a separator said between them as one."""
    out: list[Number] = []
    for number in runs:
        if number.joint and out:
            before = out.pop()
            out.append(Number(before.first, number.end, before.text + number.joint + number.text, joint=before.joint, glued=before.glued))
        else:
            out.append(number)
    return out
