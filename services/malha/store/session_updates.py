"""What a live call stores: its position, what its client is told, and the segments that are so far. And how that becomes arrays of SQL."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from malha.runtime.errors import Aborted
from malha.store.database import json_text
from malha.store.text import storable


class SessionMoved(Aborted):
    """Another process owns this session now, or it is gone: end this side of it, and never resume by oneself."""

    default_reason = "SESSION_MOVED"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Something the client is told for good."""

    seq: int
    kind: str
    body: Any
    """A JSON value."""
    segment_id: str | None = None
    revision: int | None = None
    position: int | None = None
    """In the client's units."""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment as it is from this revision on."""

    segment_id: str
    revision: int
    channel: int
    role: str
    start_seconds: float
    end_seconds: float
    text: str
    words: Sequence[Mapping[str, Any]] = ()
    confidence: float | None = None
    speaker: str = ""
    state: str = "final"
    """``final`` or ``amended``."""


@dataclass(frozen=True, slots=True)
class SessionUpdate:
    """One step of a call: all of it is stored, or nothing. What is None stays as it was."""

    session_id: uuid.UUID
    epoch: int
    """Of whoever sends this: an older one is refused."""
    last_seq: int
    committed: Mapping[str, int] | None = None
    """Position per channel."""
    segment_ordinals: Mapping[str, int] | None = None
    noise_floors: Mapping[str, float] | None = None
    flags: Mapping[str, Any] | None = None
    state: str | None = None
    """``open``, ``detached``, ``closed`` or ``abandoned``."""
    events: Sequence[StoredEvent] = field(default=())
    segments: Sequence[StoredSegment] = field(default=())


@dataclass(frozen=True, slots=True)
class Rows:
    """An update as columns of SQL, its text storable: made once, however often it is sent."""

    key: tuple[uuid.UUID, int]
    """Session and epoch."""
    session: tuple[Any, ...]
    events: tuple[tuple[Any, ...], ...]
    segments: tuple[tuple[Any, ...], ...]


def rows_of(update: SessionUpdate) -> Rows:
    """Raises TypeError for what is no JSON value."""
    session = (update.session_id, update.epoch, update.last_seq)
    values = (update.committed, update.segment_ordinals, update.noise_floors, update.flags)
    return Rows(
        (update.session_id, update.epoch),
        (*session, *(None if value is None else json_text(value) for value in values), update.state),
        tuple(
            (event.seq, storable(event.kind), _or_none(event.segment_id), event.revision, event.position, json_text(event.body))
            for event in update.events
        ),
        tuple(_segment_row(segment) for segment in update.segments),
    )


def columns(updates: Iterable[Rows]) -> list[list[Any]]:
    """The arguments of `COMMIT`. Updates of one session are joined: the later holds; of a segment's revisions the newest, then the latest."""
    sessions: dict[tuple[uuid.UUID, int], tuple[Any, ...]] = {}
    events: list[tuple[Any, ...]] = []
    segments: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    numbers: dict[tuple[uuid.UUID, int], int] = {}
    for update in updates:
        number = numbers.setdefault(update.key, len(numbers))
        sessions[update.key] = _joined(sessions.get(update.key), update.session)
        events += ((number, *event) for event in update.events)
        for segment in update.segments:
            key = (number, segment[0])
            if key not in segments or segments[key][2] <= segment[1]:
                segments[key] = (number, *segment)
    session_rows = [(numbers[key], *row) for key, row in sessions.items()]
    return [*_transposed(session_rows, 9), *_transposed(events, 7), *_transposed(list(segments.values()), 12)]


def _joined(earlier: tuple[Any, ...] | None, later: tuple[Any, ...]) -> tuple[Any, ...]:
    if earlier is None:
        return later
    kept = (old if new is None else new for old, new in zip(earlier[3:], later[3:], strict=True))
    return (*later[:2], max(earlier[2], later[2]), *kept)


def _segment_row(segment: StoredSegment) -> tuple[Any, ...]:
    times = (segment.start_seconds, segment.end_seconds)
    spoken = (storable(segment.text), json_text(segment.words), segment.confidence, storable(segment.speaker))
    return (storable(segment.segment_id), segment.revision, segment.channel, storable(segment.role), *times, *spoken, segment.state)


def _or_none(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _transposed(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


COMMIT: Final = """
WITH item AS (
    SELECT * FROM unnest($1::integer[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
        AS item (item, session_id, epoch, last_seq, committed, segment_ordinals, noise_floors, flags, state)
), ours AS (
    UPDATE live_session AS live SET
        last_seq = greatest(live.last_seq, item.last_seq),
        committed = coalesce(item.committed::jsonb, live.committed),
        segment_ordinals = coalesce(item.segment_ordinals::jsonb, live.segment_ordinals),
        noise_floors = coalesce(item.noise_floors::jsonb, live.noise_floors),
        flags = coalesce(item.flags::jsonb, live.flags),
        state = coalesce(item.state, live.state),
        detached_at = CASE item.state WHEN 'detached' THEN clock_timestamp() WHEN 'open' THEN NULL ELSE live.detached_at END,
        updated_at = clock_timestamp()
    FROM item WHERE live.session_id = item.session_id AND live.epoch = item.epoch
    RETURNING item.item, item.epoch, live.session_id, live.tenant_id
), told AS (
    INSERT INTO event (session_id, seq, tenant_id, kind, segment_id, revision, position, body)
    SELECT ours.session_id, told.seq, ours.tenant_id, told.kind, told.segment_id, told.revision, told.position, told.body::jsonb
    FROM unnest($10::integer[], $11::bigint[], $12::text[], $13::text[], $14::integer[], $15::bigint[], $16::text[])
        AS told (item, seq, kind, segment_id, revision, position, body) JOIN ours USING (item)
    ON CONFLICT (session_id, seq) DO NOTHING
), kept AS (
    INSERT INTO segment AS known (tenant_id, session_id, segment_id, revision, channel, role, start_seconds, end_seconds, text, words,
        confidence, speaker, state, updated_at)
    SELECT ours.tenant_id, ours.session_id, kept.segment_id, kept.revision, kept.channel, kept.role, kept.start_seconds, kept.end_seconds,
        kept.text, kept.words::jsonb, kept.confidence, kept.speaker, kept.state, clock_timestamp()
    FROM unnest($17::integer[], $18::text[], $19::integer[], $20::integer[], $21::text[], $22::double precision[], $23::double precision[],
        $24::text[], $25::text[], $26::real[], $27::text[], $28::text[])
        AS kept (item, segment_id, revision, channel, role, start_seconds, end_seconds, text, words, confidence, speaker, state)
        JOIN ours USING (item)
    ON CONFLICT (tenant_id, session_id, segment_id) DO UPDATE SET
        revision = excluded.revision, channel = excluded.channel, role = excluded.role, start_seconds = excluded.start_seconds,
        end_seconds = excluded.end_seconds, text = excluded.text, words = excluded.words, confidence = excluded.confidence,
        speaker = excluded.speaker, state = excluded.state, updated_at = excluded.updated_at
    WHERE known.revision < excluded.revision
)
SELECT session_id, epoch FROM ours
"""
"""Stores a batch, and returns the sessions and epochs that were still ours. Sent again, it changes nothing."""
