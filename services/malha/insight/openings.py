"""Whether every sentence of a message begins as advice, a warning or a summary does.

A list of what may not be said never ends; how an operator's hint begins does. Prompts ask for an imperative out of a few dozen, a risk, or whom it is about:
an order to grant, change or hand over something begins with another word, in whichever words it goes on.
"""

import re

from malha.insight.claims import claim, plain

_END = re.compile(r"[;!?:\n]+\s*|\.(?!\d)\s*|\s[\u2013\u2014-]\s")


def begins_well(message: str) -> bool:
    """Whether each of its sentences does; one may also begin with a name and what it says or wants, or with a number."""
    return all(_begins_well(plain(part).lstrip(" ,\"'\u201c\u00ab(\u00bf\u00a1")) for part in _END.split(message))


def _begins_well(text: str) -> bool:
    if not text or not text[0].isalpha() or claim("opening").match(text):
        return True
    second = re.match(r"[^\W\d_]+\s+", text)
    return second is not None and claim("report").match(text, second.end()) is not None
