"""Whether a message gives away what it must not: the prompt, other people's data, or a way round the operator's checks."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from malha.insight.claims import claim, plain
from malha.insight.domain import Utterance
from malha.insight.evidence import names
from malha.insight.prompts import confidential
from malha.insight.quotations import without_quotations
from malha.insight.reading import read
from malha.insight.safety import unsafe
from malha.insight.words import content, words
from malha.text.tokens import fold

PROMPT_TEXT: Final = "PROMPT_TEXT"
FOREIGN_DATA: Final = "FOREIGN_DATA"
UNSAFE: Final = "UNSAFE_ADVICE"

RUN: Final = 5
"""So many words in a row as in the prompt are the prompt's."""
LONGEST_WORD: Final = 30
"""Letters; what is longer is no word but something encoded."""
_SPELLED: Final = re.compile(r"(?<!\w)(?:[^\W\d_][\s.,-]+){4,}[^\W\d_](?!\w)")
_COPULA: Final = re.compile(r"(?<!\w)\u00e9(?!\w)", re.IGNORECASE)
"""Without its accent it is ``and``."""
_VALUE: Final = re.compile(r"(?:\w+\s+){0,5}?(?<!\w)(?:eh|es|is|sao|son|are|era|was)(?!\w)\s+|[:=]\s*")


def leak(message: str, language: str, window: Sequence[Utterance], given: Sequence[str], system: str) -> str | None:
    """Why a message may not be shown; None where it may. ``given`` are the texts besides the window that it may tell: catalogue and knowledge."""
    text, source = plain(message), "\n".join([*(utterance.text for utterance in window), *given])
    if claim("meta").search(text) or _repeats(message, source, system):
        return PROMPT_TEXT
    if _encoded(message, source) or _others(message, text) or _told_value(message, language, source):
        return FOREIGN_DATA
    agents = "\n".join(utterance.text for utterance in window if utterance.role == "agent")
    own = without_quotations(message, window)
    return UNSAFE if _bypasses(plain(own)) or unsafe(own, agents, language) else None


def _bypasses(text: str) -> bool:
    """Whether it advises to go round what protects the customer; it may be told that the customer wants that, and be refused."""
    if claim("refuse").search(text):
        return False
    wish = claim("bypass_wish").search(text)
    wanted = wish is not None and _asked(text[: wish.start()])
    return claim("bypass").search(text) is not None or (wish is not None and not wanted)


def _asked(text: str) -> bool:
    """Whether a customer wants something, as far as a text goes."""
    customer = claim("customer").search(text)
    return customer is not None and claim("seeks").search(text, customer.end()) is not None


def _repeats(message: str, source: str, system: str) -> bool:
    told = _runs(message) & _prompt_runs(system)
    return bool(told and told - _runs(source))


@lru_cache(maxsize=64)
def _prompt_runs(system: str) -> frozenset[tuple[str, ...]]:
    return _runs(confidential(system))


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    said = [fold(word) for word in re.findall(r"\w+", text)]
    return frozenset(tuple(said[at : at + RUN]) for at in range(len(said) - RUN + 1))


def _encoded(message: str, source: str) -> bool:
    """Whether something is spelled out or encoded that nobody said so."""
    found = _SPELLED.findall(message) + [word for word in re.findall(r"[\w+/=-]+", message) if len(word) > LONGEST_WORD]
    return any(plain(each) not in plain(source) for each in found)


def _others(message: str, text: str) -> bool:
    """Whether it speaks of another customer, but to say that their data is asked for or must not be told."""
    if not claim("others").search(text):
        return False
    refused = claim("withhold").search(text) is not None
    return not (_asked(text) or refused) or bool(names(message)) or any(character.isdigit() for character in text)


def _told_value(message: str, language: str, source: str) -> bool:
    """Whether a personal detail is told (``o endere\u00e7o \u00e9 ...``) with words that nobody said."""
    known = read(source, language).stems
    folded = plain(_COPULA.sub("eh", unicodedata.normalize("NFC", message)))
    for match in claim("personal").finditer(folded):
        value = _VALUE.match(folded[match.end() :].lstrip())
        if value is None:
            continue
        told = folded[match.end() :].lstrip()[value.end() :]
        stems = content(words(re.split(r"[.;!?\n]", told)[0], language), language)[:8]
        strange = [stem for stem in stems if stem not in known]
        if len(strange) >= 2:
            return True
    return False
