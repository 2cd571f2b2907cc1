"""Finds in a message what it claims: that something is offered, granted, promised, reported or refused, and with which amounts.

The word lists are in ``claims.toml``. The three languages are read together, so that a message that mixes them is held to the same.
"""

import re
import tomllib
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from malha.text.numbers import fold_numbers
from malha.text.spans import joined, pieces
from malha.text.tokens import fold

LANGUAGES: Final = ("pt", "es", "en")

_GIVE: Final = re.compile(r"\bd[\u00ea\u00e9](?:le|-lhe|les)?\b", re.IGNORECASE)
"""``d\u00ea``, ``d\u00e9``: without their accents they are prepositions."""
_PERCENT: Final = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:%|por ?cento|por ?ciento|per ?cent)")
_MONEY: Final = re.compile(
    r"(?:r\$|us\$|\$|\u20ac|\u00a3)\s*(\d+(?:[.,]\d+)*)"
    r"|(\d+(?:[.,]\d+)*)\s*(?:(?:de )?(?:reais|real|euros?|pesos?|dolares|dollars?|pounds?|soles|quid|bucks)\b|\u20ac|\u00a3|\$)"
)


@cache
def claim(name: str) -> re.Pattern[str]:
    """The pattern of one word list, for text made by ``plain``."""
    lists: dict[str, list[str]] = tomllib.loads(files("malha.insight").joinpath("claims.toml").read_text("utf-8"))
    return re.compile("|".join(_term(term) for term in sorted(set(lists[name]), key=len, reverse=True)))


def plain(text: str) -> str:
    """Without case and accents, as ``claim`` reads it; the imperative ``d\u00ea`` is told apart from ``de``."""
    return fold(_GIVE.sub("dee", unicodedata.normalize("NFC", text)))


def amounts(text: str) -> set[str]:
    """Percentages (``%90``) and prices (``$79.90``) in a text, written or said in any of the languages."""
    found: set[str] = set()
    for language in LANGUAGES:
        folded = plain(joined(fold_numbers(pieces(text), language)))
        found |= {f"%{_value(number)}" for number in _PERCENT.findall(folded)}
        found |= {f"${_value(before or after)}" for before, after in _MONEY.findall(folded)}
    return found


def first(patterns: Sequence[re.Pattern[str]], text: str) -> int:
    """Where the first match of any of the patterns begins; the text's length where there is none."""
    return min((match.start() for pattern in patterns if (match := pattern.search(text))), default=len(text))


def _term(term: str) -> str:
    begin = "^[\\W_]*" if term.startswith("^") else r"(?<!\w)"
    stem = term.lstrip("^")
    end = r"\w*" if stem.endswith("*") else r"(?!\w)"
    return begin + re.escape(stem.rstrip("*")) + end


def _value(number: str) -> str:
    """Decimal marks apart: ``79,90`` and ``79.90`` are the same, and ``99,00`` is 99."""
    return re.sub(r"\D", "", re.sub(r"[.,]00$", "", number)).lstrip("0") or "0"
