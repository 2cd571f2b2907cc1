"""The lexicon of each language."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from malha.text.numbers import english, portuguese, spanish
from malha.text.numbers.grammar import Kind, Lexicon

_LEXICONS: Final[Mapping[str, Lexicon]] = {"pt": portuguese.LEXICON, "es": spanish.LEXICON, "en": english.LEXICON}


def lexicon(language: str) -> Lexicon | None:
    """The lexicon of a primary language subtag; None for a language without."""
    return _LEXICONS.get(language)


@lru_cache(maxsize=32)
def number_words(*languages: str) -> frozenset[str]:
    """The folded words that can be a digit or part of a number in any of the languages (primary subtags), connectives aside."""
    known = [_LEXICONS[language] for language in languages if language in _LEXICONS]
    return frozenset(word for each in known for word, entry in each.words.items() if Kind.DIGIT <= entry.kind <= Kind.SCALE)


def is_number_word(folded: str, language: str) -> bool:
    """Whether a folded word is one of `number_words`."""
    return folded in number_words(language)
