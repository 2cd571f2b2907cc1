"""Finds in a message what it claims: that something is offered, granted, promised, reported or refused, and with which amounts.

The word lists are in ``claims.toml``. The three languages are read together, so that a message that mixes them is held to the same.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
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
_UNIT: Final = re.compile(r"[%$\u20ac\u00a3]|cento|ciento|per ?cent|reais|real|euro|peso|dolar|dollar|pound|soles|quid|bucks")
"""Without one of these nothing is an amount: what makes the reading of number words worth its while."""
_AMOUNT: Final = re.compile(r"[\d%$\u20ac\u00a3]")


@cache
def claim(name: str) -> re.Pattern[str]:
    """The pattern of one word list, for text made by ``plain``."""
    lists: dict[str, list[str]] = tomllib.loads(files("malha.insight").joinpath("claims.toml").read_text("utf-8"))
    return re.compile(_pattern(lists[name]))


@lru_cache(maxsize=256)
def plain(text: str) -> str:
    """Without case and accents, as ``claim`` reads it; the imperative ``d\u00ea`` is told apart from ``de``."""
    return fold(_GIVE.sub("dee", unicodedata.normalize("NFC", text)))


def amounts(text: str) -> set[str]:
    """Percentages (``%90``) and prices (``$79.90``) in a text, written or said in any of the languages."""
    found: set[str] = set()
    if not _UNIT.search(plain(text)):
        return found
    for language in LANGUAGES:
        folded = plain(joined(fold_numbers(pieces(text), language)))
        found |= {f"%{_value(number)}" for number in _PERCENT.findall(folded)}
        found |= {f"${_value(before or after)}" for before, after in _MONEY.findall(folded)}
    return found


def first(patterns: Sequence[re.Pattern[str]], text: str) -> int:
    """Where the first match of any of the patterns begins; the text's length where there is none."""
    return min((match.start() for pattern in patterns if (match := pattern.search(text))), default=len(text))


def reports(text: str, what: re.Pattern[str] | None) -> bool:
    """Whether a sentence (made by ``plain``) only tells what the customer says or wants, before it names ``what``; nothing in it may grant it.

    ``what`` is a pattern of what is named, None for an amount.
    """
    if any(claim(name).search(text) for name in ("offer", "grant", "tell")):
        return False
    head = text[: first([what or _AMOUNT], text)]
    subject = claim("customer").search(head)
    verb = (
        _verb_of(subject, head)
        if subject
        else claim("report_alone").match(head) or claim("report_that").match(head) or _named_reporter(head)
    )
    if verb is None:
        return False
    grants = claim("granted").search(text)
    return grants is None or re.search(r"\b(?:que|that)\b", text[verb.end() : grants.start()]) is not None


def _verb_of(subject: re.Match[str], head: str) -> re.Match[str] | None:
    """How the customer's words are reported; around the subject where it is said whose they are (``segundo o cliente``)."""
    next_word = re.compile(r"\s*").match(head, subject.end())
    plural = claim("report_plural").match(head, next_word.end()) if next_word else None
    return claim("report").search(head, subject.end()) or plural or claim("according").search(head)


def _named_reporter(text: str) -> re.Match[str] | None:
    """The verb after a single first word: ``Paulo quer saber``. No imperative stands before one."""
    name = re.match(r"[^\W\d_]+\s+", text)
    return claim("report_alone").match(text, name.end()) if name else None


def _pattern(terms: Iterable[str]) -> str:
    """A pattern of whole words and phrases; `*` ends one that goes on, `^` begins one at the start of the text. The longest is found."""
    first_ones = {term[1:] for term in terms if term.startswith("^")}
    rest = {term for term in terms if not term.startswith("^")}
    marks = {term for term in rest if not term[0].isalnum()}
    parts = [(r"(?<!\w)", rest - marks), ("", marks), (r"^[\W_]*", first_ones)]
    return "|".join(begin + _branches(sorted(some)) for begin, some in parts if some)


def _branches(terms: Sequence[str]) -> str:
    """Terms that share beginnings share them in the pattern as well: it takes a fifth of the time of a plain list."""
    ends = {"*": r"\w*", "": r"(?!\w)"}
    kept = [ends[term] for term in ("*", "") if term in terms]
    longer = groupby((term for term in terms if term not in ends), key=itemgetter(0))
    return "(?:" + "|".join([*(re.escape(letter) + _branches([term[1:] for term in some]) for letter, some in longer), *kept]) + ")"


def _value(number: str) -> str:
    """Decimal marks apart: ``79,90`` and ``79.90`` are the same, and ``99,00`` is 99."""
    return re.sub(r"\D", "", re.sub(r"[.,]00$", "", number)).lstrip("0") or "0"
