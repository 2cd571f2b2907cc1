"""Jobs in the database. Every function runs in a transaction of the tenant.

An attempt is known by the session it will store under: what an earlier attempt still says is no longer heard.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from malha.runtime.errors import FailedPrecondition, NotFound
from malha.store.roles import Connection
from malha.store.session_updates import StoredSegment
from malha.store.text import storable

_COLUMNS: Final = (
    "id, kind, status, progress, attempts, conversation_id, session_id, input, result, reason, created_at, started_at, ended_at"
)
_INSERT: Final = f"""
    INSERT INTO job (tenant_id, id, kind, input, conversation_id) VALUES (malha_tenant(), $1, $2, $3, $4) RETURNING {_COLUMNS}
"""  # noqa: S608 - constants
_ENQUEUE: Final = "SELECT malha_enqueue($1, $2)"
_GET: Final = f"SELECT {_COLUMNS} FROM job WHERE id = $1"  # noqa: S608 - constants
_LIST: Final = f"""
    SELECT {_COLUMNS} FROM job WHERE ($2::text IS NULL OR status = $2) AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $1
"""  # noqa: S608 - constants
"""Ids are in order of time. The job a page began after may be gone."""
_CANCEL: Final = f"""
    UPDATE job SET status = 'cancelled', ended_at = now() WHERE id = $1 AND status IN ('queued', 'running') RETURNING {_COLUMNS}
"""  # noqa: S608 - constants
_BEGIN: Final = f"""
    UPDATE job SET status = 'running', attempts = attempts + 1, session_id = malha_uuid7(), progress = 0,
        started_at = coalesce(started_at, now())
    WHERE id = $1 AND status IN ('queued', 'running') RETURNING {_COLUMNS}
"""  # noqa: S608 - constants
_PROGRESS: Final = "UPDATE job SET progress = greatest(progress, $3) WHERE id = $1 AND session_id = $2 AND status = 'running' RETURNING id"
_WAIT: Final = (
    "UPDATE job SET status = 'queued', attempts = attempts - $3, progress = 0 WHERE id = $1 AND session_id = $2 AND status = 'running'"
)
_FAIL: Final = """
    UPDATE job SET status = 'failed', reason = $3, result = $4, ended_at = now()
    WHERE id = $1 AND session_id = $2 AND status = 'running' RETURNING id
"""
_DONE: Final = """
    UPDATE job SET status = 'done', progress = 1, conversation_id = $3, result = $4, ended_at = now()
    WHERE id = $1 AND session_id = $2 AND status = 'running' RETURNING id
"""
_OPEN: Final = "SELECT id FROM job WHERE id = ANY($1) AND status IN ('queued', 'running')"
_LOCK: Final = "SELECT id FROM job WHERE id = $1 AND session_id = $2 AND status = 'running' FOR UPDATE"
_FORGET: Final = """
    DELETE FROM job WHERE id IN (
        SELECT id FROM job WHERE ended_at < now() - make_interval(days => $1) AND status IN ('done', 'failed', 'cancelled') LIMIT 500)
"""
_FIND_CONVERSATION: Final = """
    SELECT id FROM conversation WHERE external_id = $1 OR id = $2 ORDER BY external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1
    FOR NO KEY UPDATE
"""
"""Locked before the job is, in the order of an erasure."""
_MAKE_CONVERSATION: Final = """
    INSERT INTO conversation (tenant_id, external_id) VALUES (malha_tenant(), nullif($1, ''))
    ON CONFLICT (tenant_id, external_id) DO UPDATE SET external_id = excluded.external_id RETURNING id
"""
_SESSION: Final = """
    INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config, state)
    VALUES ($1, malha_tenant(), $2, '', '', $3, 'closed')
"""
_SEGMENTS: Final = """
    INSERT INTO segment (tenant_id, session_id, segment_id, revision, channel, role, start_seconds, end_seconds, text, words, confidence, speaker)
    VALUES (malha_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
_END_CONVERSATION: Final = """
    UPDATE conversation SET session_id = $2, status = 'closed', ended_at = now(), duration_seconds = $3 WHERE id = $1
        AND NOT EXISTS (SELECT FROM live_session WHERE conversation_id = $1 AND state IN ('open', 'detached'))
"""
"""While a call goes on, the conversation is the call's: that ends it, and tells so."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as it stands. ``result``: message, warnings."""

    id: uuid.UUID
    kind: str
    status: str
    progress: float
    attempts: int
    conversation_id: uuid.UUID | None
    session_id: uuid.UUID | None
    input: Mapping[str, Any]
    result: Mapping[str, Any] | None
    reason: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Transcribed:
    """What came of a recording."""

    config: bytes
    """The serialized `open`."""
    segments: Sequence[StoredSegment]
    duration_seconds: float
    warnings: Sequence[Mapping[str, str]]


async def create(connection: Connection, job: uuid.UUID, kind: str, given: Mapping[str, Any]) -> JobRow:
    """Make a job and put it into its queue. It belongs to the conversation it names from now on, where there is that one already."""
    conversation = await _find_conversation(connection, given.get("conversation_id", ""))
    row = await connection.fetchrow(_INSERT, job, kind, dict(given), conversation)
    await connection.execute(_ENQUEUE, kind, job)
    return _row(row)


async def get(connection: Connection, job: uuid.UUID) -> JobRow:
    """Raises NotFound."""
    row = await connection.fetchrow(_GET, job)
    if row is None:
        raise NotFound("there is no such job", reason="JOB_NOT_FOUND")
    return _row(row)


async def newest(connection: Connection, most: int, status: str | None, after: uuid.UUID | None) -> list[JobRow]:
    """The newest, or those that follow ``after``."""
    return [_row(row) for row in await connection.fetch(_LIST, most, status, after)]


async def cancel(connection: Connection, job: uuid.UUID) -> JobRow:
    """End a job; once more is no error. Raises NotFound, FailedPrecondition for one that was over."""
    row = await connection.fetchrow(_CANCEL, job)
    if row is not None:
        return _row(row)
    kept = await get(connection, job)
    if kept.status != "cancelled":
        raise FailedPrecondition(f"the job is over: {kept.status}", reason="JOB_OVER")
    return kept


async def unfinished(connection: Connection, jobs: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Which of these jobs are there and not over."""
    return {row["id"] for row in await connection.fetch(_OPEN, list(jobs))}


async def begin(connection: Connection, job: uuid.UUID) -> JobRow | None:
    """Begin an attempt; None for a job that is over or gone."""
    row = await connection.fetchrow(_BEGIN, job)
    return None if row is None else _row(row)


async def tell_progress(connection: Connection, job: uuid.UUID, attempt: uuid.UUID, progress: float) -> bool:
    """Whether the attempt is still wanted."""
    return await connection.fetchval(_PROGRESS, job, attempt, progress) is not None


async def wait(connection: Connection, job: uuid.UUID, attempt: uuid.UUID, *, counts: bool) -> None:
    """The job is to be tried again. ``counts``: this attempt was one."""
    await connection.execute(_WAIT, job, attempt, 0 if counts else 1)


async def fail(connection: Connection, job: uuid.UUID, attempt: uuid.UUID, reason: str, message: str) -> bool:
    """The job failed for good. Whether this attempt was still the one."""
    return await connection.fetchval(_FAIL, job, attempt, reason, {"message": message}) is not None


async def finish(connection: Connection, job: JobRow, attempt: uuid.UUID, done: Transcribed) -> bool:
    """Store the transcript and that the job is done, both or neither. Whether this attempt was still the one."""
    name = storable(job.input.get("conversation_id", ""))
    conversation = await _find_conversation(connection, str(job.conversation_id or name))
    if await connection.fetchval(_LOCK, job.id, attempt) is None:
        return False
    if conversation is None:
        conversation = await connection.fetchval(_MAKE_CONVERSATION, name)
    await connection.execute(_SESSION, attempt, conversation, done.config)
    await connection.executemany(_SEGMENTS, [_segment_row(attempt, segment) for segment in done.segments])
    await connection.execute(_END_CONVERSATION, conversation, attempt, done.duration_seconds)
    return await connection.fetchval(_DONE, job.id, attempt, conversation, {"warnings": list(done.warnings)}) is not None


async def answered(connection: Connection, job: JobRow, attempt: uuid.UUID) -> bool:
    """The question is answered, in its conversation. Whether this attempt was still the one."""
    return await connection.fetchval(_DONE, job.id, attempt, job.conversation_id, {}) is not None


async def forget(connection: Connection, days: int) -> int:
    """Delete jobs that were over so long ago, some hundreds at a time; how many."""
    return int((await connection.execute(_FORGET, days)).rpartition(" ")[2])


async def _find_conversation(connection: Connection, name: str) -> uuid.UUID | None:
    """The conversation a client calls so, or of that id, locked."""
    name = storable(name)
    found: uuid.UUID | None = await connection.fetchval(_FIND_CONVERSATION, name, _as_uuid(name)) if name else None
    return found


def _segment_row(session: uuid.UUID, segment: StoredSegment) -> tuple[Any, ...]:
    times = (segment.start_seconds, max(segment.end_seconds, segment.start_seconds))
    spoken = (storable(segment.text), list(segment.words), segment.confidence, storable(segment.speaker))
    return (session, segment.segment_id, segment.revision, segment.channel, segment.role, *times, *spoken)


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _row(row: Mapping[str, Any]) -> JobRow:
    return JobRow(**row)
