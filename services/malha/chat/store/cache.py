"""Answers that may be given again: ``ai_cache``. Every function runs in a transaction of the tenant."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from malha.store.roles import Connection

_GET: Final = "SELECT body FROM ai_cache WHERE key = $1 AND expires_at > now()"
_PUT: Final = """
    INSERT INTO ai_cache (tenant_id, key, conversation_id, body, expires_at)
    VALUES (malha_tenant(), $1,
        (SELECT id FROM conversation WHERE id = COALESCE($2, (SELECT conversation_id FROM live_session WHERE session_id = $3)) FOR KEY SHARE),
        $4, now() + $5)
    ON CONFLICT (tenant_id, key) DO UPDATE SET conversation_id = excluded.conversation_id, body = excluded.body, expires_at = excluded.expires_at
"""
"""It goes with its conversation, that of its call where none is named."""
_SWEEP: Final = """
    DELETE FROM ai_cache WHERE (tenant_id, key) IN (SELECT tenant_id, key FROM ai_cache WHERE expires_at < now() ORDER BY expires_at LIMIT 100)
"""


async def get(connection: Connection, key: bytes) -> Mapping[str, Any] | None:
    """What is kept under a key and has not expired."""
    found: Mapping[str, Any] | None = await connection.fetchval(_GET, key)
    return found


async def put(
    connection: Connection, key: bytes, body: Mapping[str, Any], ttl: timedelta, conversation: uuid.UUID | None, session: uuid.UUID | None
) -> None:
    """Keep an answer, and clear some that have expired."""
    await connection.execute(_PUT, key, conversation, session, dict(body), ttl)
    await connection.execute(_SWEEP)
