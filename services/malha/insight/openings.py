"""Whether every sentence of a message begins as advice, a warning or a summary does.

A list of what may not be said never ends; how an operator's hint begins does. Prompts ask for an imperative out of a few dozen, a risk, or whom it is about:
an order to grant, change or hand over something begins with another word, in whichever words it goes on.
"""

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from malha.insight.claims import claim, plain

_END: Final = re.compile(r"[;!?\n]+\s*|\.(?!\d)\s*|:(?!\d)\s*|\s[\u2013\u2014-]\s")
_BEFORE: Final = " ,\"'\u201c\u201d\u00ab\u00bb(\u00bf\u00a1"
_OPEN: Final = re.compile(r"(?:abra|open)\s+(?:um|uma|o|a|un|una|el|la|the|an)\s+")
"""A case, an analysis, a complaint."""
_PAST: Final = re.compile(r"[^\W\d_]{3,}(?:ou|eu|iu|aram|eram|iram|\u00f3|aron|ieron)(?!\w)", re.IGNORECASE)
"""A verb that narrates: ``mandou``, ``perdi\u00f3``. No imperative of ours ends so."""


def begins_well(message: str, names: Iterable[str] = ()) -> bool:
    """Whether each of its sentences does.

    One may also begin with a number, with one of the ``names`` (of what is offered), and with a name and what it says or wants. What follows a sentence about the
    customer may go on with what they said or did, and what follows a label (``Motivo:``) be what it names.
    """
    parts = [each for part in _END.split(message) if (each := unicodedata.normalize("NFC", part).lstrip(_BEFORE))]
    offered = [plain(name) for name in names]
    return all(_begins_well(plain(part), offered) or _goes_on(before, part) for before, part in pairwise(["", *parts]))


def _begins_well(text: str, offered: Iterable[str]) -> bool:
    if not text[0].isalpha() or claim("opening").match(text) or claim("according").match(text):
        return True
    if any(text.startswith(name) for name in offered if name):
        return True
    case = _OPEN.match(text)
    if case is not None and claim("service").match(text, case.end()):
        return True
    second = re.match(r"[^\W\d_]+\s+", text)
    return second is not None and claim("report").match(text, second.end()) is not None


def _goes_on(before: str, part: str) -> bool:
    """Whether a sentence goes on with what the one before it is about."""
    told, text = plain(before), plain(part)
    if claim("label").fullmatch(told):
        return not any(
            claim(name).match(text) for name in ("offer", "grant", "hand_out", "suggest", "tell", "accept", "obtain", "urge", "benefit")
        )
    if not told or claim("customer").search(told) is None:
        return False
    return any(claim(name).match(text) for name in ("report_alone", "report_that", "state")) or _PAST.match(part) is not None
