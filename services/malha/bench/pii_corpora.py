"""Annotated texts of others: JSON as presidio-research writes it (``full_text``, ``spans``), or ``{"cases": [{"text", "entity", "spans", "language"}]}``."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from malha.bench.pii_texts import Sample, Span
from malha.runtime.errors import InvalidArgument

_KINDS: Final = {
    "PHONE_NUMBER": "PHONE",
    "CREDIT_CARD": "CARD",
    "EMAIL_ADDRESS": "EMAIL",
    "IBAN_CODE": "IBAN",
    "US_SSN": "NUMBER",
    "ES_NIE": "NIE",
    "ES_NIF": "DNI",
}
"""Kinds of theirs that are looked for. All others (places, people that nobody listed) may be masked and need not be."""


def read_corpus(file: Path) -> list[Sample]:
    """Raises InvalidArgument."""
    try:
        document = json.loads(file.read_text())
        entries = document["cases"] if isinstance(document, dict) else document
        return [_case(entry) if "text" in entry else _research(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgument(f"{file.name} is not annotated text ({type(error).__name__})", reason="NOT_ANNOTATED_TEXT") from error


def _case(entry: Mapping[str, Any]) -> Sample:
    places = [(entry["entity"], start, end) for start, end in entry["spans"]]
    return _sample(entry["text"], entry["language"], places)


def _research(entry: Mapping[str, Any]) -> Sample:
    return _sample(
        entry["full_text"], "en", [(span["entity_type"], span["start_position"], span["end_position"]) for span in entry["spans"]]
    )


def _sample(text: str, language: str, places: Sequence[tuple[str, int, int]]) -> Sample:
    words = [match.span() for match in re.finditer(r"\S+", text)]
    spans: list[Span] = []
    others: list[Span] = []
    for kind, start, end in places:
        touched = [number for number, (first, last) in enumerate(words) if first < end and start < last]
        (spans if kind in _KINDS else others).append(Span(_KINDS.get(kind, kind), touched[0], touched[-1]))
    return Sample(text, language, tuple(spans), spoken=False, names=(), others=tuple(others))
