"""Transcripts as people and programs write them: who said what, and when, from a text file.

One turn a line: ``[00:01:05] Cliente: quero cancelar``, ``Operator: good morning``, plain text; or JSONL, ``{"role", "text", "start", "end"}`` with seconds. Names
of the two sides in Portuguese, Spanish and English are known; times that are missing are guessed from the words.
"""

import codecs
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final, Literal

from malha.runtime.errors import InvalidArgument
from malha.text.scrub import Pipeline
from malha.text.tokens import fold, word_set

Role = Literal["agent", "customer", "unknown"]

WORDS_A_SECOND: Final = 2.5
"""150 words a minute: ordinary talk."""
PAUSE_SECONDS: Final = 0.4
"""Between turns whose times are guessed."""
LONGEST_LINE: Final = 10_000
"""Characters: no one says as much in one breath."""
LARGEST_FILE: Final = 8_000_000
"""Bytes."""
LONGEST_CALL_SECONDS: Final = 86_400.0
INVALID: Final = "INVALID_TRANSCRIPT"
OURS: Final[Mapping[str, str]] = {"pt": "telecom.pt.txt", "es": "bank.es.txt"}
"""Files by language."""

_AGENT: Final = word_set(
    "agent agente atendente atendimento operador operadora operator assistant assistente asistente asesor asesora advisor adviser representative "
    "representante rep support suporte soporte vendedor vendedora analista consultor consultora ejecutivo ejecutiva teleoperador teleoperadora"
)
_CUSTOMER: Final = word_set(
    "customer client cliente caller user usuario usuaria consumidor consumidora consumer comprador compradora paciente patient titular assegurado "
    "asegurado asegurada segurado segurada llamante"
)
"""Folded names of the two sides."""
_LINE: Final = re.compile(
    r"(?:[\[(]?(?P<time>(?:\d{1,2}:)?\d{1,3}:\d{2}(?:[.,]\d{1,3})?)[\])]?\s*(?:[-\u2013\u2014]\s*)?)?"
    r"(?:(?P<who>\*{0,2}\[?[^\W\d_][^:\n]{0,40})\s*:\*{0,2}(?:\s+|$))?(?P<text>.*)"
)
_NAME: Final = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says without a break. Times are media seconds."""

    role: Role
    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class _Line:
    role: Role
    text: str
    start: float | None = None
    end: float | None = None


def read_transcript(file: Path) -> list[Turn]:
    """The turns of a file, in the order they were said. Raises InvalidArgument naming the line that is wrong, OSError."""
    with file.open("rb") as stream:
        content = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise _invalid(f"{file} is no transcript: it is larger than {LARGEST_FILE // 1_000_000} MB")
    try:
        return parse_transcript(_decoded(content))
    except InvalidArgument as error:
        raise _invalid(f"{file}: {error.message}") from error


def parse_transcript(text: str) -> list[Turn]:
    """The turns of a text. Raises InvalidArgument."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise _invalid("nothing is said in it: it is empty")
    for number, line in lines:
        if len(line) > LONGEST_LINE:
            raise _invalid(f"line {number} is longer than {LONGEST_LINE} characters: give each turn a line of its own")
    read = _json_line if lines[0][1].lstrip().startswith("{") else _text_line
    said = [turn for number, line in lines if (turn := read(number, line)).text]
    if not said:
        raise _invalid("nothing is said in it: its lines have no text")
    return list(_timed(said))


def our_transcript(language: str) -> list[Turn]:
    """The call that was written for this project in a language, as it may be told."""
    with as_file(files("malha.bench").joinpath(f"transcripts_text/{OURS[language]}")) as path:
        return scrubbed(read_transcript(path), language)


def scrubbed(turns: Sequence[Turn], language: str) -> list[Turn]:
    """As a live call tells them: identity numbers masked, also those that go on in the speaker's next turn; number words as digits."""
    pipeline, held = Pipeline(language), dict[Role, int]()
    texts = [""] * len(turns)
    for index, turn in enumerate(turns):
        before = held.pop(turn.role, None)
        if before is None:
            told = pipeline.final(turn.text)
        else:
            earlier, told = pipeline.joined(turns[before].text, turn.text)
            texts[before] = earlier.text
        texts[index] = told.text
        if told.held:
            held[turn.role] = index
    for index in held.values():
        texts[index] = pipeline.alone(turns[index].text).text
    return [replace(turn, text=text) for turn, text in zip(turns, texts, strict=True) if text]


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _strictly(content, "utf-16")
    if b"\0" in content:
        raise _invalid("it is not text")
    return _strictly(content, "utf-8-sig")


def _strictly(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise _invalid("it is not text in UTF-8; an older file: iconv -f WINDOWS-1252 -t UTF-8 FILE") from None


def _text_line(number: int, line: str) -> _Line:
    match = _LINE.fullmatch(" ".join(line.split()))
    if match is None:  # every line matches: all its parts may be absent
        raise _invalid(f"line {number} cannot be read")
    who, text = match["who"], match["text"]
    role = _role(who or "")
    if who is not None and role == "unknown" and len(_NAME.findall(who)) > 3:  # a sentence with a colon in it, and no name
        text = match.string[match.start("who") :]
    start = _clock(match["time"]) if match["time"] else None
    if start is not None and start > LONGEST_CALL_SECONDS:
        raise _invalid(f"line {number}: no call is longer than a day")
    return _Line(role, text, start)


def _json_line(number: int, line: str) -> _Line:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        raise _invalid(f"line {number} is no JSON") from None
    if not isinstance(given, dict) or not isinstance(given.get("text"), str):
        raise _invalid(f'line {number} must be {{"role", "text", "start", "end"}}, of which only text is required')
    start, end = _seconds(number, given, "start"), _seconds(number, given, "end")
    if start is not None and end is not None and end < start:
        raise _invalid(f"line {number} ends before it starts")
    return _Line(_role(given.get("role")), " ".join(given["text"].split()), start, end)


def _seconds(number: int, given: Mapping[str, Any], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and 0 <= value <= LONGEST_CALL_SECONDS):
        raise _invalid(f"line {number}: {name} must be seconds from the start of the call")
    return float(value)


def _role(name: object) -> Role:
    """Whose side a name is: by its first word, so that ``Agente 1`` and ``Cliente (Ana)`` are known."""
    words = _NAME.findall(fold(name)) if isinstance(name, str) else []
    first = words[0] if words else ""
    return "agent" if first in _AGENT else "customer" if first in _CUSTOMER else "unknown"


def _clock(text: str) -> float:
    seconds = 0.0
    for part in text.replace(",", ".").split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def _timed(lines: Iterable[_Line]) -> Iterator[Turn]:
    """With the times that are missing, in the order of what was begun."""
    turns: list[Turn] = []
    free = 0.0
    for line in lines:
        start = free if line.start is None else line.start
        end = start + len(line.text.split()) / WORDS_A_SECOND if line.end is None else max(line.end, start)
        turns.append(Turn(line.role, line.text, start, end))
        free = end + PAUSE_SECONDS
    yield from sorted(turns, key=lambda turn: turn.start)


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, reason=INVALID)
