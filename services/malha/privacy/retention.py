"""Enforces how long tenants keep conversations and recordings: ``{"retention_days": 90, "recording": {"retention_days": 30}}`` in a tenant's settings.

What has run out is erased as on request, tombstones and all. A legal hold and an open call win.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from malha.privacy.erasure import Eraser, RecordedFiles, is_refusal
from malha.privacy.subjects import Subject, audit
from malha.runtime.errors import FailedPrecondition
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
_DROP_KEY: Final = "DELETE FROM recording_key WHERE conversation_id = $1 RETURNING conversation_id"
_KEYS: Final = "SELECT conversation_id FROM recording_key WHERE conversation_id = ANY($1)"
_FIRST: Final = uuid.UUID(int=0)
_MOST_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True)
class Swept:
    """What one run did for a tenant."""

    conversations: int
    recordings: int
    """Of conversations that stay: their keys and files went."""
    left_files: int
    """Files without a key, of an erasure that was interrupted or repeated by a restore, that were removed."""


class Retention:
    """Runs over all tenants. Killed anywhere, the next run goes on."""

    def __init__(self, database: Database, files: RecordedFiles) -> None:
        self._database = database
        self._files = files
        self._eraser = Eraser(database, files)

    async def run(self) -> dict[str, Swept]:
        """Erase what has run out; by tenant's name. Raises Unavailable without a database or the recordings' store."""
        tenants = Tenants(self._database)
        ids = await tenants.list()
        settings = await tenants.settings(ids.values())
        return {name: await self._sweep(tenant, settings.get(tenant, {})) for name, tenant in ids.items()}

    async def _sweep(self, tenant: uuid.UUID, settings: Mapping[str, Any]) -> Swept:
        await self._eraser.finish(tenant)
        kept_days = days(settings)
        recorded_days = days(settings.get("recording"))
        conversations = 0 if kept_days is None else await self._sweep_conversations(tenant, kept_days)
        recordings = 0 if recorded_days is None else await self._sweep_recordings(tenant, recorded_days)
        return Swept(conversations, recordings, await self._sweep_files(tenant))

    async def _sweep_conversations(self, tenant: uuid.UUID, kept_days: int) -> int:
        erased, after = 0, _FIRST
        while expired := await self._expired(tenant, _EXPIRED, kept_days, after):
            for conversation in expired:
                try:
                    await self._eraser.erase(Subject(tenant, "conversation", conversation), ACTOR, "retention")
                    erased += 1
                except FailedPrecondition as error:  # held or called meanwhile
                    if not is_refusal(error):
                        raise
            after = expired[-1]
        return erased

    async def _sweep_recordings(self, tenant: uuid.UUID, kept_days: int) -> int:
        dropped, after = 0, _FIRST
        while expired := await self._expired(tenant, _EXPIRED_RECORDINGS, kept_days, after):
            for conversation in expired:
                async with self._database.tenant_tx(tenant) as connection:
                    gone = await connection.fetchval(_DROP_KEY, conversation)
                    if gone is not None:
                        await audit(connection, ACTOR, "recording.erase", Subject(tenant, "conversation", conversation), {})
                await self._files.remove(tenant, conversation)
                dropped += gone is not None
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

    async def _expired(self, tenant: uuid.UUID, query: str, kept_days: int, after: uuid.UUID) -> list[uuid.UUID]:
        async with self._database.tenant_tx(tenant) as connection:
            return [row["id"] for row in await connection.fetch(query, kept_days, after, _BATCH)]


def days(settings: object) -> int | None:
    """``retention_days`` of settings; None: kept until it is erased. What is no such number keeps everything."""
    given = settings.get("retention_days") if isinstance(settings, Mapping) else None
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= _MOST_DAYS else None
