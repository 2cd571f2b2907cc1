"""What of a model's answer may be shown. The answer is untrusted: so is what was said, and the model may do as it says.

Judged in this order: JSON and its form, "not enough data", plain text, language, evidence, how its sentences begin, what nobody gave, the catalogue, and
what must not leak.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from malha.insight.catalogue import keeps_to_catalogue, named_offers
from malha.insight.domain import Draft, Evidence, InsightType, Offer, Request, Utterance
from malha.insight.evidence import grounded
from malha.insight.leaks import leak
from malha.insight.openings import begins_well
from malha.insight.plain_text import cleaned, speaks
from malha.insight.prompts import LONGEST_MESSAGE, LONGEST_QUOTE, MOST_EVIDENCE, NO_DATA
from malha.insight.quotations import without_quotations
from malha.insight.words import content, words
from malha.text.tokens import fold

INVALID_JSON: Final = "INVALID_JSON"
EMPTY: Final = "EMPTY"
WRONG_LANGUAGE: Final = "WRONG_LANGUAGE"
UNSUPPORTED: Final = "UNSUPPORTED"
NOT_IN_CATALOGUE: Final = "NOT_IN_CATALOGUE"

LONGEST_ANSWER: Final = 8_000
"""Characters of JSON, escapes included: four times what an answer within its limits has."""
LEAST_WORDS: Final = 3
"""Of a message."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A draft that may be shown, or why there is none."""

    draft: Draft | None
    reason: str
    """Empty, or ``INVALID_JSON``, ``EMPTY``, ``WRONG_LANGUAGE``, ``UNSUPPORTED``, ``NOT_IN_CATALOGUE``, ``PROMPT_TEXT``, ``FOREIGN_DATA``, ``UNSAFE_ADVICE``."""


@dataclass(frozen=True, slots=True)
class _Written:
    """An answer of the right form."""

    message: str
    confidence: float
    quotes: tuple[str, ...]


def check(
    raw: str, kind: InsightType, language: str, request: Request, offers: Sequence[Offer], quotes: Sequence[str], system: str
) -> Checked:
    """Judge an answer as it was written.

    ``language`` is the BCP 47 tag the answer is wanted in, ``quotes`` are the pieces of the knowledge base the model was given, ``system`` the prompt's static part.
    """
    written = _read(raw, kind)
    if written is None:
        return Checked(None, INVALID_JSON)
    message = cleaned(written.message)
    if _says_nothing(message):
        return Checked(None, EMPTY)
    evidence = _verbatim(written.quotes, request.window, language)
    named = named_offers(message, language, offers)
    problem = _problem(message, evidence, kind, language, request, named, quotes, system)
    if problem is not None or evidence is None:
        return Checked(None, problem or UNSUPPORTED)
    return Checked(Draft(kind, message, written.confidence, evidence, request.trigger, seq=request.seq), "")


def _verbatim(quotes: Sequence[str], window: Sequence[Utterance], language: str) -> tuple[Evidence, ...] | None:
    """The quotes as they stand in the window, whatever their case, accents and punctuation; None where one does not, or says nothing."""
    found: list[Evidence] = []
    for quote in quotes:
        if (evidence := _found(quote, window, language)) is None:
            return None
        found.append(evidence)
    return tuple(dict.fromkeys(found)) or None


def _found(quote: str, window: Sequence[Utterance], language: str) -> Evidence | None:
    """The words a quote repeats; of utterances that all have them, those of the newest."""
    for utterance in reversed(window):
        stretch = _stretch(quote, utterance.text, utterance.language or language)
        if stretch is not None:
            return Evidence(utterance.segment_id, stretch)
    return None


def _problem(
    message: str,
    evidence: Sequence[Evidence] | None,
    kind: InsightType,
    language: str,
    request: Request,
    offers: Sequence[Offer],
    quotes: Sequence[str],
    system: str,
) -> str | None:
    """The first thing wrong with an answer. ``offers`` are those it names: what is said of others is no source for it."""
    if not speaks(message, language):
        return WRONG_LANGUAGE
    if evidence is None or len(message.split()) < LEAST_WORDS:
        return UNSUPPORTED
    own = without_quotations(message, request.window)
    if not begins_well(own, [offer.name for offer in offers]):
        return UNSUPPORTED
    if grounded(message, request.window, language=language, catalogue=offers, knowledge=quotes) is not None:
        return UNSUPPORTED
    if not keeps_to_catalogue(own, kind, language, request.window, offers, quotes):
        return NOT_IN_CATALOGUE
    given = [*quotes, *(text for offer in offers for text in (offer.name, offer.description, offer.price))]
    return leak(message, language, request.window, given, system)


def _read(raw: str, kind: InsightType) -> _Written | None:
    """An answer that has exactly the form it was asked for; None where it has not."""
    if len(raw) > LONGEST_ANSWER:
        return None
    try:
        answer = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict) or answer.keys() != {"type", "message", "confidence", "evidence"} or answer["type"] != kind.value:
        return None
    message, confidence, quoted = answer["message"], answer["confidence"], answer["evidence"]
    if not isinstance(message, str) or not message.strip() or len(message) > LONGEST_MESSAGE:
        return None
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        return None
    if not isinstance(quoted, list) or len(quoted) > MOST_EVIDENCE or not all(_is_evidence(each) for each in quoted):
        return None
    return _Written(message, float(confidence), tuple(each["quote"] for each in quoted))


def _is_evidence(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"quote"}:
        return False
    return isinstance(value["quote"], str) and len(value["quote"]) <= LONGEST_QUOTE


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that has no name twice: readers do not agree which one counts."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _says_nothing(message: str) -> bool:
    said = fold(message).strip(" .!\u2026\"'")
    return any(
        said == fold(phrase) or said.startswith((fold(phrase) + ".", fold(phrase) + " para", fold(phrase) + " to"))
        for phrase in NO_DATA.values()
    )


def _stretch(quote: str, text: str, language: str) -> str | None:
    """The words of ``text`` that ``quote`` repeats; None where it repeats none, or only words without meaning."""
    wanted, said = words(quote, language), words(text, language)
    stems = [word.stem for word in wanted]
    if not content(wanted, language):
        return None
    for at in range(len(said) - len(wanted) + 1):
        if [word.stem for word in said[at : at + len(wanted)]] == stems:
            return text[said[at].start : said[at + len(wanted) - 1].end]
    return None
