"""Where a text ends inside something that may turn out to be personal."""

from collections.abc import Iterator, Sequence

from malha.text.numbers import number_run_open
from malha.text.pii.emails import unfinished
from malha.text.pii.find import readings
from malha.text.pii.kinds import Kind, Match
from malha.text.pii.shapes import CLOSED
from malha.text.pii.view import View, view
from malha.text.spans import Piece


def open_end(pieces: Sequence[Piece], language: str, found: Sequence[tuple[View, Match]]) -> int | None:
    """The index of the piece where an undecided end begins; None where the text ends in none.

    A run of digits or number words that could go on, or an e-mail address without its domain. Not an end that is personal already and whole (``found``), nor an
    amount with its currency, a share, a date or a time, which are no part of anybody's number.
    """
    last = len(pieces) - 1
    spans = [(match, *seen.span(match.start, match.end)) for seen, match in found]
    complete = any(match.whole and end == last and match.kind is not Kind.NAME for match, _, end in spans)
    begins = [begin for reading in readings(language) for begin in _begins(pieces, reading)] if not complete else []
    if not begins:
        return None
    begin = min(begins)
    return min([begin, *(start for _, start, end in spans if start < begin <= end)])


def _begins(pieces: Sequence[Piece], language: str) -> Iterator[int]:
    seen = view(pieces, language)
    number = number_run_open(pieces, language)
    if number is not None and not _is_closed(seen, number):
        yield number
    address = unfinished(seen.plain)
    if address is not None and address < len(seen.plain):
        yield seen.span(address, address + 1)[0]


def _is_closed(seen: View, piece: int) -> bool:
    """Whether what the text ends with, from a piece on, is of a form that is no part of a personal number."""
    matches = list(CLOSED.finditer(seen.plain))
    if not matches:
        return False
    last = matches[-1]
    return not seen.plain[last.end() :].strip(" .,;:!?") and seen.span(last.start(), last.end())[0] <= piece
