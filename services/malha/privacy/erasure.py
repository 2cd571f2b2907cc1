"""Destroys what is kept of a customer or a conversation, for good.

Conversation by conversation, each in a transaction that also leaves its tombstones, its line in the audit and its part of the report; then
its files; the customer last. Killed anywhere, the same erasure asked for again goes on: what is gone stays gone, and nothing is counted twice.
"""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

from malha.privacy.catalogue import OF_CONVERSATION, OF_CUSTOMER, deleting, selecting
from malha.privacy.subjects import Subject, audit, refuse_held, refuse_live
from malha.runtime.errors import FailedPrecondition, NotFound
from malha.store.database import Database
from malha.store.roles import Connection

Cause: TypeAlias = Literal["request", "retention"]

_CONVERSATIONS: Final = "SELECT id FROM conversation WHERE customer_id = $1 ORDER BY id"
_SESSIONS: Final = "SELECT session_id FROM live_session WHERE conversation_id = ANY($1) ORDER BY session_id"
_LOCK_CONVERSATION: Final = "SELECT id, customer_id FROM conversation WHERE id = $1 FOR UPDATE"
"""Nobody opens a call of it, or holds it, meanwhile."""
_LOCK_CUSTOMER: Final = "SELECT id FROM customer WHERE id = $1 FOR UPDATE"
_SHARE_CUSTOMER: Final = "SELECT id FROM customer WHERE id = $1 FOR KEY SHARE"
_JOBS: Final = selecting("job", OF_CONVERSATION["job"], "id")
_SPEAKERS: Final = "SELECT id FROM speaker WHERE customer_id = $1 ORDER BY id"
_BURY: Final = """
    INSERT INTO tombstone (tenant_id, kind, object_id) SELECT malha_tenant(), kind, object_id FROM unnest($1::text[], $2::uuid[]) AS dead (kind, object_id)
    ON CONFLICT DO NOTHING
"""
_RECORD: Final = """
    INSERT INTO erasure (tenant_id, kind, object_id, customer_id, actor, cause, counts, objects, ended_at)
    VALUES (malha_tenant(), $1, $2, $3, $4, $5, $6, $7, CASE WHEN $1 = 'customer' THEN now() END)
    ON CONFLICT (tenant_id, kind, object_id) DO NOTHING
"""
_UNFINISHED: Final = "SELECT object_id FROM erasure WHERE kind = 'conversation' AND ended_at IS NULL ORDER BY object_id LIMIT 1000"
_FINISH: Final = """
    UPDATE erasure SET counts = counts || jsonb_build_object('recorded_files', $2::bigint), ended_at = clock_timestamp()
    WHERE kind = 'conversation' AND object_id = $1 AND ended_at IS NULL
"""
_DONE: Final = """
    SELECT kind, object_id, actor, cause, counts, objects, began_at, ended_at FROM erasure
    WHERE (kind = $1 AND object_id = $2) OR ($1 = 'customer' AND kind = 'conversation' AND customer_id = $2) ORDER BY began_at, object_id
"""
_BURIED: Final = "SELECT erased_at FROM tombstone WHERE kind = $1 AND object_id = $2"


class Uploads(Protocol):
    """Recordings that wait for their job: `malha.runtime.job_files.JobFiles`."""

    def discard(self, tenant: uuid.UUID, job: uuid.UUID) -> None:
        """Delete a job's, if it is still there. Raises OSError."""
        ...


class RecordedFiles(Protocol):
    """Where recordings' files lie."""

    async def remove(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> int:
        """Remove all of a conversation; how many there were. Raises Unavailable."""
        ...

    async def conversations(self, tenant_id: uuid.UUID) -> set[uuid.UUID]:
        """Which conversations of a tenant have files. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What an erasure would destroy: rows by table. ``erased_at``: it was done already."""

    subject: Subject
    counts: Mapping[str, int]
    erased_at: datetime | None


@dataclass(frozen=True, slots=True)
class Erased:
    """What was destroyed, in this run and in those that were interrupted: rows (and files) by table, ids by kind."""

    subject: Subject
    actor: str
    cause: str
    counts: Mapping[str, int]
    objects: Mapping[str, list[str]]
    began_at: datetime
    ended_at: datetime


class Eraser:
    """Erases on request, and what a tenant's retention has run out for."""

    def __init__(self, database: Database, files: RecordedFiles, uploads: Uploads | None = None) -> None:
        """``uploads``: of this machine. Those of jobs that are gone are deleted by whoever serves jobs too, some minutes later."""
        self._database = database
        self._files = files
        self._uploads = uploads

    async def plan(self, subject: Subject) -> Plan:
        """Count what would go. Raises NotFound, and FailedPrecondition while a call goes on (CONVERSATION_LIVE) or is held (LEGAL_HOLD)."""
        async with self._database.tenant_tx(subject.tenant_id) as connection:
            conversations = await _conversations(connection, subject)
            await _refuse(connection, subject, conversations)
            sessions = [row["session_id"] for row in await connection.fetch(_SESSIONS, conversations)]
            counts = {
                table: await connection.fetchval(selecting(table, condition), conversations, sessions)
                for table, condition in OF_CONVERSATION.items()
            }
            if subject.kind == "customer":
                for table, condition in OF_CUSTOMER.items():
                    counts[table] = await connection.fetchval(selecting(table, condition), subject.id)
            erased_at = await connection.fetchval(_BURIED, subject.kind, subject.id)
        if erased_at is None and not any(counts.values()):
            raise NotFound(f"there is no such {subject.kind}", reason=f"{subject.kind.upper()}_NOT_FOUND")
        return Plan(subject, {table: count for table, count in counts.items() if count}, erased_at)

    async def erase(self, subject: Subject, actor: str, cause: Cause = "request") -> Erased:
        """Destroy everything, or go on where an earlier run was interrupted. Done before: tells of that again. Raises as `plan`."""
        await self.finish(subject.tenant_id)
        if subject.kind == "conversation":
            await self._erase_conversation(subject, actor, cause, None)
        else:
            while not await self._erase_customer(subject, actor, cause):
                await self._erase_conversations_of(subject, actor, cause)
        return await self._done(subject)

    async def erase_idle(self, customer: Subject, actor: str, cause: Cause) -> bool:
        """Destroy a customer who has no conversation. Whether that was so. Raises FailedPrecondition where a hold is set (LEGAL_HOLD)."""
        return await self._erase_customer(customer, actor, cause)

    async def finish(self, tenant_id: uuid.UUID) -> int:
        """Remove the files of erasures that were interrupted before that; how many erasures."""
        async with self._database.tenant_tx(tenant_id) as connection:
            unfinished = [row["object_id"] for row in await connection.fetch(_UNFINISHED)]
        for conversation in unfinished:
            await self._remove_files(tenant_id, conversation)
        return len(unfinished)

    async def _erase_conversations_of(self, customer: Subject, actor: str, cause: Cause) -> None:
        async with self._database.tenant_tx(customer.tenant_id) as connection:
            conversations = await _conversations(connection, customer)
            await _refuse(connection, customer, conversations)
        for conversation in conversations:
            await self._erase_conversation(Subject(customer.tenant_id, "conversation", conversation), actor, cause, customer.id)

    async def _erase_conversation(self, subject: Subject, actor: str, cause: Cause, customer: uuid.UUID | None) -> None:
        async with self._database.tenant_tx(subject.tenant_id) as connection:
            row = await connection.fetchrow(_LOCK_CONVERSATION, subject.id)
            if row is None:
                return  # somebody else was first
            customers = [row["customer_id"]] if row["customer_id"] is not None else []
            for each in customers:
                await connection.execute(_SHARE_CUSTOMER, each)
            ids = [subject.id]
            await refuse_held(connection, ids, customers)
            await refuse_live(connection, ids)
            sessions = [found["session_id"] for found in await connection.fetch(_SESSIONS, ids)]
            jobs = [found["id"] for found in await connection.fetch(_JOBS, ids, sessions)]
            counts = {
                table: _affected(await connection.execute(deleting(table, condition), ids, sessions))
                for table, condition in OF_CONVERSATION.items()
            }
            await connection.execute(_BURY, ["conversation", *("session" for _ in sessions)], [subject.id, *sessions])
            await self._record(connection, subject, actor, cause, counts, {"sessions": sessions}, customer)
        await asyncio.to_thread(self._discard, subject.tenant_id, jobs)
        await self._remove_files(subject.tenant_id, subject.id)

    async def _erase_customer(self, subject: Subject, actor: str, cause: Cause) -> bool:
        """Delete the customer, once no conversation is left. False: there are some."""
        async with self._database.tenant_tx(subject.tenant_id) as connection:
            if await connection.fetchval(_LOCK_CUSTOMER, subject.id) is None:
                return True
            await refuse_held(connection, [], [subject.id])
            if await connection.fetch(f"{_CONVERSATIONS} LIMIT 1", subject.id):
                return False
            speakers = [row["id"] for row in await connection.fetch(_SPEAKERS, subject.id)]
            counts = {
                table: _affected(await connection.execute(deleting(table, condition), subject.id))
                for table, condition in OF_CUSTOMER.items()
            }
            await connection.execute(_BURY, ["customer", *("speaker" for _ in speakers)], [subject.id, *speakers])
            await self._record(connection, subject, actor, cause, counts, {"speakers": speakers}, None)
        return True

    async def _record(
        self,
        connection: Connection,
        subject: Subject,
        actor: str,
        cause: Cause,
        counts: Mapping[str, int],
        objects: Mapping[str, list[uuid.UUID]],
        customer: uuid.UUID | None,
    ) -> None:
        found = {table: count for table, count in counts.items() if count}
        ids = {kind: [str(each) for each in values] for kind, values in objects.items() if values}
        await connection.execute(_RECORD, subject.kind, subject.id, customer, actor, cause, found, ids)
        await audit(connection, actor, f"{subject.kind}.erase", subject, {"cause": cause, "counts": found})

    def _discard(self, tenant_id: uuid.UUID, jobs: Sequence[uuid.UUID]) -> None:
        """Delete what waits for jobs that are gone."""
        if self._uploads is not None:
            for job in jobs:
                with contextlib.suppress(OSError):  # whoever serves jobs tries again
                    self._uploads.discard(tenant_id, job)

    async def _remove_files(self, tenant_id: uuid.UUID, conversation: uuid.UUID) -> None:
        removed = await self._files.remove(tenant_id, conversation)
        async with self._database.tenant_tx(tenant_id) as connection:
            await connection.execute(_FINISH, conversation, removed)

    async def _done(self, subject: Subject) -> Erased:
        async with self._database.tenant_tx(subject.tenant_id) as connection:
            rows = await connection.fetch(_DONE, subject.kind, subject.id)
            erased_at = await connection.fetchval(_BURIED, subject.kind, subject.id)
        if erased_at is None:
            raise NotFound(f"there is no such {subject.kind}", reason=f"{subject.kind.upper()}_NOT_FOUND")
        counts: Counter[str] = Counter()
        objects: dict[str, list[str]] = {}
        for row in rows:
            counts.update({name: count for name, count in row["counts"].items() if count})
            for kind, ids in row["objects"].items():
                objects.setdefault(kind, []).extend(ids)
            objects.setdefault(f"{row['kind']}s", []).append(str(row["object_id"]))
        own: dict[str, Any] = next((dict(row) for row in rows if row["kind"] == subject.kind), {})
        return Erased(
            subject,
            own.get("actor", "unknown"),  # erased before a backup was restored, or by deleting the conversation: only the tombstone is left
            own.get("cause", "request"),
            dict(sorted(counts.items())),
            {kind: sorted(ids) for kind, ids in sorted(objects.items())} or {f"{subject.kind}s": [str(subject.id)]},
            min((row["began_at"] for row in rows), default=erased_at),
            max((row["ended_at"] for row in rows if row["ended_at"] is not None), default=erased_at),
        )


async def _conversations(connection: Connection, subject: Subject) -> list[uuid.UUID]:
    if subject.kind == "conversation":
        return [subject.id]
    return [row["id"] for row in await connection.fetch(_CONVERSATIONS, subject.id)]


async def _refuse(connection: Connection, subject: Subject, conversations: list[uuid.UUID]) -> None:
    if subject.kind == "customer":
        customers = [subject.id]
    else:
        rows = await connection.fetch("SELECT customer_id FROM conversation WHERE id = $1 AND customer_id IS NOT NULL", subject.id)
        customers = [row["customer_id"] for row in rows]
    await refuse_held(connection, conversations, customers)
    await refuse_live(connection, conversations)


def _affected(status: str) -> int:
    """How many rows a statement touched, from what PostgreSQL says of it ("DELETE 3")."""
    return int(status.rpartition(" ")[2])


def is_refusal(error: FailedPrecondition) -> bool:
    """Whether an erasure was refused for now, by a hold or a call: a sweep goes on with the next."""
    return error.reason in {"LEGAL_HOLD", "CONVERSATION_LIVE"}
