"""What of a message is the customer's own words, and says so: ``O cliente diz: "quero cancelar"``, ``"I want to cancel", she says``.

Such words are no advice, offer or claim of the message: the checks of those read it without them. They have to stand between quotation marks, word for word
as the customer said them, in a sentence that gives them to the customer and to nobody else. All else of a message is the message's own.
"""

import re
from collections.abc import Sequence
from typing import Final

from malha.insight.claims import claim, plain
from malha.insight.domain import Utterance
from malha.insight.evidence import quoted

_QUOTATION: Final = re.compile('["\u201c\u201d\u00ab]([^"\u201c\u201d\u00ab\u00bb]+)["\u201c\u201d\u00bb]')
_SENTENCE_END: Final = re.compile(r"[;!?\n]|\.(?!\d)")
_TAIL_END: Final = re.compile(r"[;:!?\n]|\.(?!\d)")
_LIGHT: Final = frozenset(["said", "o", "a", "el", "la", "the"])
LONGEST_AFTER: Final = 4
"""Words between the verb and what it introduces: ``diz com raiva:``."""


def without_quotations(message: str, window: Sequence[Utterance]) -> str:
    """The message without what it quotes of the customer, and without who says so where that comes after."""
    parts, place = [], 0
    for match in _QUOTATION.finditer(message):
        if match.start() < place or not _is_said(match.group(1), window):
            continue
        head = plain(_SENTENCE_END.split(message[place : match.start()])[-1]).strip(" ,")
        tail = _TAIL_END.split(message[match.end() :])[0]
        if _introduces(head):
            end = match.end()
        elif not head and _follows(plain(tail)):
            end = match.end() + len(tail)
        else:
            continue
        parts += [message[place : match.start()].rstrip(" :,"), ". "]
        place = end
    return "".join([*parts, message[place:]]) if parts else message


def _is_said(words: str, window: Sequence[Utterance]) -> bool:
    """Whether somebody who is no agent said it so."""
    return any(utterance.role != "agent" and quoted(words, utterance.text, utterance.language) for utterance in window)


def _introduces(head: str) -> bool:
    """``O cliente diz:``, ``Ela afirma que``, ``Diz:``."""
    if claim("speaker").search(head):
        return False
    subject = claim("customer").search(head)
    verb = claim("report").search(head, subject.end()) if subject else claim("report_alone").match(head)
    return verb is not None and len(head[verb.end() :].split()) <= LONGEST_AFTER


def _follows(tail: str) -> bool:
    """``diz ele``, ``the customer says``, ``añade``: a verb, perhaps whose it is, and nothing else."""
    rest = claim("customer").sub(" ", claim("report").sub(" said ", tail, count=1), count=1)
    return "said" in rest.split() and set(rest.replace(",", " ").split()) <= _LIGHT
