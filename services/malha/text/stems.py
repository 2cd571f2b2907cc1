"""Words as stems, for comparing what was said with what is looked for."""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from snowballstemmer import stemmer

from malha.text.tokens import fold, primary
from malha.text.words import FUNCTION_WORDS

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_ALGORITHMS: Final[Mapping[str, str]] = {"pt": "portuguese", "es": "spanish", "en": "english"}
_UNACCENTED: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "pt": (("cao", "ção"), ("coes", "ções"), ("sao", "são"), ("soes", "sões")),
    "es": (("cion", "ción"), ("sion", "sión")),
}
"""Endings that a recogniser writes without accents and the algorithms know only with them."""
_SHORT_WORD = 3
"""Stems of so short words meet by accident: ``não`` and ``na``."""
_CACHED_WORDS = 16_384
_LONGEST_WORD = 40
"""Longer ones are cut: no word of these languages is as long, and the cache holds them."""


def stems(text: str, language: str, *, stop_words: bool = True) -> list[str]:
    """The stems of the words and numbers of ``text``, in order, lower-case and without accents.

    By the Snowball algorithms (https://snowballstem.org) for Portuguese, Spanish and English; words of other languages are only folded. Without
    ``stop_words`` function words are left out.
    """
    code = primary(language)
    known = FUNCTION_WORDS.get(code, frozenset()) if not stop_words else frozenset()
    found = (word[:_LONGEST_WORD].lower().replace("\u2019", "'") for word in _WORD.findall(unicodedata.normalize("NFC", text)))
    if known:
        found = (word for word in found if fold(word) not in known)
    return [word if word[0].isdigit() else _stem(word, code) for word in found]


@lru_cache(maxsize=_CACHED_WORDS)
def _stem(word: str, language: str) -> str:
    """The stem of a lower-case word. Numbers never come here: the cache must hold nothing that is somebody's."""
    algorithm = _ALGORITHMS.get(language)
    if algorithm is None or len(word) <= _SHORT_WORD or fold(word) in FUNCTION_WORDS[language]:
        return fold(word)
    for plain, accented in _UNACCENTED.get(language, ()):
        if word.endswith(plain) and len(word) > len(plain) + 1:
            word = word.removesuffix(plain) + accented
            break
    return fold(str(stemmer(algorithm).stemWord(word)))
