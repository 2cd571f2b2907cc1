"""Masks in place of what is found. All else stays as it was spoken."""

from collections.abc import Sequence

from malha.text.pii.find import matches
from malha.text.pii.kinds import Kind, Match
from malha.text.pii.view import View
from malha.text.spans import Piece, joined, pieces

_OPENING, _CLOSING = "([\"'\u00bf\u00a1\u00ab\u201c", ".,;:!?)]\"'\u2026\u00bb\u201d"


def scrub(pieces: Sequence[Piece], language: str, names: Sequence[str] = ()) -> list[Piece]:
    """``pieces`` with everything personal masked: one piece for each run that was found, from its first token to its last.

    Punctuation around it stays: ``(CPF 529.982.247-25),`` becomes ``(CPF [CPF]),``. What `find` says of ``language`` holds here.
    """
    return mask(pieces, matches(pieces, language, names))


def mask(pieces: Sequence[Piece], found: Sequence[tuple[View, Match]]) -> list[Piece]:
    """``pieces`` with masks for what `find.matches` found in them."""
    shown: list[Piece] = []
    place = 0
    for group in _groups(found):
        first = min(seen.span(match.start, match.end)[0] for seen, match in group)
        last = max(seen.span(match.start, match.end)[1] for seen, match in group)
        shown += pieces[place:first]
        shown.append(Piece(_masked(pieces, group), pieces[first].first, pieces[last].last))
        place = last + 1
    return [*shown, *pieces[place:]]


def scrub_text(text: str, language: str, names: Sequence[str] = ()) -> str:
    """`scrub` for text without times, such as a recogniser's alternatives. White space becomes single blanks."""
    return joined(scrub(pieces(text), language, names))


def _groups(found: Sequence[tuple[View, Match]]) -> list[list[tuple[View, Match]]]:
    """What shares a piece, together."""
    groups: list[list[tuple[View, Match]]] = []
    reach = -1
    for seen, match in found:
        first, last = seen.span(match.start, match.end)
        if first <= reach:
            groups[-1].append((seen, match))
        else:
            groups.append([(seen, match)])
        reach = max(reach, last)
    return groups


def _masked(pieces: Sequence[Piece], group: Sequence[tuple[View, Match]]) -> str:
    """What the pieces of a group show: what stands before the first, the masks, and what stands after the last."""
    seen, match = group[0]
    if any(view is not seen for view, _ in group):
        return _readings_masked(pieces, group)
    first = seen.unit(match.start)
    text = _around(pieces, seen, first, seen.starts[first], match.start)
    place = match.start
    for _, one in group:
        if one.start >= place:
            text += seen.text[place : one.start] + one.kind.mask
        place = max(place, one.end)
    last = seen.unit(place - 1)
    return text + _around(pieces, seen, last, place, seen.starts[last] + len(seen.units[last].text))


def _readings_masked(pieces: Sequence[Piece], group: Sequence[tuple[View, Match]]) -> str:
    """One mask for what several languages read in the same pieces, and the punctuation around them as it was spoken."""
    kind = next((one.kind for _, one in group if one.kind is not Kind.NUMBER), Kind.NUMBER)
    spans = [seen.span(match.start, match.end) for seen, match in group]
    first, last = pieces[min(span[0] for span in spans)].text, pieces[max(span[1] for span in spans)].text
    return _opening(first) + kind.mask + _closing(last)


def _around(pieces: Sequence[Piece], seen: View, unit: int, start: int, end: int) -> str:
    """The characters of a unit beside a mask; of one that is not as it was spoken, only punctuation that was there."""
    shown, spoken = seen.units[unit], pieces[seen.units[unit].last].text
    if shown.first == shown.last and shown.text == spoken:
        return seen.text[start:end]
    if start == seen.starts[unit]:
        return _opening(pieces[shown.first].text)
    return _closing(spoken) if end > seen.starts[unit] + len(shown.text) - 1 else ""


def _opening(text: str) -> str:
    return text[: len(text) - len(text.lstrip(_OPENING))]


def _closing(text: str) -> str:
    return text[len(text.rstrip(_CLOSING)) :]
