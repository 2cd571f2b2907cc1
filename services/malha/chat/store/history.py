"""The messages of a conversation, as Chat reads and writes them. Every function runs in a transaction of the tenant."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from malha.chat.engine import Role, Turn
from malha.runtime.errors import NotFound
from malha.store.roles import Connection
from malha.store.text import storable

_FIND: Final = """
    SELECT id FROM conversation WHERE external_id = $1 OR id = $2 ORDER BY external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1 FOR KEY SHARE
"""
_NEWEST: Final = """
    SELECT sender_type, text FROM message WHERE conversation_id = $1 AND sender_type <> 'system' ORDER BY created_at DESC, id DESC LIMIT $2
"""
_COUNT: Final = """
    SELECT count(*) FROM (SELECT FROM message WHERE conversation_id = $1 AND sender_type <> 'system' LIMIT $2) AS kept
"""
_INSERT: Final = """
    INSERT INTO message (tenant_id, conversation_id, sender_type, sender_id, text, created_at)
    VALUES (malha_tenant(), $1, $2, $3, $4, clock_timestamp()) RETURNING id
"""
"""Question and answer of one exchange are two transactions; two of one transaction still have their own times."""
_LAST: Final = """
    SELECT id, sender_type, text, created_at FROM message WHERE conversation_id = $1 AND sender_type <> 'system'
    ORDER BY created_at DESC, id DESC LIMIT 1
"""
_NEWEST_JOB: Final = "SELECT id, status, reason, ended_at FROM job WHERE conversation_id = $1 AND kind = 'chat' ORDER BY id DESC LIMIT 1"
"""Of Jobs, read here: where the chat stands is one answer, of one moment."""
_ROLES: Final = {"customer": Role.USER, "agent": Role.ASSISTANT, "bot": Role.ASSISTANT}
_SENDERS: Final = {Role.USER: "customer", Role.ASSISTANT: "bot", Role.SYSTEM: "system"}


async def find(connection: Connection, name: str) -> uuid.UUID:
    """The id of a conversation a client calls so, or of that id. Raises NotFound."""
    found: uuid.UUID | None = await connection.fetchval(_FIND, storable(name), _as_uuid(name))
    if found is None:
        raise NotFound("there is no such conversation", reason="CONVERSATION_NOT_FOUND")
    return found


async def count(connection: Connection, conversation: uuid.UUID, most: int) -> int:
    """How many messages would be read as history."""
    counted: int = await connection.fetchval(_COUNT, conversation, most)
    return counted


async def newest(connection: Connection, conversation: uuid.UUID, most: int) -> list[Turn]:
    """The last messages, the oldest first."""
    rows = await connection.fetch(_NEWEST, conversation, most)
    return [Turn(_ROLES[row["sender_type"]], row["text"]) for row in reversed(rows)]


async def last(connection: Connection, conversation: uuid.UUID) -> Mapping[str, Any] | None:
    """The last message: id, sender_type, text, created_at."""
    row: Mapping[str, Any] | None = await connection.fetchrow(_LAST, conversation)
    return row


async def newest_job(connection: Connection, conversation: uuid.UUID) -> Mapping[str, Any] | None:
    """The newest job that answers in a conversation: id, status, reason, ended_at."""
    row: Mapping[str, Any] | None = await connection.fetchrow(_NEWEST_JOB, conversation)
    return row


async def append(connection: Connection, conversation: uuid.UUID, turn: Turn, sender: str) -> uuid.UUID:
    """Keep a message; its id."""
    made: uuid.UUID = await connection.fetchval(_INSERT, conversation, _SENDERS[turn.role], storable(sender), storable(turn.text))
    return made


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
