"""Enrolled speakers: their voice prints, by tenant. What is read of others than their own tenant's, row-level security keeps away."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import numpy as np

from malha.diarize.engine import Embedding
from malha.runtime.errors import FailedPrecondition, NotFound, ResourceExhausted
from malha.store.database import Database
from malha.store.roles import Connection
from malha.store.text import storable

MOST_SPEAKERS: Final = 1_000
"""Of a tenant: a voice is compared with every one."""

_COLUMNS: Final = "id, external_id, customer_id, consent, model, speech_seconds, created_at"
_SAVE: Final = f"""
    INSERT INTO speaker (tenant_id, external_id, customer_id, consent, model, embedding, speech_seconds)
    VALUES (malha_tenant(), $1, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant_id, external_id) DO UPDATE SET customer_id = EXCLUDED.customer_id, consent = EXCLUDED.consent, model = EXCLUDED.model,
        embedding = EXCLUDED.embedding, speech_seconds = EXCLUDED.speech_seconds, created_at = now()
    RETURNING {_COLUMNS}
"""  # noqa: S608 - constants
_LIST: Final = f"SELECT {_COLUMNS} FROM speaker WHERE external_id > $1 ORDER BY external_id LIMIT $2"  # noqa: S608 - constants
_PRINTS: Final = "SELECT external_id, embedding FROM speaker WHERE model = $1 AND external_id IS NOT NULL ORDER BY external_id LIMIT $2"
_DELETE: Final = "DELETE FROM speaker WHERE external_id = $1 RETURNING id"
_BURY: Final = "INSERT INTO tombstone (tenant_id, kind, object_id) VALUES (malha_tenant(), 'speaker', $1) ON CONFLICT DO NOTHING"
_OTHERS: Final = "SELECT count(*) FROM speaker WHERE external_id IS DISTINCT FROM $1"
_CUSTOMER: Final = (
    "SELECT id FROM customer WHERE external_id = $1 OR id::text = $1 ORDER BY external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1"
)
_AUDIT: Final = """
    INSERT INTO audit (tenant_id, actor, action, object_type, object_id, details) VALUES (malha_tenant(), $1, $2, 'speaker', $3, $4)
"""


@dataclass(frozen=True, slots=True)
class NewSpeaker:
    """A voice to keep."""

    speaker_id: str
    customer: str
    """External id or id; empty: nobody's."""
    consent_id: str
    model: str
    embedding: Embedding
    speech_seconds: float


@dataclass(frozen=True, slots=True)
class Speaker:
    """An enrolled speaker."""

    speaker_id: str
    customer_id: str
    consent_id: str
    model: str
    speech_seconds: float
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The voice prints of one model that a tenant has: ``prints`` has the shape (speakers, dimension)."""

    speaker_ids: tuple[str, ...]
    prints: np.ndarray[Any, np.dtype[np.float32]]


class SpeakerStore:
    """The speakers of a database. Every method raises Unavailable without it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, tenant: uuid.UUID, speaker: NewSpeaker, actor: str) -> Speaker:
        """Keep a voice, in the place of what was enrolled by that id. Raises NotFound for the customer, ResourceExhausted for the number."""
        async with self._database.tenant_tx(tenant) as connection:
            customer = await _customer(connection, speaker.customer)
            if await connection.fetchval(_OTHERS, speaker.speaker_id) >= MOST_SPEAKERS:
                raise ResourceExhausted(
                    f"a tenant may have {MOST_SPEAKERS:,} speakers enrolled: delete some", reason="TOO_MANY_SPEAKERS", quota="speakers"
                )
            consent = {"id": speaker.consent_id, "recorded_by": actor}
            embedding = speaker.embedding.astype(float).tolist()
            row = await connection.fetchrow(_SAVE, speaker.speaker_id, customer, consent, speaker.model, embedding, speaker.speech_seconds)
            await connection.execute(_AUDIT, actor, "speaker.enroll", str(row["id"]), {"consent_id": speaker.consent_id})
        return _speaker(row)

    async def list(self, tenant: uuid.UUID, after: str, most: int) -> list[Speaker]:
        """Speakers by id, from the one after ``after``."""
        async with self._database.tenant_tx(tenant) as connection:
            return [_speaker(row) for row in await connection.fetch(_LIST, after, most)]

    async def enrolled(self, tenant: uuid.UUID, model: str) -> Enrolled:
        """The voice prints a model made."""
        async with self._database.tenant_tx(tenant) as connection:
            rows = await connection.fetch(_PRINTS, model, MOST_SPEAKERS)
        prints = np.array([row["embedding"] for row in rows], np.float32)
        return Enrolled(tuple(row["external_id"] for row in rows), prints)

    async def delete(self, tenant: uuid.UUID, speaker_id: str, actor: str) -> None:
        """Forget a speaker, for good: a restore forgets it too. Raises NotFound."""
        async with self._database.tenant_tx(tenant) as connection:
            row = await connection.fetchrow(_DELETE, storable(speaker_id))
            if row is None:
                raise NotFound("there is no such speaker", reason="SPEAKER_NOT_FOUND")
            await connection.execute(_BURY, row["id"])
            await connection.execute(_AUDIT, actor, "speaker.delete", str(row["id"]), {})


async def _customer(connection: Connection, name: str) -> uuid.UUID | None:
    if not name:
        return None
    found: uuid.UUID | None = await connection.fetchval(_CUSTOMER, storable(name))
    if found is None:
        raise NotFound("there is no such customer", reason="CUSTOMER_NOT_FOUND", violations={"customer_id": "unknown"})
    return found


def _speaker(row: asyncpg.Record) -> Speaker:
    customer = row["customer_id"]
    return Speaker(
        row["external_id"],
        str(customer) if customer else "",
        row["consent"].get("id", ""),
        row["model"],
        row["speech_seconds"],
        row["created_at"],
    )


def not_kept() -> FailedPrecondition:
    """What to say where there is no database."""
    return FailedPrecondition("this server keeps no speakers: set MALHA_DATABASE_URL, or run `malha up`", reason="STORE_NOT_CONFIGURED")
