"""State from a file of JSON lines, all in one transaction, with a receipt by which it can be undone."""

import dataclasses
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from malha.conversation.importing.jsonl import json_object, lines
from malha.conversation.importing.records import BadRecordError
from malha.conversation.store import conversations
from malha.conversation.store.states import ALIVE, REVISION, SAVE
from malha.runtime.errors import InvalidArgument, MalhaError, NotFound
from malha.store.database import Database, json_text
from malha.store.roles import Connection
from malha.store.text import storable

_KEY_LENGTH: Final = 128
_LONGEST_SECONDS: Final = 315_360_000
_DEEPEST: Final = 30
"""A message of protobuf may have 100 levels, of which each level of JSON takes three."""
_MOST_PROBLEMS: Final = 100
_RECEIPT: Final = "malha-state-receipt"

BEFORE: Final = f"SELECT value, expires_at, updated_at FROM state WHERE conversation_id = $1 AND key = $2 AND {ALIVE} FOR UPDATE"  # noqa: S608 - constants
UNCHANGED: Final = f"SELECT true FROM state WHERE conversation_id = $1 AND key = $2 AND {REVISION} = $3 FOR UPDATE"  # noqa: S608 - constants
SAVED: Final = f"SELECT {REVISION} FROM state WHERE conversation_id = $1 AND key = $2"  # noqa: S608 - constants
RESTORE: Final = "UPDATE state SET value = $3, expires_at = $4, updated_at = $5 WHERE conversation_id = $1 AND key = $2"
"""With the revision it had: an import before this one can then be undone too."""
REMOVE: Final = "DELETE FROM state WHERE conversation_id = $1 AND key = $2"


@dataclass(frozen=True, slots=True)
class Line:
    """A value to save. ``ttl`` None: as long as the conversation."""

    number: int
    conversation: str
    key: str
    value: Mapping[str, Any]
    ttl: timedelta | None


@dataclass(frozen=True, slots=True)
class Imported:
    """How much was saved for the first time, and in the place of another value."""

    added: int
    replaced: int


@dataclass(frozen=True, slots=True)
class Undone:
    """How much was put back, taken away, and left because somebody changed it since."""

    restored: int
    removed: int
    changed_since: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a receipt holds of a value: what the import made, and what was there before."""

    conversation_id: str
    key: str
    revision: int
    before: Mapping[str, Any] | None
    expires_at: str | None
    updated_at: str | None


def read(path: Path, most_bytes: int) -> list[Line]:
    """All values of a file. Raises OSError, and InvalidArgument naming the lines that are wrong."""
    found: list[Line] = []
    problems: list[str] = []
    with path.open("rb") as file:
        for number, line in enumerate(lines(file), 1):
            if line is not None and not line.strip():
                continue
            try:
                found.append(_line(number, json_object(line), most_bytes))
            except BadRecordError as error:
                problems.append(f"line {number}: {error}")
    if problems:
        raise _refused(problems)
    return found


async def import_states(database: Database, tenant: uuid.UUID, given: Sequence[Line], receipt: Path) -> Imported:
    """Save all or nothing. The receipt, readable by its owner alone, is written before any of it holds.

    Raises InvalidArgument for conversations that are not there, and OSError where the receipt cannot be written.
    """
    entries, problems = dict[tuple[str, str], _Entry](), list[str]()
    async with database.tenant_tx(tenant) as connection:
        for line in given:
            try:
                entry = await _save(connection, line)
            except NotFound:
                problems.append(f"line {line.number}: conversation: there is no such conversation")
                continue
            place = (entry.conversation_id, entry.key)
            if place in entries:  # a later line replaces an earlier one
                entry = dataclasses.replace(entries[place], revision=entry.revision)
            entries[place] = entry
        if problems:
            raise _refused(problems)
        _write_receipt(receipt, tenant, list(entries.values()))
    added = sum(entry.before is None for entry in entries.values())
    return Imported(added, len(entries) - added)


async def undo(database: Database, tenant: uuid.UUID, receipt: Path) -> Undone:
    """Put back what an import replaced and take away what it added, in one transaction.

    Raises OSError, and InvalidArgument where the file is no receipt of this tenant.
    """
    restored = removed = changed = 0
    entries = _read_receipt(receipt, tenant)
    async with database.tenant_tx(tenant) as connection:
        for entry in entries:
            place = (uuid.UUID(entry.conversation_id), entry.key)
            if not await connection.fetchval(UNCHANGED, *place, entry.revision):
                changed += 1
            elif entry.before is None:
                await connection.execute(REMOVE, *place)
                removed += 1
            else:
                await connection.execute(RESTORE, *place, entry.before, _time(entry.expires_at), _time(entry.updated_at))
                restored += 1
    return Undone(restored, removed, changed)


async def _save(connection: Connection, line: Line) -> _Entry:
    kept = await conversations.find(connection, line.conversation)
    before = await connection.fetchrow(BEFORE, kept.id, line.key)
    await connection.execute(SAVE, kept.id, line.key, line.value, line.ttl, False)
    revision: int = await connection.fetchval(SAVED, kept.id, line.key)
    if before is None:
        return _Entry(str(kept.id), line.key, revision, None, None, None)
    expires_at, updated_at = (before[name] and before[name].isoformat() for name in ("expires_at", "updated_at"))
    return _Entry(str(kept.id), line.key, revision, before["value"], expires_at, updated_at)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _line(number: int, row: Mapping[str, Any], most_bytes: int) -> Line:
    conversation, key, value, ttl = (row.get(name) for name in ("conversation", "key", "value", "ttl"))
    if isinstance(conversation, int) and not isinstance(conversation, bool):
        conversation = str(conversation)
    if not isinstance(conversation, str) or not storable(conversation):
        raise BadRecordError("conversation", "must be its id, as text")
    if not isinstance(key, str) or not 0 < len(storable(key)) <= _KEY_LENGTH:
        raise BadRecordError("key", f"must be text of 1 to {_KEY_LENGTH} characters")
    if not isinstance(value, dict):
        raise BadRecordError("value", "must be a JSON object")
    try:
        if _depth(value) > _DEEPEST:
            raise BadRecordError("value", f"is nested deeper than {_DEEPEST} levels")
        size = len(json_text(value).encode())
    except TypeError:
        raise BadRecordError("value", "has a number that is too large") from None
    if size > most_bytes:
        raise BadRecordError("value", f"has {size} bytes as JSON, at most {most_bytes} are kept")
    if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= _LONGEST_SECONDS):
        raise BadRecordError("ttl", "must be seconds, more than 0 and at most ten years")
    return Line(number, conversation, storable(key), value, None if ttl is None else timedelta(seconds=ttl))


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _write_receipt(path: Path, tenant: uuid.UUID, entries: Sequence[_Entry]) -> None:
    """On disk when this returns. Never over another file."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - its mode from the start
        file.write(
            json.dumps({"kind": _RECEIPT, "tenant_id": str(tenant), "at": datetime.now(UTC).isoformat(), "states": len(entries)}) + "\n"
        )
        file.writelines(json.dumps(dataclasses.asdict(entry)) + "\n" for entry in entries)
        file.flush()
        os.fsync(file.fileno())


def _read_receipt(path: Path, tenant: uuid.UUID) -> list[_Entry]:
    try:
        head, *rest = map(json.loads, path.read_text().splitlines())
        entries = [_Entry(**row) for row in rest]
        if head["kind"] == _RECEIPT and head["tenant_id"] == str(tenant) and head["states"] == len(entries):
            return entries
    except (ValueError, TypeError, KeyError):
        pass
    raise InvalidArgument("this is no receipt of an import of this tenant's state, or not all of it", reason="NO_RECEIPT")


def _refused(problems: Sequence[str]) -> MalhaError:
    shown = "; ".join(problems[:_MOST_PROBLEMS])
    more = f"; and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
    return InvalidArgument(f"nothing was imported: {shown}{more}", reason="IMPORT_REFUSED")
