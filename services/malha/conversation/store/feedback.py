"""Feedback, one by one and taken together."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from malha.conversation.store.names import as_uuid
from malha.runtime.errors import NotFound
from malha.store.roles import Connection

COLUMNS: Final = "id, conversation_id, insight_id, thumb, stars, nps, comment, problem, action, author, at"

INSIGHT: Final = "SELECT conversation_id FROM insight WHERE id = $1"
INSERT: Final = """
    INSERT INTO feedback (tenant_id, conversation_id, insight_id, thumb, stars, nps, comment, problem, action, author, at)
    VALUES (malha_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, COALESCE($10, now()))
    RETURNING id, (SELECT type FROM insight WHERE insight.id = $2) AS insight_type
"""
SUMMARY: Final = """
    SELECT count(*) AS count, count(*) FILTER (WHERE thumb = 1) AS thumbs_up, count(*) FILTER (WHERE thumb = -1) AS thumbs_down,
        count(stars) AS stars_count, avg(stars)::float8 AS mean_stars, count(nps) AS nps_count,
        (100.0 * (count(*) FILTER (WHERE nps >= 9) - count(*) FILTER (WHERE nps <= 6)) / NULLIF(count(nps), 0))::float8 AS nps_score,
        count(*) FILTER (WHERE problem) AS problems, count(*) FILTER (WHERE action = 'shown') AS shown,
        count(*) FILTER (WHERE action = 'used') AS used, count(*) FILTER (WHERE action = 'edited') AS edited,
        count(*) FILTER (WHERE action = 'ignored') AS ignored
    FROM feedback WHERE
"""
"""Net promoter score: percent of promoters (9, 10) less percent of detractors (0 to 6). Reichheld, Harvard Business Review, December 2003."""


@dataclass(frozen=True, slots=True)
class Given:
    """Feedback as somebody gave it. ``thumb``: 1 or -1; ``at`` None: now."""

    conversation_id: uuid.UUID
    insight_id: uuid.UUID | None
    thumb: int | None
    stars: int | None
    nps: int | None
    comment: str
    problem: bool
    action: str | None
    author: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Feedback:
    """Feedback as it is kept."""

    id: uuid.UUID
    at: datetime
    given: Given


@dataclass(frozen=True, slots=True)
class Filter:
    """Which feedback: from ``given_from`` on, before ``given_until``."""

    conversation_id: uuid.UUID | None = None
    insight_id: uuid.UUID | None = None
    given_from: datetime | None = None
    given_until: datetime | None = None

    def clauses(self) -> tuple[str, list[Any]]:
        """A condition in SQL, and its values."""
        conditions = {
            "conversation_id = {}": self.conversation_id,
            "insight_id = {}": self.insight_id,
            "at >= {}": self.given_from,
            "at < {}": self.given_until,
        }
        given = [(condition, value) for condition, value in conditions.items() if value is not None]
        clauses = [condition.format(f"${number}") for number, (condition, _) in enumerate(given, 1)]
        return " AND ".join(clauses) or "true", [value for _, value in given]


Place = tuple[datetime, uuid.UUID]
"""Of a piece of feedback among all, by time and id."""


async def insight(connection: Connection, name: str) -> tuple[uuid.UUID, uuid.UUID]:
    """An insight's id and its conversation's. Raises NotFound."""
    insight_id = as_uuid(name)
    conversation_id = await connection.fetchval(INSIGHT, insight_id) if insight_id else None
    if insight_id is None or conversation_id is None:
        raise absent_insight()
    return insight_id, conversation_id


async def create(connection: Connection, given: Given) -> tuple[uuid.UUID, str | None]:
    """Keep feedback; its id, and the type of its insight."""
    row = await connection.fetchrow(INSERT, *(getattr(given, name) for name in Given.__slots__))
    return row["id"], row["insight_type"]


async def newest(connection: Connection, wanted: Filter, after: Place | None, most: int) -> list[Feedback]:
    """The latest feedback, before the place ``after``."""
    condition, values = wanted.clauses()
    if after is not None:
        values += after
        condition += f" AND (at, id) < (${len(values) - 1}, ${len(values)})"
    values.append(most)
    query = f"SELECT {COLUMNS} FROM feedback WHERE {condition} ORDER BY at DESC, id DESC LIMIT ${len(values)}"  # noqa: S608 - constants
    rows = await connection.fetch(query, *values)
    return [Feedback(row["id"], row["at"], Given(*(row[name] for name in Given.__slots__))) for row in rows]


async def summary(connection: Connection, wanted: Filter) -> asyncpg.Record:
    """Counts and averages, by the names of `FeedbackSummary`'s fields."""
    condition, values = wanted.clauses()
    return await connection.fetchrow(SUMMARY + condition, *values)


def absent_insight() -> NotFound:
    return NotFound("there is no such insight", reason="INSIGHT_NOT_FOUND")
