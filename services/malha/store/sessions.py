"""Sessions that survive their connection and their process: who owns one, how another takes it over, and how one that nobody resumes ends.

Whoever owns a session holds its epoch. Taking over adds one to it, in the database; from then on nothing the earlier owner sends is stored
(`GroupCommit`), and so nothing it decides is told. A session without a connection is detached; after `DETACHED_SECONDS` it is finished,
once, by whichever process finds it.
"""

import asyncio
import hashlib
import secrets
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from malha.runtime import logs
from malha.runtime.errors import FailedPrecondition, InvalidArgument, MalhaError, NotFound, Unavailable
from malha.runtime.logs import Event
from malha.store.database import Database
from malha.store.text import storable

log = logs.get("store.sessions")

DETACHED_SECONDS: Final = 60.0
"""How long a session waits for its client."""
HEARTBEAT_SECONDS: Final = 5.0
OWNER_LOST_SECONDS: Final = 15.0
"""An owner not seen for so long is gone, and with it the connections it had."""
_AT_ONCE: Final = 50
_ATTEMPTS: Final = 3

_OPEN_CONVERSATION = """
    WITH named AS (
        SELECT id FROM conversation WHERE tenant_id = $1 AND (external_id = $2 OR id = $4)
    ), made AS (
        INSERT INTO conversation (tenant_id, external_id, session_id) SELECT $1, nullif($2, ''), $3 WHERE NOT EXISTS (SELECT FROM named)
        RETURNING id
    ), again AS (
        UPDATE conversation SET session_id = $3, status = 'open', ended_at = NULL
        WHERE tenant_id = $1 AND id IN (SELECT id FROM named) RETURNING id
    )
    SELECT id FROM made UNION ALL SELECT id FROM again
"""
_INSERT = """
    INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config, owner)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_OPEN_AGAIN = """
    UPDATE live_session SET epoch = epoch + 1, previous_resume_digest = NULL, resume_digest = $3, config = $4, owner = $5, state = 'open',
        committed = '{}', segment_ordinals = '{}', noise_floors = '{}', flags = '{}', detached_at = NULL, updated_at = clock_timestamp()
    WHERE session_id = $1 AND principal_digest = $2 AND last_seq = 0 AND state IN ('open', 'detached')
    RETURNING conversation_id, epoch
"""
_TAKE_OVER = """
    UPDATE live_session SET epoch = epoch + 1, previous_resume_digest = $3, resume_digest = $4, owner = $5, state = 'open',
        detached_at = NULL, updated_at = clock_timestamp()
    WHERE session_id = $1 AND principal_digest = $2 AND $3 IN (resume_digest, previous_resume_digest) AND state IN ('open', 'detached')
    RETURNING conversation_id, epoch, last_seq, config, committed, segment_ordinals, noise_floors, flags, false AS over
"""
_READ_OVER = """
    SELECT conversation_id, epoch, last_seq, config, committed, segment_ordinals, noise_floors, flags, true AS over FROM live_session
    WHERE session_id = $1 AND principal_digest = $2 AND $3 IN (resume_digest, previous_resume_digest) AND state IN ('closed', 'abandoned')
"""
_EVENTS = "SELECT seq, kind, position, body FROM event WHERE session_id = $1 AND seq > $2 ORDER BY seq"
_DETACH = """
    UPDATE live_session SET state = 'detached', detached_at = clock_timestamp() WHERE session_id = $1 AND epoch = $2 AND state = 'open'
"""
_END_CONVERSATION = """
    UPDATE conversation SET status = $4, ended_at = clock_timestamp(), duration_seconds = $5
    WHERE tenant_id = $1 AND id = $2 AND session_id = $3
"""
"""One that goes on in a newer session is not over."""
_SEEN = "INSERT INTO live_owner VALUES ($1, clock_timestamp()) ON CONFLICT (owner) DO UPDATE SET seen_at = clock_timestamp()"
_FORGET_OWNERS = "DELETE FROM live_owner WHERE owner = $1 OR seen_at < clock_timestamp() - interval '1 day'"
_DETACH_LOST = """
    UPDATE live_session SET state = 'detached', detached_at = clock_timestamp()
    WHERE state = 'open' AND owner <> $1 AND NOT EXISTS (
        SELECT FROM live_owner WHERE live_owner.owner = live_session.owner AND seen_at > clock_timestamp() - make_interval(secs => $2))
"""
_FORSAKEN = """
    SELECT session_id, tenant_id FROM live_session
    WHERE state = 'detached' AND detached_at < clock_timestamp() - make_interval(secs => $1) ORDER BY detached_at LIMIT $2
"""
_ABANDON = """
    UPDATE live_session SET epoch = epoch + 1, state = 'abandoned', last_seq = last_seq + $3, updated_at = clock_timestamp()
    WHERE session_id = $1 AND state = 'detached' AND detached_at < clock_timestamp() - make_interval(secs => $2)
    RETURNING tenant_id, conversation_id, last_seq, committed, flags
"""
_INSERT_EVENT = "INSERT INTO event (session_id, seq, tenant_id, kind, body) VALUES ($1, $2, $3, $4, $5)"


@dataclass(frozen=True, slots=True)
class Held:
    """A session this process owns."""

    session_id: uuid.UUID
    tenant_id: uuid.UUID
    conversation_id: uuid.UUID
    epoch: int
    last_seq: int
    resume_token: str


@dataclass(frozen=True, slots=True)
class ReplayedEvent:
    """Something the client was told for good, or should have been."""

    seq: int
    kind: str
    position: int
    body: Any


@dataclass(frozen=True, slots=True)
class Resumed:
    """A session taken over. ``over``: it had ended already, and only its last events are left to tell."""

    held: Held
    over: bool
    config: bytes
    columns: Mapping[str, Any]
    """What the earlier owner stored: committed, segment_ordinals, noise_floors, flags."""
    events: Sequence[ReplayedEvent]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session that nobody resumed is finished."""

    events: Sequence[tuple[str, Any]]
    """(kind, body), numbered on from the last."""
    duration_seconds: float | None


class Sessions:
    """The sessions of a process. ``end`` makes the last events of one that was abandoned, of what was stored of it."""

    def __init__(self, database: Database, end: Callable[[Mapping[str, Any]], Ending], events_at_end: int) -> None:
        self._database = database
        self._end = end
        self._events_at_end = events_at_end
        self.owner = f"{socket.gethostname()}:{uuid.uuid4()}"
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Be seen, and begin to look after sessions that lost their client or their process. Raises Unavailable without a database."""
        async with self._database.ingest_tx() as connection:
            await connection.execute(_SEEN, self.owner)
        self._task = asyncio.create_task(self._look_after(), name="sessions")

    async def close(self) -> None:
        """Look no more; say that this process is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            try:
                async with self._database.ingest_tx() as connection:
                    await connection.execute(_FORGET_OWNERS, self.owner)
            except MalhaError:
                log.warning(Event.STORE_AWAY)  # others find out by themselves

    async def open(self, session_id: uuid.UUID, tenant_id: uuid.UUID, principal: str, conversation: str, config: bytes) -> Held:
        """Begin a session. Opened again before anything durable was told, it is the same session with another owner.

        ``conversation`` is the client's name of it, or its id, or empty. Raises FailedPrecondition (SESSION_EXISTS) for one that is under
        way, or anybody else's.
        """
        for _ in range(_ATTEMPTS):
            try:
                return await self._open(session_id, tenant_id, principal, conversation, config)
            except asyncpg.UniqueViolationError as error:
                if error.constraint_name == "live_session_pkey":
                    raise FailedPrecondition(
                        "a session of this id is under way: resume it, or open one with a new id", reason="SESSION_EXISTS"
                    ) from None
        raise Unavailable("many sessions of this conversation begin at once: try again", retry_seconds=0.1)

    async def _open(self, session_id: uuid.UUID, tenant_id: uuid.UUID, principal: str, conversation: str, config: bytes) -> Held:
        secret = secrets.token_urlsafe(32)
        resume, token = _digest(secret), f"{session_id}.{secret}"
        async with self._database.tenant_tx(tenant_id) as connection:
            row = await connection.fetchrow(_OPEN_AGAIN, session_id, _digest(principal), resume, config, self.owner)
            if row is not None:
                return Held(session_id, tenant_id, row["conversation_id"], row["epoch"], 0, token)
            made = await connection.fetchval(_OPEN_CONVERSATION, tenant_id, storable(conversation), session_id, _as_uuid(conversation))
            await connection.execute(_INSERT, session_id, tenant_id, made, _digest(principal), resume, config, self.owner)
            return Held(session_id, tenant_id, made, 1, 0, token)

    async def resume(self, token: str, tenant_id: uuid.UUID, principal: str, after_seq: int) -> Resumed:
        """Take a session over, whoever owns it. Raises NotFound for a token that opens none: unknown, used up, or somebody else's."""
        name, _, secret = token.partition(".")
        try:
            session_id = uuid.UUID(name)
        except ValueError:
            raise _unknown() from None
        next_secret = secrets.token_urlsafe(32)
        async with self._database.tenant_tx(tenant_id) as connection:
            given = (session_id, _digest(principal), _digest(secret))
            row = await connection.fetchrow(_TAKE_OVER, *given, _digest(next_secret), self.owner)
            row = row or await connection.fetchrow(_READ_OVER, *given)
            if row is None:
                raise _unknown()
            if after_seq > row["last_seq"]:
                raise InvalidArgument(
                    f"after_seq is {after_seq}, and the last event was {row['last_seq']}",
                    reason="INVALID_FIELD",
                    violations={"resume.after_seq": "beyond the last event"},
                )
            events = await connection.fetch(_EVENTS, session_id, after_seq)
        held = Held(session_id, tenant_id, row["conversation_id"], row["epoch"], row["last_seq"], f"{session_id}.{next_secret}")
        columns = {name: row[name] for name in ("committed", "segment_ordinals", "noise_floors", "flags")}
        replayed = [ReplayedEvent(each["seq"], each["kind"], each["position"] or 0, each["body"]) for each in events]
        return Resumed(held, row["over"], row["config"], columns, replayed)

    async def detach(self, held: Held) -> None:
        """The client is lost: the session waits for it."""
        async with self._database.tenant_tx(held.tenant_id) as connection:
            await connection.execute(_DETACH, held.session_id, held.epoch)

    async def closed(self, held: Held, duration_seconds: float) -> None:
        """The session has ended as its client wished; so has its conversation."""
        async with self._database.tenant_tx(held.tenant_id) as connection:
            ended = (held.tenant_id, held.conversation_id, held.session_id)
            await connection.execute(_END_CONVERSATION, *ended, "closed", duration_seconds)

    async def _look_after(self) -> None:
        """Be seen; detach what lost its owner; end what lost its client. Owners get time to be seen again after the database was away."""
        loop = asyncio.get_running_loop()
        seen_since = loop.time()
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                async with self._database.ingest_tx() as connection:
                    await connection.execute(_SEEN, self.owner)
                    if loop.time() - seen_since > OWNER_LOST_SECONDS + HEARTBEAT_SECONDS:
                        await connection.execute(_DETACH_LOST, self.owner, OWNER_LOST_SECONDS)
                    forsaken = await connection.fetch(_FORSAKEN, DETACHED_SECONDS, _AT_ONCE)
                for row in forsaken:
                    await self._abandon(row["session_id"], row["tenant_id"])
            except MalhaError:
                seen_since = loop.time()

    async def _abandon(self, session_id: uuid.UUID, tenant_id: uuid.UUID) -> None:
        async with self._database.tenant_tx(tenant_id) as connection:
            row = await connection.fetchrow(_ABANDON, session_id, DETACHED_SECONDS, self._events_at_end)
            if row is None:
                return  # resumed, or ended by another process
            ending = self._end(row)
            first = row["last_seq"] - self._events_at_end + 1
            for seq, (kind, body) in enumerate(ending.events, first):
                await connection.execute(_INSERT_EVENT, session_id, seq, tenant_id, kind, body)
            ended = (tenant_id, row["conversation_id"], session_id)
            await connection.execute(_END_CONVERSATION, *ended, "abandoned", ending.duration_seconds)
        log.info(Event.SESSION_ABANDONED, session=str(session_id))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _unknown() -> NotFound:
    return NotFound("no session can be resumed with this token", reason="SESSION_UNKNOWN")
