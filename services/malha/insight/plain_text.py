"""Makes a model's words plain text, and tells which language they are in."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from malha.text.tokens import fold, primary, word_set
from malha.text.words import FUNCTION_WORDS

LEAST_WORDS: Final = 4
"""A shorter text tells too little of its language."""
MARGIN: Final = 2
"""So many more words of another language make it that one."""
FOREIGN_WORDS: Final = 9
"""So many words without one of the language make it another, whichever."""

_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_TAG: Final = re.compile(r"</?[A-Za-z!|][^<>]*>")
_MARKS: Final = re.compile(r"[`*~<>{}|\\]+|^\s*(?:#+|[-+>])\s+|_{2,}", re.MULTILINE)
_QUOTED: Final = re.compile('["\u201c\u00ab][^"\u201c\u201d\u00ab\u00bb]*["\u201d\u00bb]')
_OWN_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "pt": word_set(
        "nao uma um com em no na nos nas ao aos da das do dos pelo pela e voce foi ele ela seu sua isso esta muito mais sem ja ate tambem quer pede diz a o os as"
    ),
    "es": word_set(
        "no una un con en el la los las al del por y usted fue su sus eso esta muy mas sin ya hasta tambien quiere pide dice lo le que"
    ),
    "en": word_set(
        "the and of to is was with for not a an in on by he she they wants asks says customer their his her that this has be it"
    ),
}
"""Small words of each language; those that two share count for both and decide nothing."""


def cleaned(text: str) -> str:
    """One line of plain text: no control, format or unassigned characters, no markup; compatibility forms as what they stand for (NFKC)."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(each for each in text if each in "\n\r\t" or not unicodedata.category(each).startswith("C"))
    text = _MARKS.sub("", _TAG.sub("", _LINK.sub(r"\1", text)))
    return " ".join(text.split())


def speaks(text: str, language: str) -> bool:
    """Whether a text may be in a language (any BCP 47 tag). Where it cannot be told, it may."""
    code = primary(language)
    if any(each.isalpha() and not unicodedata.name(each, "").startswith(("LATIN", "FEMININE", "MASCULINE")) for each in text):
        return code not in _OWN_WORDS
    if code not in _OWN_WORDS:
        return True
    said = [fold(word) for word in re.findall(r"[^\W\d_]+", _QUOTED.sub(" ", text))]
    if len(said) < LEAST_WORDS:
        return True
    votes = {each: sum(word in own or word in FUNCTION_WORDS[each] for word in said) for each, own in _OWN_WORDS.items()}
    other = max(count for each, count in votes.items() if each != code)
    return votes[code] + MARGIN > other and (votes[code] > 0 or len(said) < FOREIGN_WORDS)
