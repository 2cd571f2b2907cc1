"""The words advice is made of: what a message may say although nobody in the call, the catalogue or the knowledge base did.

They are those of our own files: prompts, rules, the rule engine's advice, word lists and the phrases topics are learnt from. A message with several others
tells something that came from nowhere: a person, a street, a text in rot13. Known limit: one strange word is let through, as models paraphrase.
"""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import Final

from malha.insight.claims import LANGUAGES
from malha.insight.reading import Text
from malha.insight.words import content, words
from malha.text.numbers import is_number_word
from malha.text.tokens import primary

MOST_STRANGE: Final = 2
"""Words of a message that nobody gave and that are not of ours."""

_FILES: Final = ("claims.toml", "advice.toml", "builtin_rules.toml")
_FOLDERS: Final = ("prompts_text", "topic_phrases")


def strange(message: Text, source: Text) -> bool:
    """Whether a message has too many words from nowhere, or two of them side by side, as names of people and places are."""
    code = primary(message.language)
    if code not in LANGUAGES:
        return False
    known = _vocabulary(code)
    odd = [not (stem in source.stems or stem in known or stem[0].isdigit() or is_number_word(stem, code)) for stem in message.content]
    return sum(odd) > MOST_STRANGE or any(one and after for one, after in pairwise(odd))


@cache
def _vocabulary(code: str) -> frozenset[str]:
    """Stems of a language, about 3,000."""
    text = "\n".join(each.read_text("utf-8") for each in _texts())
    return frozenset(content(words(text, code), code))


def _texts() -> list[Traversable]:
    """In every language: a list of ours is read in all three."""
    package = files("malha.insight")
    found = [package.joinpath(name) for name in _FILES]
    return found + [each for folder in _FOLDERS for each in package.joinpath(folder).iterdir() if each.name.endswith((".md", ".txt"))]
