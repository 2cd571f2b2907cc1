"""Insights in PostgreSQL: named SQL and what it gives.

A row of `insight` is made before the model is asked, and is unique for its session, type, trigger and the version of what makes it. So whoever
takes a call over asks again what was not answered, and nothing is advised twice.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from malha.insight.domain import InsightType, Utterance
from malha.runtime.errors import NotFound
from malha.store.database import Database
from malha.store.roles import Connection
from malha.store.text import storable

MOST_CHARACTERS: Final = 10_000
"""Of a segment: some minutes of talk in one breath. What goes beyond is not read: segments are analysed on the loop that all calls share."""

_SESSION: Final = "SELECT conversation_id FROM live_session WHERE session_id = $1"
_CONVERSATION: Final = (
    "SELECT id FROM conversation WHERE external_id = $1 OR id::text = $1 ORDER BY external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1"
)
_NEW_CONVERSATION: Final = """
    INSERT INTO conversation (tenant_id, external_id) VALUES (malha_tenant(), $1) ON CONFLICT (tenant_id, external_id) DO NOTHING
"""
_SAID: Final = """
    SELECT * FROM (
        SELECT segment.segment_id, role, left(text, $3) AS text, start_seconds, end_seconds, coalesce(told.seq, 0) AS seq, coalesce(told.first, 0) AS first,
            coalesce(told.language, '') AS language
        FROM segment LEFT JOIN (
            SELECT DISTINCT ON (segment_id) segment_id, seq, min(seq) OVER (PARTITION BY segment_id) AS first, body ->> 'language' AS language
            FROM event WHERE session_id = $1 AND segment_id IS NOT NULL ORDER BY segment_id, seq DESC
        ) AS told ON told.segment_id = segment.segment_id
        WHERE session_id = $1 AND text <> '' ORDER BY start_seconds DESC, segment.segment_id DESC LIMIT $2
    ) AS said ORDER BY seq, start_seconds
"""
_PENDING: Final = """
    SELECT id, type, trigger_seq, rule_version, body, media_seconds, interaction_id FROM insight WHERE session_id = $1 AND status = 'pending'
    ORDER BY created_at
"""
_UNTOLD: Final = """
    SELECT id, type, body, created_at, interaction_id FROM insight
    WHERE session_id = $1 AND status = 'shown' AND EXISTS (SELECT FROM live_session WHERE live_session.session_id = $1)
        AND NOT EXISTS (SELECT FROM event WHERE event.session_id = $1 AND event.kind = 'insight' AND event.body ->> 'id' = insight.id::text)
    ORDER BY created_at
"""
_TOLD: Final = """
    SELECT type, body, media_seconds, interaction_id FROM insight WHERE session_id = $1 AND status = 'shown' ORDER BY created_at DESC LIMIT $2
"""
_INSERT: Final = """
    INSERT INTO insight (tenant_id, id, conversation_id, session_id, type, trigger_seq, rule_version, status, body, media_seconds, interaction_id)
    VALUES (malha_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (tenant_id, session_id, type, trigger_seq, rule_version)
        DO UPDATE SET updated_at = insight.updated_at WHERE insight.id = excluded.id RETURNING id
"""
_SETTLE: Final = """
    UPDATE insight SET status = $2, reason = $3, body = body || $4, updated_at = clock_timestamp()
    WHERE id = $1 AND (status = 'pending' OR (status = $2 AND reason = $3 AND body @> $4))
    RETURNING id
"""
_KEEP_LATE: Final = "UPDATE insight SET body = body || $2, updated_at = clock_timestamp() WHERE id = $1 AND status = 'late'"
_LIST: Final = """
    SELECT id, type, body, created_at, interaction_id FROM insight
    WHERE conversation_id = $1 AND status = 'shown' AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3))
    ORDER BY created_at DESC, id DESC LIMIT $4
"""
_FEEDBACK: Final = """
    INSERT INTO feedback (tenant_id, id, conversation_id, insight_id, action, author)
    SELECT malha_tenant(), $4::uuid, conversation_id, id, $2, $3 FROM insight WHERE id = $1 ON CONFLICT (tenant_id, id) DO NOTHING
    RETURNING (SELECT type FROM insight WHERE id = $1)
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """An insight as it is kept. ``body`` is `malha.api.insight.v1.Insight` as JSON, without its id, type and times."""

    id: uuid.UUID
    type: InsightType
    body: Mapping[str, Any]
    created_at: datetime | None = None
    interaction_id: uuid.UUID | None = None
    trigger_seq: int = 0
    rule_version: str = ""
    media_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class NewInsight:
    """An insight to keep. ``status`` is ``pending`` or ``shown``."""

    id: uuid.UUID
    type: InsightType
    seq: int
    rule_version: str
    status: str
    body: Mapping[str, Any]
    media_seconds: float
    interaction_id: uuid.UUID | None


class InsightStore:
    """One tenant's conversations, as Insight reads and writes them."""

    def __init__(self, database: Database, tenant_id: uuid.UUID) -> None:
        self._database = database
        self._tenant_id = tenant_id

    async def conversation(self, name: str, session_id: uuid.UUID) -> uuid.UUID:
        """The conversation of a live session; else the one of that name or id, made where there is none."""
        async with self._database.tenant_tx(self._tenant_id) as connection:
            found: uuid.UUID | None = await connection.fetchval(_SESSION, session_id)
            if found is None:
                found = await connection.fetchval(_CONVERSATION, storable(name))
            if found is None:
                await connection.execute(_NEW_CONVERSATION, storable(name))
                found = await connection.fetchval(_CONVERSATION, storable(name))
        if found is None:
            raise AssertionError("a conversation was made and is not there")
        return found

    async def said(self, session_id: uuid.UUID, most: int) -> list[tuple[Utterance, int]]:
        """What was said in a session, the last ``most`` segments as they were told, each with the number it was first told under."""
        async with self._database.tenant_tx(self._tenant_id) as connection:
            rows = await connection.fetch(_SAID, session_id, most, MOST_CHARACTERS)
        return [
            (
                Utterance(
                    row["segment_id"], row["seq"], row["role"], row["text"], row["start_seconds"], row["end_seconds"], row["language"]
                ),
                row["first"],
            )
            for row in rows
        ]

    async def pending(self, session_id: uuid.UUID) -> list[Stored]:
        """What a lost owner has asked and not settled."""
        return await self._insights(_PENDING, session_id)

    async def untold(self, session_id: uuid.UUID) -> list[Stored]:
        """Of a live call: what is shown and was never told, since whoever should have told it was lost."""
        return await self._insights(_UNTOLD, session_id)

    async def told(self, session_id: uuid.UUID, most: int) -> list[Stored]:
        """The last insights of a session, in order."""
        return (await self._insights(_TOLD, session_id, most))[::-1]

    async def add(self, conversation_id: uuid.UUID, session_id: uuid.UUID, new: Sequence[NewInsight]) -> set[uuid.UUID]:
        """Keep insights; the ids of those that nobody else had kept. May be repeated where it is not known whether it was done."""
        async with self._database.tenant_tx(self._tenant_id) as connection:
            added = [await connection.fetchval(_INSERT, *_values(each, conversation_id, session_id)) for each in new]
        return {each for each in added if each is not None}

    async def settle(
        self,
        insight_id: uuid.UUID,
        status: str,
        reason: str,
        body: Mapping[str, Any],
        instead: tuple[uuid.UUID, uuid.UUID, NewInsight] | None = None,
    ) -> bool:
        """End what is pending, with what takes its place (conversation, session, insight); False where somebody else has. May be repeated, as `add`."""
        async with self._database.tenant_tx(self._tenant_id) as connection:
            settled = await connection.fetchval(_SETTLE, insight_id, status, reason, dict(body)) is not None
            if settled and instead is not None:
                conversation_id, session_id, new = instead
                return await connection.fetchval(_INSERT, *_values(new, conversation_id, session_id)) is not None
        return settled

    async def keep_late(self, insight_id: uuid.UUID, body: Mapping[str, Any]) -> None:
        """What the model answered after its stand-in was told."""
        async with self._database.tenant_tx(self._tenant_id) as connection:
            await connection.execute(_KEEP_LATE, insight_id, dict(body))

    async def newest(self, name: str, after: tuple[datetime, uuid.UUID] | None, most: int) -> list[Stored]:
        """The insights of a conversation that were shown, the newest first. Raises NotFound."""
        at, last = after if after is not None else (None, None)
        async with self._database.tenant_tx(self._tenant_id) as connection:
            conversation_id = await connection.fetchval(_CONVERSATION, storable(name))
            if conversation_id is None:
                raise NotFound("there is no such conversation", reason="CONVERSATION_NOT_FOUND")
            return [_stored(row) for row in await connection.fetch(_LIST, conversation_id, at, last, most)]

    async def feedback(self, feedback_id: uuid.UUID, insight_id: uuid.UUID, action: str, author: str) -> InsightType | None:
        """Keep what an operator did with an insight; its type, None where there is no such insight, or it was kept before."""
        async with self._database.tenant_tx(self._tenant_id) as connection:
            kind = await connection.fetchval(_FEEDBACK, insight_id, action, author, feedback_id)
        return InsightType(kind) if kind is not None else None

    async def _insights(self, query: str, *values: Any) -> list[Stored]:
        async with self._database.tenant_tx(self._tenant_id) as connection:
            return [_stored(row) for row in await connection.fetch(query, *values)]


async def conversation_of(connection: Connection, name: str) -> uuid.UUID:
    """The id of a conversation by name or id. Raises NotFound."""
    found: uuid.UUID | None = await connection.fetchval(_CONVERSATION, storable(name))
    if found is None:
        raise NotFound("there is no such conversation", reason="CONVERSATION_NOT_FOUND")
    return found


def _stored(row: Mapping[str, Any]) -> Stored:
    known = dict(row)
    known["type"] = InsightType(known["type"])
    return Stored(**{"id": uuid.UUID(int=0)} | known)


def _values(new: NewInsight, conversation_id: uuid.UUID, session_id: uuid.UUID) -> tuple[Any, ...]:
    return (
        new.id,
        conversation_id,
        session_id,
        new.type.value,
        new.seq,
        new.rule_version,
        new.status,
        dict(new.body),
        new.media_seconds,
        new.interaction_id,
    )
