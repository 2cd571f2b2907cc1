"""The words of an utterance as phrases, topics and evidence compare them: by stem, each knowing where in the text it stands."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from malha.text.stems import stems
from malha.text.tokens import fold, primary
from malha.text.words import FUNCTION_WORDS

_APOSTROPHES: Final = "'`\u2019\u00b4"
_HYPHENS: Final = "\\-\u2010"
_LETTERS: Final = "(?:[^\\W_]++[\u0300-\u036f]*+)++"
"""With accents of their own characters (NFD), as some editors write them."""
_WORD: Final = re.compile(rf"{_LETTERS}(?:[{_APOSTROPHES}{_HYPHENS}]{_LETTERS})*")
_BREAK: Final = re.compile("[.,;:!?\u2026\u00bf\u00a1\n]|\\s[\u2013\u2014-]\\s")
_CONJUNCTIONS: Final[Mapping[str, frozenset[str]]] = {
    "pt": frozenset(["mas", "porem", "entao"]),
    "es": frozenset(["pero", "sino", "entonces"]),
    "en": frozenset(["but", "so", "because"]),
}
"""Words that begin a new clause as punctuation does, where the recogniser writes none."""
_ENGLISH_ENDS: Final = {"n't": "not", "'m": "am", "'re": "are", "'ll": "will", "'ve": "have", "'d": "would", "'s": ""}
_WHOLE: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "can't": "can not",
        "cannot": "can not",
        "cant": "can not",
        "won't": "will not",
        "wont": "will not",
        "dont": "do not",
        "doesnt": "does not",
        "didnt": "did not",
        "isnt": "is not",
        "wanna": "want to",
        "gonna": "going to",
    },
    "pt": {"pra": "para", "pro": "para o", "ta": "esta", "to": "estou", "vc": "voce", "ce": "voce", "tava": "estava"},
    "es": {"pa": "para"},
}
"""Spoken and joined forms, and what they stand for; folded."""
_HARD_END: Final = re.compile(r"(?<=..)(?:(g)u|qu)$")
"""``liguei``, ``fique``: the u only keeps the consonant hard before e and i, and ``ligar``, ``ficar`` have none."""


class Word(NamedTuple):
    """One word of a text."""

    stem: str
    folded: str
    """Without case and accents."""
    start: int
    """Of its first character."""
    end: int
    """After its last."""
    clause: int
    """Counts the clauses of the text: a negation does not reach into the next."""


def words(text: str, language: str) -> tuple[Word, ...]:
    """The words of ``text`` in ``language`` (any BCP 47 tag; of an unknown one the stems are the folded words).

    A contraction yields one word for each it is made of (``don't``: ``do``, ``not``), all at the same place.
    """
    language = primary(language)
    conjunctions = _CONJUNCTIONS.get(language, frozenset())
    found: list[Word] = []
    clause, reached = 0, 0
    for match in _WORD.finditer(text):
        start, end = match.span()
        if text[reached:start] != " " and _BREAK.search(text, reached, start):
            clause += 1
        reached = end
        raw = match.group()
        for folded, stemmed in ((raw, raw),) if raw.isdecimal() else _parts(raw, language):
            if folded in conjunctions:
                clause += 1
            found.append(Word(stemmed, folded, start, end, clause))
    return tuple(found)


def content(found: tuple[Word, ...], language: str) -> list[str]:
    """The stems that carry meaning: no function words of the language, no single letters."""
    functional = FUNCTION_WORDS.get(primary(language), frozenset())
    return [word.stem for word in found if word.folded not in functional and len(word.folded) > 1]


@lru_cache(maxsize=32_768)
def _parts(raw: str, language: str) -> tuple[tuple[str, str], ...]:
    """(folded, stem) of each word that one written word stands for."""
    folded = fold(raw).translate({ord(mark): "'" for mark in _APOSTROPHES})
    return tuple((part, _stem(part, language)) for part in _expanded(folded, language))


def _stem(folded: str, language: str) -> str:
    """Of the folded word, so that accents left out by a recogniser or a person make no difference."""
    found = stems(folded, language)
    stemmed = found[0] if len(found) == 1 else folded
    return stemmed if language == "en" else _HARD_END.sub(lambda end: "g" if end.group(1) else "c", stemmed)


def _expanded(folded: str, language: str) -> list[str]:
    whole = _WHOLE.get(language, {}).get(folded)
    if whole is not None:
        return whole.split()
    if language == "en":
        for end, word in _ENGLISH_ENDS.items():
            if folded.endswith(end) and len(folded) > len(end):
                return [part for part in (folded.removesuffix(end), word) if part]
    return re.split(r"[-'\u2010]", folded)
