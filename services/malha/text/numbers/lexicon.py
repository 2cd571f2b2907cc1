"""The lexicon of each language."""

from collections.abc import Mapping
from typing import Final

from malha.text.numbers import english, portuguese, spanish
from malha.text.numbers.grammar import Kind, Lexicon

_LEXICONS: Final[Mapping[str, Lexicon]] = {"pt": portuguese.LEXICON, "es": spanish.LEXICON, "en": english.LEXICON}


def lexicon(language: str) -> Lexicon | None:
    """The lexicon of a primary language subtag; None for a language without."""
    return _LEXICONS.get(language)


def is_number_word(folded: str, language: str) -> bool:
    """Whether a folded word can be a digit or part of a number in a language (a primary subtag), connectives aside."""
    known = _LEXICONS.get(language)
    entry = known.words.get(folded) if known else None
    return entry is not None and Kind.DIGIT <= entry.kind <= Kind.SCALE
