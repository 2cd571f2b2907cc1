"""Prompts: one file for each type and language, versioned by their content.

The static part comes first (instructions, then the tenant's catalogue and examples), so that a server that caches prefixes reads it once. What was said is
JSON in a message of its own: never part of the instructions. Utterances have no names there: whose words an answer quotes is found by the words.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final

from malha.insight.domain import FewShot, InsightType, Offer, Request
from malha.insight.words import content, words
from malha.text.tokens import primary

LANGUAGES: Final = ("pt", "es", "en")
DEFAULT_LANGUAGE: Final = "en"
NO_DATA: Final[Mapping[str, str]] = {"pt": "Sem dados suficientes", "es": "Sin datos suficientes", "en": "Not enough data"}
"""What a model answers that has nothing to say."""

LONGEST_MESSAGE: Final = 300
LONGEST_QUOTE: Final = 200
MOST_EVIDENCE: Final = 3
MOST_CATALOGUE_CHARACTERS: Final = 12_000
"""About 3,000 tokens; of a larger catalogue the offers that fit what was said."""
LONGEST_DESCRIPTION: Final = 300
MOST_EXAMPLES: Final = 6

_SELLING: Final = frozenset([InsightType.NEXT_STEP, InsightType.UPSELL])
"""Types that may name offers; the others do without the catalogue and are answered sooner."""
_HEADINGS: Final[Mapping[str, tuple[str, str]]] = {
    "pt": ("Cat\u00e1logo", "Exemplos de boas mensagens"),
    "es": ("Cat\u00e1logo", "Ejemplos de buenos mensajes"),
    "en": ("Catalogue", "Examples of good messages"),
}
_FORM: Final = 4
"""Of what is made around the files: part of the version."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent: ``system`` stays the same from call to call, ``data`` is JSON."""

    system: str
    data: str
    schema: str
    version: str


def make_prompt(kind: InsightType, language: str, request: Request, offers: Sequence[Offer], few_shots: Sequence[FewShot]) -> Prompt:
    """The prompt for a question. ``language`` is the BCP 47 tag the answer is wanted in; English where there are no prompts in it."""
    code = _code(language)
    parts = [_instructions(kind, code).strip()]
    catalogue_heading, examples_heading = _HEADINGS[code]
    if kind in _SELLING:
        parts.append(_section(catalogue_heading, [_offer(offer) for offer in _fitting(offers, request, language)]))
    examples = [each for each in few_shots if each.type is kind and primary(each.language) == primary(language)][:MOST_EXAMPLES]
    if examples:
        parts.append(_section(examples_heading, [{"transcript": each.transcript, "message": each.message} for each in examples]))
    said = [{"role": each.role, "text": each.text} for each in request.window]
    return Prompt("\n\n".join(parts), _json({"transcript": said}), _schema(kind), prompt_version(kind, language))


@cache
def prompt_version(kind: InsightType, language: str) -> str:
    """Of the instructions for a type in a language: 12 hexadecimal digits."""
    return hashlib.sha256(f"{_FORM}\n{_instructions(kind, _code(language))}".encode()).hexdigest()[:12]


def confidential(system: str) -> str:
    """What of a prompt no answer may repeat: the instructions, and what was said in the tenant's examples. Offers and good messages may be."""
    kept: list[str] = []
    for line in system.splitlines():
        if not line.startswith("{"):
            kept.append(line)
        elif "transcript" in (example := json.loads(line)):
            kept.append(str(example["transcript"]))
    return "\n".join(kept)


def _code(language: str) -> str:
    code = primary(language)
    return code if code in LANGUAGES else DEFAULT_LANGUAGE


@cache
def _instructions(kind: InsightType, code: str) -> str:
    return files("malha.insight").joinpath("prompts_text", f"{kind.value}.{code}.md").read_text("utf-8")


def _section(heading: str, items: Sequence[Mapping[str, str]]) -> str:
    """A heading and one line of JSON for each item."""
    return "\n".join([f"## {heading}", *(_json(item) for item in items)])


def _offer(offer: Offer) -> Mapping[str, str]:
    return {"name": offer.name, "description": offer.description[:LONGEST_DESCRIPTION], "price": offer.price}


def _fitting(offers: Sequence[Offer], request: Request, language: str) -> list[Offer]:
    """The whole catalogue, in its order; of one that is too large, what shares most words with what was said."""
    if sum(_size(offer) for offer in offers) <= MOST_CATALOGUE_CHARACTERS:
        return list(offers)
    said = {stem for each in request.window for stem in content(words(each.text, language), language)}

    def shared(offer: Offer) -> int:
        return len(said & _subject(offer, language))

    left, kept = MOST_CATALOGUE_CHARACTERS, set[str]()
    for offer in sorted(offers, key=shared, reverse=True):
        left -= _size(offer)
        if left < 0:
            break
        kept.add(offer.id)
    return [offer for offer in offers if offer.id in kept]


@lru_cache(maxsize=8_192)
def _subject(offer: Offer, language: str) -> frozenset[str]:
    """The stems of an offer's name and keywords."""
    return frozenset(content(words(" ".join((offer.name, *offer.keywords)), language), language))


@lru_cache(maxsize=8_192)
def _size(offer: Offer) -> int:
    return len(_json(_offer(offer))) + 1


@cache
def _schema(kind: InsightType) -> str:
    """The same from call to call: a server makes its grammar of it once. Every string has an end, and so has the number: a model that is held to a schema
    writes until it does.
    """
    evidence = {
        "type": "object",
        "properties": {"quote": {"type": "string", "minLength": 1, "maxLength": LONGEST_QUOTE}},
        "required": ["quote"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": [kind.value]},
            "message": {"type": "string", "minLength": 1, "maxLength": LONGEST_MESSAGE},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.01},
            "evidence": {"type": "array", "items": evidence, "minItems": 1, "maxItems": MOST_EVIDENCE},
        },
        "required": ["type", "message", "confidence", "evidence"],
        "additionalProperties": False,
    }
    return _json(schema)


def _json(value: Any) -> str:
    """One line; line separators that JSON leaves as they are count as ends of lines elsewhere, so they are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")
