"""Takes out what carries no meaning: sounds of thinking, words begun and broken off, stutters."""

from collections.abc import Sequence
from itertools import pairwise

from malha.text.numbers.lexicon import is_number_word
from malha.text.spans import Piece
from malha.text.tokens import Token, fold, primary, split
from malha.text.words import FUNCTION_WORDS, hesitation

_SENTENCE_ENDS = (".", "!", "?")
_RUNNING_ON = frozenset({"", ",", "-", "\u2013", "\u2014"})
"""What may stand between the words of a stutter, besides an ellipsis."""
_EMPHASIS = 3
"""From so many times on a content word is a stutter or a recogniser's loop; twice is emphasis (``muito muito``)."""


def drop_fillers(pieces: Sequence[Piece], language: str) -> list[Piece]:
    """``pieces`` without fillers and stutters; nothing is dropped in a language that is not known.

    Of a word said again and again one piece stays, resting on all of them: function words (``eu eu eu``) from twice on, other words from three times on,
    numbers and spelled letters never. A fragment (``can- cancelar``) goes where the next word begins with it. The end of a sentence that hung on
    a filler moves to the word before (``isso, né?`` -> ``isso?``). A text of fillers alone becomes empty.
    """
    code = primary(language)
    if code not in FUNCTION_WORDS:
        return list(pieces)
    tokens = [split(piece.text) for piece in pieces]
    hesitant = [hesitation(token.core, token.tail, code) for token in tokens]
    shouted = not any(token.core != token.core.upper() for token, dropped in zip(tokens, hesitant, strict=True) if not dropped)
    kept: list[tuple[Piece, Token]] = []
    for piece, token, dropped in zip(pieces, tokens, hesitant, strict=True):
        if dropped and (shouted or not _acronym(token.core)):
            if kept:
                kept[-1] = _ended(*kept[-1], token)
        else:
            kept.append((piece, token))
    return _without_stutters(_without_fragments(kept), code)


def _acronym(core: str) -> bool:
    return len(core) > 1 and core.isupper()


def _ended(piece: Piece, token: Token, filler: Token) -> tuple[Piece, Token]:
    """The word before a dropped filler, with the end of sentence that the filler bore."""
    end = filler.tail[-1:]
    ellipsis = filler.tail.startswith("..")
    if end not in _SENTENCE_ENDS or ellipsis or filler.lead or token.tail not in {"", ","}:
        return piece, token
    ended = token._replace(tail=end)
    return Piece("".join(ended), piece.first, piece.last), ended


def _without_fragments(kept: list[tuple[Piece, Token]]) -> list[tuple[Piece, Token]]:
    if not any(token.tail == "-" for _, token in kept):
        return kept
    whole = [
        entry
        for entry, (_, after) in pairwise(kept)
        if not (entry[1].tail == "-" and entry[1].core.isalpha() and fold(after.core).startswith(fold(entry[1].core)))
    ]
    return [*whole, kept[-1]]


def _without_stutters(kept: list[tuple[Piece, Token]], language: str) -> list[Piece]:
    folded = [fold(token.core) for _, token in kept]
    out: list[Piece] = []
    start = 0
    while start < len(kept):
        end = start + 1
        while end < len(kept) and folded[end] == folded[start] and _runs_on(kept[end - 1][1], kept[end][1]):
            end += 1
        if end - start > 1 and _stutter([token.core for _, token in kept[start:end]], folded[start], language):
            text = kept[start][1].lead + kept[start][1].core + kept[end - 1][1].tail
            out.append(Piece(text, kept[start][0].first, kept[end - 1][0].last))
        else:
            out.extend(piece for piece, _ in kept[start:end])
        start = end
    return out


def _runs_on(before: Token, after: Token) -> bool:
    return not after.lead and (before.tail.startswith(("...", "…")) or before.tail in _RUNNING_ON)


def _stutter(cores: list[str], folded: str, language: str) -> bool:
    if not folded or not folded.replace("'", "").isalpha() or is_number_word(folded, language):
        return False
    spelled = len(folded) == 1 and all(core.isupper() for core in cores) and folded != "i"
    if folded in FUNCTION_WORDS[language]:
        return not spelled
    return len(cores) >= _EMPHASIS and len(folded) > 1
