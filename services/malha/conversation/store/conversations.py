"""Conversations: found, listed, made, changed, deleted."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from malha.conversation.store.names import as_uuid
from malha.runtime.errors import FailedPrecondition, NotFound
from malha.store.roles import Connection
from malha.store.text import storable

COLUMNS: Final = (
    "conversation.id, conversation.external_id, conversation.customer_id, channel, status, subject, conversation.session_id,"
    " started_at, ended_at, duration_seconds"
)
NEWEST: Final = "started_at DESC, conversation.id DESC"

FIND: Final = f"""
    SELECT {COLUMNS} FROM conversation WHERE external_id = $1 OR id = $2 ORDER BY external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1
"""  # noqa: S608 - constants
INSERT: Final = f"""
    INSERT INTO conversation (tenant_id, external_id, customer_id, channel, status, subject, started_at, ended_at)
    VALUES (malha_tenant(), $1, $2, COALESCE($3, 'voice'), COALESCE($4, 'open'), COALESCE($5, ''), COALESCE($6, now()),
        CASE WHEN COALESCE($4, 'open') <> 'open' THEN now() END)
    ON CONFLICT (tenant_id, external_id) DO NOTHING
    RETURNING {COLUMNS}
"""  # noqa: S608 - constants
UPDATE: Final = f"""
    UPDATE conversation SET customer_id = CASE WHEN $2 THEN $3 ELSE customer_id END, channel = COALESCE($4, channel),
        status = COALESCE($5, status), subject = COALESCE($6, subject), started_at = COALESCE($7, started_at),
        ended_at = CASE WHEN $5::text IS NULL THEN ended_at WHEN $5 = 'open' THEN NULL ELSE COALESCE(ended_at, now()) END
    WHERE id = $1
    RETURNING {COLUMNS}
"""  # noqa: S608 - constants
LOCK: Final = "SELECT id FROM conversation WHERE id = $1 FOR UPDATE"
"""Nobody opens a call of it meanwhile: that takes a key lock on this row."""
SESSIONS: Final = "SELECT session_id, state FROM live_session WHERE conversation_id = $1"
DELETE_EVENTS: Final = "DELETE FROM event WHERE session_id = ANY($1)"
DELETE_SEGMENTS: Final = "DELETE FROM segment WHERE session_id = ANY($1)"
DELETE: Final = "DELETE FROM conversation WHERE id = $1"
"""All that refers to it goes too."""
BURY: Final = """
    INSERT INTO tombstone (tenant_id, kind, object_id) SELECT malha_tenant(), kind, object_id FROM unnest($1::text[], $2::uuid[]) AS dead (kind, object_id)
    ON CONFLICT DO NOTHING
"""
AUDIT: Final = """
    INSERT INTO audit (tenant_id, actor, action, object_type, object_id, details) VALUES (malha_tenant(), $1, $2, 'conversation', $3, $4)
"""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row. ``duration_seconds`` is of the media."""

    id: uuid.UUID
    external_id: str | None
    customer_id: uuid.UUID | None
    channel: str
    status: str
    subject: str
    session_id: uuid.UUID | None
    started_at: datetime
    ended_at: datetime | None
    duration_seconds: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """What to make of a conversation. None: as it is, or the default."""

    sets_customer: bool = False
    customer_id: uuid.UUID | None = None
    channel: str | None = None
    status: str | None = None
    subject: str | None = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which conversations are listed: from ``began_from`` on, before ``began_until``."""

    customer_id: uuid.UUID | None = None
    status: str | None = None
    channel: str | None = None
    began_from: datetime | None = None
    began_until: datetime | None = None


Place = tuple[datetime, uuid.UUID]
"""Of a conversation among all, by start and id."""


async def find(connection: Connection, name: str) -> Conversation:
    """The conversation of that name or id. Raises NotFound."""
    row = await connection.fetchrow(FIND, storable(name), as_uuid(name))
    if row is None:
        raise NotFound("there is no such conversation", reason="CONVERSATION_NOT_FOUND")
    return conversation_of(row)


async def newest(connection: Connection, wanted: Filter, after: Place | None, most: int) -> list[Conversation]:
    """Those that began last, before the place ``after``."""
    conditions = {
        "customer_id = {}": wanted.customer_id,
        "status = {}": wanted.status,
        "channel = {}": wanted.channel,
        "started_at >= {}": wanted.began_from,
        "started_at < {}": wanted.began_until,
    }
    clauses, values = ["true"], list[Any]([most])
    for condition, value in conditions.items():
        if value is not None:
            values.append(value)
            clauses.append(condition.format(f"${len(values)}"))
    if after is not None:
        values += after
        clauses.append(f"(started_at, id) < (${len(values) - 1}, ${len(values)})")
    query = f"SELECT {COLUMNS} FROM conversation WHERE {' AND '.join(clauses)} ORDER BY {NEWEST} LIMIT $1"  # noqa: S608 - constants
    return [conversation_of(row) for row in await connection.fetch(query, *values)]


async def upsert(connection: Connection, name: str, change: Change) -> tuple[Conversation, bool]:
    """Make the conversation of that name, or change it. True: it was made."""
    try:
        return await update(connection, (await find(connection, name)).id, change), False
    except NotFound:
        row = await connection.fetchrow(
            INSERT, storable(name), change.customer_id, change.channel, change.status, change.subject, change.started_at
        )
    if row is None:  # somebody else made it meanwhile
        return await update(connection, (await find(connection, name)).id, change), False
    return conversation_of(row), True


async def update(connection: Connection, conversation_id: uuid.UUID, change: Change) -> Conversation:
    """Change a conversation. Raises NotFound."""
    row = await connection.fetchrow(
        UPDATE,
        conversation_id,
        change.sets_customer,
        change.customer_id,
        change.channel,
        change.status,
        change.subject,
        change.started_at,
    )
    if row is None:
        raise NotFound("there is no such conversation", reason="CONVERSATION_NOT_FOUND")
    return conversation_of(row)


async def delete(connection: Connection, conversation_id: uuid.UUID, actor: str) -> None:
    """Delete all of a conversation, and leave tombstones and a line in the audit. Raises FailedPrecondition while a call of it is open."""
    await connection.execute(LOCK, conversation_id)
    sessions = await connection.fetch(SESSIONS, conversation_id)
    if any(session["state"] in {"open", "detached"} for session in sessions):
        raise FailedPrecondition("a call of this conversation goes on: end it first", reason="CONVERSATION_LIVE")
    ids = [session["session_id"] for session in sessions]
    events = await connection.execute(DELETE_EVENTS, ids)
    segments = await connection.execute(DELETE_SEGMENTS, ids)
    await connection.execute(DELETE, conversation_id)
    await connection.execute(BURY, ["conversation", *("session" for _ in ids)], [conversation_id, *ids])
    counts = {"sessions": len(ids), "events": affected(events), "segments": affected(segments)}
    await connection.execute(AUDIT, actor, "conversation.delete", str(conversation_id), counts)


def conversation_of(row: asyncpg.Record) -> Conversation:
    """The conversation of a row with `COLUMNS`."""
    return Conversation(*(row[name] for name in Conversation.__slots__))


def affected(status: str) -> int:
    """How many rows a statement touched, from what PostgreSQL says of it ("DELETE 3")."""
    return int(status.rpartition(" ")[2])
