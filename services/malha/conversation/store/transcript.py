"""What was said and written in a conversation, in order of time, and new messages."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg

from malha.store.roles import Connection

ENTRIES: Final = """
    SELECT * FROM (
        SELECT live_session.created_at + segment.start_seconds * interval '1 second' AS at, segment.session_id || '/' || segment_id AS name,
            NULL::uuid AS message_id, NULL AS external_id, NULL AS sender_type, NULL AS sender_id, segment.text, segment.session_id,
            segment_id, revision, segment.state, channel, role, speaker, start_seconds, end_seconds, confidence,
            CASE WHEN $2 THEN words END AS words
        FROM live_session JOIN segment ON segment.session_id = live_session.session_id
        WHERE live_session.conversation_id = $1 AND segment.text <> ''
        UNION ALL
        SELECT created_at, id::text, id, external_id, sender_type, sender_id, text, NULL, NULL, 0, '', 0, '', '', 0, 0, NULL, NULL
        FROM message WHERE conversation_id = $1
    ) AS entry
    WHERE (at, name COLLATE "C") > ($3, $4) ORDER BY at, name COLLATE "C" LIMIT $5
"""
"""A segment's time is from the start of its call. An empty segment is one that was taken back."""
INSERT_MESSAGE: Final = """
    INSERT INTO message (tenant_id, conversation_id, external_id, sender_type, sender_id, text, created_at)
    VALUES (malha_tenant(), $1, $2, $3, $4, $5, COALESCE($6, clock_timestamp()))
    ON CONFLICT (tenant_id, conversation_id, external_id) DO NOTHING
    RETURNING id, external_id, sender_type, sender_id, text, created_at
"""
FIND_MESSAGE: Final = """
    SELECT id, external_id, sender_type, sender_id, text, created_at FROM message WHERE conversation_id = $1 AND external_id = $2
"""


class Segment(NamedTuple):
    """Something said. Times are seconds from the start of the call; ``words`` as the call stored them."""

    text: str
    session_id: uuid.UUID
    segment_id: str
    revision: int
    state: str
    channel: int
    role: str
    speaker: str
    start_seconds: float
    end_seconds: float
    confidence: float | None
    words: Sequence[Mapping[str, Any]] | None


class Message(NamedTuple):
    """Something written."""

    id: uuid.UUID
    external_id: str | None
    sender_type: str
    sender_id: str
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to keep. ``created_at`` None: now."""

    external_id: str | None
    sender_type: str
    sender_id: str
    text: str
    created_at: datetime | None


class Entry(NamedTuple):
    """A place in the transcript, and what is there."""

    at: datetime
    name: str
    """Of the segment or message; orders what has the same time."""
    what: Segment | Message


Place = tuple[datetime, str]


async def entries(connection: Connection, conversation_id: uuid.UUID, after: Place, most: int, *, words: bool) -> list[Entry]:
    """What comes after a place."""
    return [_entry(row) for row in await connection.fetch(ENTRIES, conversation_id, words, *after, most)]


async def add_message(connection: Connection, conversation_id: uuid.UUID, new: NewMessage) -> Message:
    """Keep a message; where there is one of its name, that one holds."""
    row = await connection.fetchrow(
        INSERT_MESSAGE, conversation_id, new.external_id, new.sender_type, new.sender_id, new.text, new.created_at
    )
    if row is None:
        row = await connection.fetchrow(FIND_MESSAGE, conversation_id, new.external_id)
    return Message(*row.values())


def _entry(row: asyncpg.Record) -> Entry:
    at, name, message_id, external_id, sender_type, sender_id, text, *said = row.values()
    if message_id is not None:
        return Entry(at, name, Message(message_id, external_id, sender_type, sender_id, text, at))
    return Entry(at, name, Segment(text, *said))
