"""Whom an erasure, a hold or a retention is about, and the checks that come before rows are deleted."""

import uuid
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from malha.runtime.errors import FailedPrecondition, NotFound
from malha.store.roles import Connection
from malha.store.text import storable

Kind: TypeAlias = Literal["customer", "conversation"]

_FIND: Final = {
    "customer": "SELECT id FROM customer WHERE external_id = $1 OR id = $2 ORDER BY external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1",
    "conversation": "SELECT id FROM conversation WHERE external_id = $1 OR id = $2 ORDER BY external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1",
}
_BURIED: Final = "SELECT EXISTS (SELECT FROM tombstone WHERE kind = $1 AND object_id = $2)"
_HELD: Final = """
    SELECT kind, count(*) AS held FROM legal_hold
    WHERE (kind = 'conversation' AND object_id = ANY($1)) OR (kind = 'customer' AND object_id = ANY($2)) GROUP BY kind ORDER BY kind
"""
_LIVE: Final = "SELECT count(DISTINCT conversation_id) FROM live_session WHERE conversation_id = ANY($1) AND state IN ('open', 'detached')"


@dataclass(frozen=True, slots=True)
class Subject:
    """A customer or a conversation of a tenant."""

    tenant_id: uuid.UUID
    kind: Kind
    id: uuid.UUID


async def find(connection: Connection, tenant_id: uuid.UUID, kind: Kind, name: str) -> Subject:
    """The subject a client calls so, or of that id; one that was erased too, by its id. Raises NotFound."""
    known_id = _as_uuid(name)
    found: uuid.UUID | None = await connection.fetchval(_FIND[kind], storable(name), known_id)
    if found is None and known_id is not None and await connection.fetchval(_BURIED, kind, known_id):
        found = known_id
    if found is None:
        raise NotFound(f"there is no such {kind}", reason=f"{kind.upper()}_NOT_FOUND")
    return Subject(tenant_id, kind, found)


async def refuse_held(connection: Connection, conversations: list[uuid.UUID], customers: list[uuid.UUID]) -> None:
    """Raise FailedPrecondition where a legal hold is set on any of them."""
    for row in await connection.fetch(_HELD, conversations, customers):
        what = row["kind"] if row["held"] == 1 else f"{row['held']} {row['kind']}s"
        raise FailedPrecondition(
            f"a legal hold is set on the {what}: malha retention holds shows it, malha retention release ends it", reason="LEGAL_HOLD"
        )


async def refuse_live(connection: Connection, conversations: list[uuid.UUID]) -> None:
    """Raise FailedPrecondition while a call of theirs is open, or waits for its client."""
    live = await connection.fetchval(_LIVE, conversations)
    if live:
        calls = "a call goes on" if live == 1 else f"{live} calls go on"
        raise FailedPrecondition(f"{calls}: end it first, or wait a minute after it was lost", reason="CONVERSATION_LIVE")


async def audit(connection: Connection, actor: str, action: str, subject: Subject, details: dict[str, Any]) -> None:
    """A line in the audit, as the tenant of the transaction."""
    await connection.execute(
        "INSERT INTO audit (tenant_id, actor, action, object_type, object_id, details) VALUES (malha_tenant(), $1, $2, $3, $4, $5)",
        actor,
        action,
        subject.kind,
        str(subject.id),
        details,
    )


def _as_uuid(name: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(name)
    except ValueError:
        return None
