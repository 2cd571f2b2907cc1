"""The state of conversations: JSON values under keys, some for a time only. What has expired is as good as gone before it is deleted."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from malha.runtime.errors import Aborted, NotFound, ResourceExhausted
from malha.store.roles import Connection

INFO: Final = "key, updated_at, expires_at"
ALIVE: Final = "(expires_at IS NULL OR expires_at > now())"
REVISION: Final = "(extract(epoch FROM state.updated_at) * 1000000)::bigint"
"""Microseconds; a save never takes one that was."""

COUNT: Final = f"SELECT count(*) FROM state WHERE conversation_id = $1 AND key <> $2 AND {ALIVE}"  # noqa: S608 - constants
SAVE: Final = f"""
    INSERT INTO state (tenant_id, conversation_id, key, value, expires_at, updated_at)
    VALUES (malha_tenant(), $1, $2, $3, now() + $4::interval, clock_timestamp())
    ON CONFLICT (tenant_id, conversation_id, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at,
        updated_at = greatest(excluded.updated_at, state.updated_at + interval '1 microsecond')
    WHERE NOT $5 OR state.expires_at <= now()
    RETURNING {INFO}
"""  # noqa: S608 - constants
REPLACE: Final = f"""
    UPDATE state SET value = $3, expires_at = now() + $4::interval, updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
    WHERE conversation_id = $1 AND key = $2 AND {REVISION} = $5 AND {ALIVE}
    RETURNING {INFO}
"""  # noqa: S608 - constants
GET: Final = f"SELECT {INFO}, value FROM state WHERE conversation_id = $1 AND key = $2 AND {ALIVE}"  # noqa: S608 - constants
DELETE: Final = f"DELETE FROM state WHERE conversation_id = $1 AND key = $2 AND {ALIVE} RETURNING key"  # noqa: S608 - constants
LIST: Final = f'SELECT {INFO} FROM state WHERE conversation_id = $1 AND {ALIVE} ORDER BY key COLLATE "C"'  # noqa: S608 - constants
SWEEP: Final = """
    WITH expired AS (SELECT conversation_id, key FROM state WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED)
    DELETE FROM state USING expired WHERE state.conversation_id = expired.conversation_id AND state.key = expired.key
"""


@dataclass(frozen=True, slots=True)
class StateInfo:
    """A piece of state without its value."""

    key: str
    updated_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class State:
    """A piece of state."""

    info: StateInfo
    value: Mapping[str, Any]


async def save(
    connection: Connection,
    conversation_id: uuid.UUID,
    key: str,
    value: Mapping[str, Any],
    *,
    ttl: timedelta | None,
    if_revision: int | None,
    most_keys: int,
) -> StateInfo:
    """Save a value. Raises Aborted where the revision is another one, ResourceExhausted beyond ``most_keys``."""
    if if_revision:
        row = await connection.fetchrow(REPLACE, conversation_id, key, value, ttl, if_revision)
    else:
        if await connection.fetchval(COUNT, conversation_id, key) >= most_keys:
            raise ResourceExhausted(f"a conversation's state has at most {most_keys} keys", reason="STATE_FULL", quota="state_keys")
        row = await connection.fetchrow(SAVE, conversation_id, key, value, ttl, if_revision == 0)
    if row is None:
        raise Aborted("somebody else changed this state: get it, and decide again", reason="STATE_CHANGED")
    return _info(row)


async def get(connection: Connection, conversation_id: uuid.UUID, key: str) -> State:
    """A piece of state. Raises NotFound."""
    row = await connection.fetchrow(GET, conversation_id, key)
    if row is None:
        raise _absent()
    return State(_info(row), row["value"])


async def delete(connection: Connection, conversation_id: uuid.UUID, key: str) -> None:
    """Delete a piece of state. Raises NotFound."""
    if await connection.fetchval(DELETE, conversation_id, key) is None:
        raise _absent()


async def list_all(connection: Connection, conversation_id: uuid.UUID) -> list[StateInfo]:
    """A conversation's state, by key."""
    return [_info(row) for row in await connection.fetch(LIST, conversation_id)]


def _info(row: asyncpg.Record) -> StateInfo:
    return StateInfo(row["key"], row["updated_at"], row["expires_at"])


def _absent() -> NotFound:
    return NotFound("there is no such state", reason="STATE_NOT_FOUND")
