"""A file with one conversation a line, its customer and messages within."""

import dataclasses
import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from malha.conversation.importing.records import (
    BadRecordError,
    ConversationRecord,
    CustomerRecord,
    MessageRecord,
    conversation,
    customer,
    message,
)

_LINE_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Whole:
    """A line: a conversation with all it has. ``place`` is the line's number."""

    place: int
    customer: CustomerRecord | None
    conversation: ConversationRecord
    messages: tuple[MessageRecord, ...]


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that cannot be kept."""

    place: int
    error: BadRecordError


def read(path: Path, prefix: str = "") -> Generator[Whole | Bad, None, None]:
    """Every line that is not empty. Raises OSError where the file cannot be read."""
    with path.open("rb") as file:
        for number, line in enumerate(lines(file), 1):
            if line is not None and not line.strip():
                continue
            try:
                yield _whole(number, json_object(line), prefix)
            except BadRecordError as error:
                yield Bad(number, error)


def lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file; None for one that is too long to be held."""
    while line := file.readline(_LINE_BYTES):
        if len(line) < _LINE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield None


def json_object(line: bytes | None) -> Mapping[str, Any]:
    """The object of a line. Raises BadRecordError."""
    if line is None:
        raise BadRecordError("line", f"is longer than {_LINE_BYTES} bytes")
    try:
        value = json.loads(line.decode("utf-8-sig"))  # knows escaped lone surrogates, which orjson refuses
    except (ValueError, RecursionError):
        raise BadRecordError("line", "is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise BadRecordError("line", "is not a JSON object")
    return value


def _whole(number: int, row: Mapping[str, Any], prefix: str) -> Whole:
    who = row.get("customer")
    if isinstance(who, dict):
        told = customer(who if who.get("id") is not None else {**who, "id": who.get("email") or who.get("phone")}, prefix)
        kept = dataclasses.replace(conversation({**row, "customer": None, "customer_id": None}, prefix), customer_id=told.id)
    else:
        told, kept = None, conversation(row, prefix)
    messages = row.get("messages") or ()
    if not isinstance(messages, list | tuple):
        raise BadRecordError("messages", "must be a list")
    return Whole(number, told, kept, tuple(_messages(messages, kept, prefix)))


def _messages(rows: Any, of: ConversationRecord, prefix: str) -> Iterator[MessageRecord]:
    """Messages without a name are numbered; those without a time follow the start of the conversation, in their order."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadRecordError("messages", "must be a list of objects")
        named = {**row, "id": row.get("id") if row.get("id") is not None else f"#{number}", "conversation_id": of.id.removeprefix(prefix)}
        try:
            kept = message(named, prefix)
        except BadRecordError as error:
            raise BadRecordError(f"messages[{number}].{error.field}", error.wrong) from None
        yield dataclasses.replace(kept, created_at=kept.created_at or _after(of.started_at, number))


def _after(start: datetime | None, number: int) -> datetime | None:
    return None if start is None else start + timedelta(milliseconds=number)
