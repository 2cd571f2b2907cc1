"""Whether an insight rests on what was said: its quotes are in their segments, and it tells no number, link or name that nobody gave.

What somebody gave is the window, the tenant's catalogue and the pieces of its knowledge base. Applied to the model's answers, which are untrusted.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from malha.insight.claims import claim
from malha.insight.domain import Evidence, Offer, Utterance
from malha.insight.reading import Text, read
from malha.insight.vocabulary import strange
from malha.insight.words import words
from malha.text.tokens import fold

NO_EVIDENCE: Final = "NO_EVIDENCE"
UNKNOWN_SEGMENT: Final = "UNKNOWN_SEGMENT"
QUOTE_NOT_FOUND: Final = "QUOTE_NOT_FOUND"
UNSUPPORTED_NUMBER: Final = "UNSUPPORTED_NUMBER"
UNSUPPORTED_LINK: Final = "UNSUPPORTED_LINK"
UNSUPPORTED_NAME: Final = "UNSUPPORTED_NAME"
UNRELATED: Final = "UNRELATED"

LEAST_OVERLAP: Final = 0.1
"""Share of a message's content words that somebody else said first; advice has words of its own, but only those where it has something checked."""

_LINK: Final = re.compile(
    r"(?:[a-z]{2,8}://|www\.)\S+|\S+@\S+\.\w+|(?<![\w.])[\w-]*[^\W\d_][\w-]*(?:\.[\w-]+)*\.[^\W\d_]{2,}\b(?:/\S*)?", re.IGNORECASE
)
"""Two words with a full stop and no space between them are one, whatever the domain is."""
_SPOKEN_LINK: Final = re.compile(
    r"\w+\s+(?:ponto|punto|dot)\s+(?:com|net|org|gov|info|app|shop|site|online|store|club|link|xyz|me|ly|io|co|br|es|pt|mx|uk)\b"
    r"|\w+\s+arroba\s+\w+|\w+\s+at\s+\w+\s+dot\s+\w+|\bwww\b|\bhttps?\b",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\d+(?:[.,/:-]?\d+)*")
_NAME: Final = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_CURRENCY: Final = re.compile(r"\b(?:R|US|S)(?:\$|/\.?)(?=\s*\d)")
"""``R$ 10``: the letter is no name."""
_SENTENCE_END: Final = frozenset('.!?:;\u2026"\u201c\u201d\u00ab([-\u2013\u2014\u00bf\u00a1\n')
_COMMON_NAMES: Final = frozenset(
    ["procon", "anatel", "lgpd", "gdpr", "rgpd", "sac", "pix", "cpf", "cnpj", "rg", "dni", "nif", "nie", "sms", "wifi", "wi-fi", "e-mail", "email", "app", "ouvidoria", "i", "ok", "id", "pin", "sr", "sra"]
)  # fmt: skip
"""Names anybody may use."""


def supported(
    message: str,
    evidence: Sequence[Evidence],
    window: Sequence[Utterance],
    *,
    language: str = "",
    catalogue: Sequence[Offer] = (),
    knowledge: Sequence[str] = (),
) -> str | None:
    """Why an insight does not rest on what was said; None where it does.

    ``language`` is a BCP 47 tag, by which words are compared; where it is empty, that of the window. ``knowledge`` are the texts the model was given.
    """
    language = language or next((utterance.language for utterance in window if utterance.language), "")
    return _quotes_problem(evidence, window, language) or grounded(
        message, window, language=language, catalogue=catalogue, knowledge=knowledge
    )


def grounded(
    message: str, window: Sequence[Utterance], *, language: str, catalogue: Sequence[Offer] = (), knowledge: Sequence[str] = ()
) -> str | None:
    """The same for a message whose quotes are known to be good. Links are given by agents, catalogue and knowledge: a customer's may be a trap."""
    told = read(message, language)
    listed = [text for offer in catalogue for text in (offer.name, offer.description, offer.price, *offer.keywords)]
    listed += knowledge
    source = read("\n".join([*(utterance.text for utterance in window), *listed]), language)
    found = links(told.text)
    if found and found - links("\n".join([*listed, *(utterance.text for utterance in window if utterance.role == "agent")])):
        return UNSUPPORTED_LINK
    said = _numbers_of(read(_LINK.sub(" ", told.text), language))
    if said and said - _numbers_of(source):
        return UNSUPPORTED_NUMBER
    named = names(told.text)
    if named and named - _known(source.text):
        return UNSUPPORTED_NAME
    related = _overlap(told, source) >= LEAST_OVERLAP or claim("careful").match(told.plain)
    return UNRELATED if not related or strange(told, source) else None


def quoted(quote: str, text: str, language: str) -> bool:
    """Whether the words of ``quote`` stand in ``text`` one after the other, by stem, whatever their case, accents and punctuation."""
    wanted, said = ([word.stem for word in words(each, language)] for each in (quote, text))
    return bool(wanted) and any(said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1))


def links(text: str) -> set[str]:
    """Addresses of pages and mailboxes, folded."""
    written = {link.rstrip(".,;:!?)\"'").lower() for link in _LINK.findall(text)}
    return written | {" ".join(link.lower().split()) for link in _SPOKEN_LINK.findall(text)}


def numbers(text: str, language: str) -> set[str]:
    """The digits of every number, said or written; decimal marks, groups and leading zeros aside. A price of whole units is the same with and without ``,00``."""
    return _numbers_of(read(text, language))


def _numbers_of(text: Text) -> set[str]:
    found: set[str] = set()
    for written in (text.text, text.digits):
        for number in _NUMBER.findall(written):
            whole = re.sub(r"[.,]00$", "", number)
            found.add(re.sub(r"\D", "", whole).lstrip("0") or "0")
    return found


def names(text: str) -> set[str]:
    """Words written as names are, folded: a capital within a sentence. The first word of a sentence tells nothing."""
    text = _CURRENCY.sub("$", text)
    return {fold(match.group()) for match in _NAME.finditer(text) if match.group()[0].isupper() and not _begins(text, match.start())}


def _begins(text: str, at: int) -> bool:
    before = text[:at].rstrip(" \t'")
    return not before or before[-1] in _SENTENCE_END


def _known(source: str) -> set[str]:
    return {fold(match.group()) for match in _NAME.finditer(source)} | _COMMON_NAMES


def _quotes_problem(evidence: Iterable[Evidence], window: Sequence[Utterance], language: str) -> str | None:
    texts = {utterance.segment_id: utterance for utterance in window}
    found = False
    for each in evidence:
        utterance = texts.get(each.segment_id)
        if utterance is None:
            return UNKNOWN_SEGMENT
        if not quoted(each.quote, utterance.text, utterance.language or language):
            return QUOTE_NOT_FOUND
        found = True
    return None if found else NO_EVIDENCE


def _overlap(message: Text, source: Text) -> float:
    """The share of the message's content words that the source has."""
    told = set(message.content)
    return len(told & set(source.content)) / len(told) if told else 0.0
