"""Whether a text stops in the middle of a number that may go on."""

from collections.abc import Mapping, Sequence

from malha.text.numbers.grammar import Entry, Kind
from malha.text.numbers.lexicon import lexicon
from malha.text.numbers.reader import WRITTEN_MARKS
from malha.text.spans import Piece
from malha.text.tokens import Token, fold, primary, split
from malha.text.words import hesitation

_WITHIN = frozenset({Kind.AND, Kind.SEPARATOR, Kind.ARTICLE})
"""Belong to a run only between or after its numbers."""
_CERTAIN = frozenset({Kind.TEEN, Kind.TENS, Kind.HUNDREDS, Kind.EXACT, Kind.HUNDRED, Kind.THOUSAND, Kind.SCALE, Kind.WRITTEN})


def number_run_open(pieces: Sequence[Piece], language: str) -> int | None:
    """Index of the first piece of the run of digits or number words that ``pieces`` end in; None where they end in none.

    Punctuation does not close a run: recognisers put a full stop where a speaker draws breath. Hesitations and connectives at the end (``cento e``,
    ``three point``, ``dois, é...``) leave it open. One article alone (``eu quero um``) is no run. In a language that is not known only written digits count.
    """
    code = primary(language)
    known = lexicon(code)
    table = known.words if known else {}
    first: int | None = None
    shared, certain = 0, False
    for index in range(len(pieces) - 1, -1, -1):
        token = split(pieces[index].text)
        if first is None and hesitation(token.core, token.tail, code):
            continue
        before = fold(split(pieces[index - 1].text).core) if index else ""
        folded = fold(token.core)
        entry = _entry(token, folded, table) if not known or before not in known.not_after.get(folded, ()) else None
        if entry is None or entry.kind in {Kind.NONE, Kind.ORDINAL}:
            break
        if entry.kind in _WITHIN:
            continue
        first = index
        shared += entry.shared
        certain = certain or entry.kind in _CERTAIN or (entry.kind is Kind.DIGIT and not entry.shared)
    return first if certain or shared > 1 else None


def _entry(token: Token, folded: str, table: Mapping[str, Entry]) -> Entry | None:
    if known := table.get(folded):
        return known
    if token.core[:1].isdigit():
        return None if token.core.strip(WRITTEN_MARKS) else Entry(Kind.WRITTEN)
    parts = [table.get(part) for part in folded.split("-")]
    return parts[-1] if len(parts) > 1 and all(part is not None and part.kind not in _WITHIN for part in parts) else None
