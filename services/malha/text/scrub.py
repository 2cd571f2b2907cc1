"""The text of a segment as it may be stored, prompted and shown: personal data masked, then made readable.

Masked first, because making text readable drops and replaces words that the masks rest on. A text that ends inside a number is held: that end is masked until what the
same speaker says next decides what it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from malha.text.glossary import Glossary
from malha.text.normalise import normalise
from malha.text.pii.find import matches
from malha.text.pii.kinds import Kind, Match
from malha.text.pii.mask import mask
from malha.text.pii.open_end import open_end
from malha.text.pii.view import View
from malha.text.spans import Piece, joined, pieces

HELD: Final = "[...]"
"""In place of an end that is not decided."""
_CLOSING: Final = ".,;:!?…"


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """A segment as it may be seen."""

    text: str
    pieces: tuple[Piece, ...]
    """Their ``first`` and ``last`` are indices of the whitespace tokens of the text that was given: a mask lasts from its first token to its last."""
    held: bool
    """The text ends inside an open run of digits or number words, or an unfinished e-mail address, and that end is masked: `Pipeline.joined` decides it."""


class Pipeline:
    """What is done to each text of one channel of a call. It keeps nothing between texts."""

    def __init__(
        self, language: str, glossary: Glossary | None = None, names: Sequence[str] = (), *, scrub: bool = True, normalise: bool = True
    ) -> None:
        """``names``: of people the call knows of. ``scrub`` and ``normalise`` are the tenant's choices; with neither, text passes as it is."""
        self._language = language
        self._glossary = glossary
        self._names = tuple(names)
        self._scrub = scrub
        self._normalise = normalise

    def final(self, text: str) -> Scrubbed:
        """A final; its end held where it may go on as a number."""
        told = pieces(text)
        found = self._found(told)
        return self._shown(told, found, self._held(told, found))

    def alone(self, text: str) -> Scrubbed:
        """A final that nothing followed in time: as `final`, and nothing held."""
        told = pieces(text)
        return self._shown(told, self._found(told), None)

    def partial(self, text: str) -> str:
        """A partial; its end masked where it may go on as a number."""
        return self.final(text).text

    def joined(self, earlier: str, later: str) -> tuple[Scrubbed, Scrubbed]:
        """Decides a held text with what the same channel said next.

        What spans the two is masked in both. Else the earlier is as it would be alone. The later may be held in its turn. Where a run began in the earlier and
        is still open at the end of the later, the earlier's part is masked for good, for what decides it is not known yet.
        """
        before, after = pieces(earlier), pieces(later)
        if not after:
            return self.alone(earlier), self.final(later)
        both = [*before, *(Piece(piece.text, piece.first + len(before), piece.last + len(before)) for piece in after)]
        found = self._found(both)
        edge = len(before)
        held = self._held(both, found)
        across = [(match.kind, *seen.span(match.start, match.end)) for seen, match in found]
        across = [(kind, first, last) for kind, first, last in across if first < edge <= last]
        if not across and held is not None and held < edge:
            across = [(Kind.NUMBER, held, len(both) - 1)]
        if not across:
            return self.alone(earlier), self.final(later)
        kind, first, last = across[0]
        still_open = held is not None and held <= last
        ahead = self._covered(before, first, edge - 1, kind)
        if still_open and last == len(both) - 1:
            return ahead, self._shown(after, [], 0)
        return ahead, self._covered(after, 0, last - edge, kind, held=None if held is None else max(0, held - edge))

    def _found(self, told: Sequence[Piece]) -> list[tuple[View, Match]]:
        return matches(told, self._language, self._names) if self._scrub else []

    def _held(self, told: Sequence[Piece], found: Sequence[tuple[View, Match]]) -> int | None:
        """The index of the piece an undecided end begins with."""
        return open_end(told, self._language, found) if self._scrub else None

    def _shown(self, told: Sequence[Piece], found: Sequence[tuple[View, Match]], held: int | None) -> Scrubbed:
        return self._finished(told, mask(told, found), held)

    def _covered(self, told: Sequence[Piece], first: int, last: int, kind: Kind, held: int | None = None) -> Scrubbed:
        """With one more stretch masked, whatever it is by itself."""
        cover = Piece(kind.mask + _punctuation(told[last].text), first, last)
        head, tail = told[:first], told[last + 1 :]
        shown = [*mask(head, self._found(head)), cover, *mask(tail, self._found(tail))]
        return self._finished(told, shown, held)

    def _finished(self, told: Sequence[Piece], shown: Sequence[Piece], held: int | None) -> Scrubbed:
        """Made readable, masks apart; from ``held`` on one mask for the end."""
        end: list[Piece] = []
        if held is not None and shown:
            cut = next((number for number, piece in enumerate(shown) if piece.last >= held), len(shown) - 1)
            end = [Piece(HELD + _punctuation(told[-1].text), shown[cut].first, shown[-1].last)]
            shown = shown[:cut]
        readable = [*self._readable(told, shown), *end]
        return Scrubbed(joined(readable), tuple(readable), bool(end))

    def _readable(self, told: Sequence[Piece], shown: Sequence[Piece]) -> list[Piece]:
        if not self._normalise:
            return list(shown)
        done: list[Piece] = []
        stretch: list[Piece] = []
        for piece in shown:
            if piece.first == piece.last and piece.text == told[piece.first].text:
                stretch.append(piece)
                continue
            done += [*normalise(stretch, self._language, self._glossary), piece]
            stretch = []
        return [*done, *normalise(stretch, self._language, self._glossary)]


def _punctuation(text: str) -> str:
    return text[len(text.rstrip(_CLOSING)) :]
