"""Interactions in PostgreSQL: one row for each processed utterance, filled in as it becomes known what came of it."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from malha.store.database import Database
from malha.store.text import storable

_PROCESSED: Final = "SELECT coalesce(max(seq), 0) FROM interaction WHERE conversation_id = $1 AND session_id = $2 AND kind = 'utterance'"
_FIND: Final = "SELECT id, seq, transcript, speaker FROM interaction WHERE conversation_id = $1 AND session_id = $2 AND id = ANY($3)"
_WRITE: Final = """
    INSERT INTO interaction (tenant_id, id, conversation_id, session_id, kind, seq, actor, counter, transcript, speaker, audio_received_at,
        transcript_sent_at, recommendation, raw_response, ai_requested_at, ai_responded_at, sent_at)
    VALUES (malha_tenant(), $1, $2, $3, 'utterance', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    ON CONFLICT (tenant_id, id) DO UPDATE SET
        recommendation = coalesce(excluded.recommendation, interaction.recommendation),
        raw_response = coalesce(excluded.raw_response, interaction.raw_response),
        ai_requested_at = coalesce(interaction.ai_requested_at, excluded.ai_requested_at),
        ai_responded_at = coalesce(excluded.ai_responded_at, interaction.ai_responded_at),
        sent_at = coalesce(excluded.sent_at, interaction.sent_at)
"""


@dataclass(slots=True)
class Interaction:
    """One processed utterance, and what came of it. What is None is not known yet, or was written before."""

    id: uuid.UUID
    seq: int
    transcript: str
    speaker: Mapping[str, Any]
    audio_received_at: datetime | None = None
    transcript_sent_at: datetime | None = None
    recommendation: str | None = None
    raw_response: str | None = None
    ai_requested_at: datetime | None = None
    ai_responded_at: datetime | None = None
    sent_at: datetime | None = None

    def fill_in(self, earlier: "Interaction") -> None:
        """Take over what an earlier owner of the call knew of it, and is not known here: as the database does with what is written."""
        self.recommendation = self.recommendation or earlier.recommendation
        self.raw_response = self.raw_response or earlier.raw_response
        self.ai_requested_at = earlier.ai_requested_at or self.ai_requested_at
        self.ai_responded_at = self.ai_responded_at or earlier.ai_responded_at
        self.sent_at = self.sent_at or earlier.sent_at
        self.audio_received_at = earlier.audio_received_at or self.audio_received_at
        self.transcript_sent_at = earlier.transcript_sent_at or self.transcript_sent_at


@dataclass(frozen=True, slots=True)
class Place:
    """Whose interaction it is."""

    tenant_id: uuid.UUID
    conversation_id: uuid.UUID
    session_id: uuid.UUID
    author: str
    """The token's id."""
    counter: str | None


def interaction_id(session_id: uuid.UUID, seq: int) -> uuid.UUID:
    """The same for whoever comes to own the call."""
    return uuid.uuid5(session_id, str(seq))


class InteractionStore:
    """One tenant's interactions."""

    def __init__(self, database: Database, tenant_id: uuid.UUID) -> None:
        self._database = database
        self._tenant_id = tenant_id

    async def processed(self, place: Place) -> int:
        """The last utterance of a session that was decided on; those after it were stored and may not have been."""
        async with self._database.tenant_tx(self._tenant_id) as connection:
            seq: int = await connection.fetchval(_PROCESSED, place.conversation_id, place.session_id)
        return seq

    async def find(self, place: Place, ids: Collection[uuid.UUID]) -> list[Interaction]:
        """Those of a session that are written: what they are of. What came of them is left as it is written."""
        if not ids:
            return []
        async with self._database.tenant_tx(self._tenant_id) as connection:
            rows = await connection.fetch(_FIND, place.conversation_id, place.session_id, list(ids))
        return [Interaction(row["id"], row["seq"], row["transcript"], row["speaker"]) for row in rows]

    async def write(self, rows: Sequence[tuple[Place, Interaction]]) -> None:
        """Keep utterances; written again, what is known now fills in what was left open."""
        async with self._database.tenant_tx(self._tenant_id) as connection:
            await connection.executemany(_WRITE, [_values(place, interaction) for place, interaction in rows])


def _values(place: Place, interaction: Interaction) -> tuple[Any, ...]:
    return (
        interaction.id,
        place.conversation_id,
        place.session_id,
        interaction.seq,
        place.author,
        place.counter,
        storable(interaction.transcript),
        dict(interaction.speaker),
        interaction.audio_received_at,
        interaction.transcript_sent_at,
        None if interaction.recommendation is None else storable(interaction.recommendation),
        None if interaction.raw_response is None else storable(interaction.raw_response),
        interaction.ai_requested_at,
        interaction.ai_responded_at,
        interaction.sent_at,
    )
