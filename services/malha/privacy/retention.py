"""Enforces how long tenants keep conversations, recordings and voice prints, by a tenant's settings: ``{"retention_days": 90, "recording":
{"retention_days": 30}, "speakers": {"retention_days": 365}}``.

What has run out is erased as on request, tombstones and all; a customer too who has no conversation left and was not changed for as long. A
legal hold and an open call win. Days of events that have become empty are dropped.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from malha.privacy.erasure import Eraser, RecordedFiles, Uploads, is_refusal
from malha.privacy.subjects import Subject, audit
from malha.runtime.errors import FailedPrecondition, MalhaError
from malha.store.database import Database
from malha.store.tenants import Tenants

ACTOR: Final = "retention"
_BATCH: Final = 200
_EXPIRED: Final = """
    SELECT c.id FROM conversation c
    WHERE COALESCE(c.ended_at, c.started_at) < now() - make_interval(days => $1) AND c.id > $2
        AND NOT EXISTS (SELECT FROM live_session l WHERE l.conversation_id = c.id AND l.state IN ('open', 'detached'))
        AND NOT EXISTS (SELECT FROM legal_hold h WHERE (h.kind = 'conversation' AND h.object_id = c.id)
            OR (h.kind = 'customer' AND h.object_id = c.customer_id))
    ORDER BY c.id LIMIT $3
"""
_EXPIRED_RECORDINGS: Final = """
    SELECT k.conversation_id AS id FROM recording_key k JOIN conversation c ON (c.tenant_id, c.id) = (k.tenant_id, k.conversation_id)
    WHERE COALESCE(c.ended_at, c.started_at) < now() - make_interval(days => $1) AND c.id > $2
        AND NOT EXISTS (SELECT FROM live_session l WHERE l.conversation_id = c.id AND l.state IN ('open', 'detached'))
        AND NOT EXISTS (SELECT FROM legal_hold h WHERE (h.kind = 'conversation' AND h.object_id = c.id)
            OR (h.kind = 'customer' AND h.object_id = c.customer_id))
    ORDER BY k.conversation_id LIMIT $3
"""
_LOCK: Final = "SELECT id FROM conversation WHERE id = $1 FOR UPDATE"
_DROP_KEY: Final = """
    DELETE FROM recording_key k WHERE k.conversation_id = $1
        AND NOT EXISTS (SELECT FROM live_session l WHERE l.conversation_id = $1 AND l.state IN ('open', 'detached'))
        AND NOT EXISTS (SELECT FROM legal_hold h JOIN conversation c ON c.id = $1
            WHERE (h.kind = 'conversation' AND h.object_id = c.id) OR (h.kind = 'customer' AND h.object_id = c.customer_id))
    RETURNING k.conversation_id
"""
"""Looked at once more, under a lock: a hold may have been placed, a call opened."""
_IDLE_CUSTOMERS: Final = """
    SELECT id FROM customer WHERE updated_at < now() - make_interval(days => $1) AND id > $2
        AND NOT EXISTS (SELECT FROM conversation c WHERE c.customer_id = customer.id)
        AND NOT EXISTS (SELECT FROM legal_hold h WHERE h.kind = 'customer' AND h.object_id = customer.id)
    ORDER BY id LIMIT $3
"""
_EXPIRED_SPEAKERS: Final = """
    SELECT id FROM speaker WHERE created_at < now() - make_interval(days => $1) AND id > $2
        AND NOT EXISTS (SELECT FROM legal_hold h WHERE h.kind = 'customer' AND h.object_id = speaker.customer_id)
    ORDER BY id LIMIT $3
"""
_DROP_SPEAKER: Final = """
    WITH gone AS (DELETE FROM speaker WHERE id = $1 RETURNING id)
    INSERT INTO tombstone (tenant_id, kind, object_id) SELECT malha_tenant(), 'speaker', id FROM gone ON CONFLICT DO NOTHING
"""
_AUDIT_SPEAKER: Final = """
    INSERT INTO audit (tenant_id, actor, action, object_type, object_id, details)
    VALUES (malha_tenant(), $1, 'speaker.delete', 'speaker', $2, '{"cause": "retention"}')
"""
_KEYS: Final = "SELECT conversation_id FROM recording_key WHERE conversation_id = ANY($1)"
_FIRST: Final = uuid.UUID(int=0)
_MOST_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True)
class Swept:
    """What one run did for a tenant."""

    conversations: int
    customers: int
    """Who had no conversation left."""
    recordings: int
    """Of conversations that stay: their keys and files went."""
    left_files: int
    """Files without a key, of an erasure that was interrupted or repeated by a restore, that were removed."""
    speakers: int = 0
    """Whose voice prints went; they can be enrolled again."""


class Retention:
    """Runs over all tenants. Killed anywhere, the next run goes on."""

    def __init__(self, database: Database, files: RecordedFiles, uploads: Uploads | None = None) -> None:
        self._database = database
        self._files = files
        self._eraser = Eraser(database, files, uploads)

    async def run(self) -> dict[str, Swept]:
        """Erase what has run out; by tenant's name. Raises Unavailable without a database or the recordings' store.

        What fails for one tenant is raised once all the others have had their turn.
        """
        tenants = Tenants(self._database)
        ids = await tenants.list()
        settings = await tenants.settings(ids.values())
        done: dict[str, Swept] = {}
        failures: list[MalhaError] = []
        for name, tenant in ids.items():
            try:
                done[name] = await self._sweep(tenant, settings.get(tenant, {}))
            except MalhaError as error:
                failures.append(error)
        await self._drop_days()
        if failures:
            raise failures[0]
        return done

    async def _sweep(self, tenant: uuid.UUID, settings: Mapping[str, Any]) -> Swept:
        await self._eraser.finish(tenant)
        kept_days = days(settings)
        recorded_days = days(settings.get("recording"))
        conversations = customers = 0
        if kept_days is not None:
            conversations = await self._erase_all(tenant, _EXPIRED, kept_days, self._erase_conversation)
            customers = await self._erase_all(tenant, _IDLE_CUSTOMERS, kept_days, self._erase_customer)
        recordings = 0 if recorded_days is None else await self._sweep_recordings(tenant, recorded_days)
        speakers = await self._sweep_speakers(tenant, days(settings.get("speakers")))
        return Swept(conversations, customers, recordings, await self._sweep_files(tenant), speakers)

    async def _erase_all(
        self, tenant: uuid.UUID, query: str, kept_days: int, erase: Callable[[uuid.UUID, uuid.UUID], Awaitable[bool]]
    ) -> int:
        erased, after = 0, _FIRST
        while expired := await self._expired(tenant, query, kept_days, after):
            for each in expired:
                try:
                    erased += await erase(tenant, each)
                except FailedPrecondition as error:  # held or called meanwhile
                    if not is_refusal(error):
                        raise
            after = expired[-1]
        return erased

    async def _erase_conversation(self, tenant: uuid.UUID, conversation: uuid.UUID) -> bool:
        await self._eraser.erase(Subject(tenant, "conversation", conversation), ACTOR, "retention")
        return True

    async def _erase_customer(self, tenant: uuid.UUID, customer: uuid.UUID) -> bool:
        return await self._eraser.erase_idle(Subject(tenant, "customer", customer), ACTOR, "retention")

    async def _sweep_recordings(self, tenant: uuid.UUID, kept_days: int) -> int:
        dropped, after = 0, _FIRST
        while expired := await self._expired(tenant, _EXPIRED_RECORDINGS, kept_days, after):
            for conversation in expired:
                async with self._database.tenant_tx(tenant) as connection:
                    await connection.execute(_LOCK, conversation)
                    gone = await connection.fetchval(_DROP_KEY, conversation)
                    if gone is not None:
                        await audit(connection, ACTOR, "recording.erase", Subject(tenant, "conversation", conversation), {})
                if gone is not None:
                    await self._files.remove(tenant, conversation)
                    dropped += 1
            after = expired[-1]
        return dropped

    async def _sweep_speakers(self, tenant: uuid.UUID, kept_days: int | None) -> int:
        dropped, after = 0, _FIRST
        while kept_days is not None and (expired := await self._expired(tenant, _EXPIRED_SPEAKERS, kept_days, after)):
            for speaker in expired:
                async with self._database.tenant_tx(tenant) as connection:
                    await connection.execute(_DROP_SPEAKER, speaker)
                    await connection.execute(_AUDIT_SPEAKER, ACTOR, str(speaker))
            dropped += len(expired)
            after = expired[-1]
        return dropped

    async def _sweep_files(self, tenant: uuid.UUID) -> int:
        """Keys come before files and go before them: what has none can be heard by nobody."""
        lying = sorted(await self._files.conversations(tenant))
        removed = 0
        for start in range(0, len(lying), _BATCH):
            batch = lying[start : start + _BATCH]
            async with self._database.tenant_tx(tenant) as connection:
                known = {row["conversation_id"] for row in await connection.fetch(_KEYS, batch)}
            for conversation in batch:
                if conversation not in known:
                    removed += await self._files.remove(tenant, conversation)
        return removed

    async def _drop_days(self) -> None:
        """One a transaction: whoever writes events waits for it."""
        dropped = True
        while dropped:
            async with self._database.app_tx() as connection:
                dropped = await connection.fetchval("SELECT malha_drop_event_day()")

    async def _expired(self, tenant: uuid.UUID, query: str, kept_days: int, after: uuid.UUID) -> list[uuid.UUID]:
        async with self._database.tenant_tx(tenant) as connection:
            return [row["id"] for row in await connection.fetch(query, kept_days, after, _BATCH)]


def days(settings: object) -> int | None:
    """``retention_days`` of settings; None: kept until it is erased. What is no such number keeps everything."""
    given = settings.get("retention_days") if isinstance(settings, Mapping) else None
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= _MOST_DAYS else None
