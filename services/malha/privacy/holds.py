"""Legal holds: what must be kept, whatever a retention or an erasure says."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from malha.privacy.subjects import Subject, audit
from malha.runtime.errors import NotFound
from malha.store.database import Database
from malha.store.text import storable

_LOCK: Final = {
    "customer": "SELECT id FROM customer WHERE id = $1 FOR UPDATE",
    "conversation": "SELECT id FROM conversation WHERE id = $1 FOR UPDATE",
}
"""An erasure that is under way ends first; one that comes later finds the hold."""
_PLACE: Final = """
    INSERT INTO legal_hold (tenant_id, kind, object_id, reason, actor) VALUES (malha_tenant(), $1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
_RELEASE: Final = "DELETE FROM legal_hold WHERE kind = $1 AND object_id = $2 RETURNING object_id"
_LIST: Final = "SELECT kind, object_id, reason, actor, placed_at FROM legal_hold ORDER BY placed_at, object_id"


@dataclass(frozen=True, slots=True)
class Hold:
    """A row."""

    kind: str
    object_id: uuid.UUID
    reason: str
    actor: str
    placed_at: datetime


class Holds:
    """The holds of tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, subject: Subject, actor: str, reason: str = "") -> None:
        """Hold a customer, with all conversations there are and will be, or a conversation. Held already: stays so. Raises NotFound."""
        async with self._database.tenant_tx(subject.tenant_id) as connection:
            if await connection.fetchval(_LOCK[subject.kind], subject.id) is None:
                raise NotFound(f"there is no such {subject.kind}", reason=f"{subject.kind.upper()}_NOT_FOUND")
            await connection.execute(_PLACE, subject.kind, subject.id, storable(reason), actor)
            await audit(connection, actor, "legal_hold.place", subject, {})

    async def release(self, subject: Subject, actor: str) -> None:
        """End a hold. Raises NotFound where there is none."""
        async with self._database.tenant_tx(subject.tenant_id) as connection:
            if await connection.fetchval(_RELEASE, subject.kind, subject.id) is None:
                raise NotFound(f"no legal hold is set on this {subject.kind}", reason="HOLD_NOT_FOUND")
            await audit(connection, actor, "legal_hold.release", subject, {})

    async def list(self, tenant_id: uuid.UUID) -> list[Hold]:
        """A tenant's, the oldest first."""
        async with self._database.tenant_tx(tenant_id) as connection:
            return [Hold(*row.values()) for row in await connection.fetch(_LIST)]
