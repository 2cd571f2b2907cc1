"""Webhooks and what they are told, in the database. Every function runs in a transaction of the tenant."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from malha.runtime.errors import NotFound
from malha.store.roles import Connection

_COLUMNS: Final = "id, url, events, created_at, failing_since, disabled_at"
_INSERT: Final = f"""
    INSERT INTO webhook (tenant_id, url, events, secret) SELECT malha_tenant(), $1, $2, $3 WHERE (SELECT count(*) FROM webhook) < $4
    RETURNING {_COLUMNS}
"""  # noqa: S608 - constants
_LIST: Final = f"SELECT {_COLUMNS} FROM webhook ORDER BY created_at, id"  # noqa: S608 - constants
_DELETE: Final = "DELETE FROM webhook WHERE id = $1 RETURNING id"
_DELIVERY: Final = """
    SELECT delivery.id, webhook_id, event, data, attempts, delivery.created_at, url, secret,
        extract(epoch FROM now() - delivery.created_at)::float8 AS age_seconds
    FROM webhook_delivery AS delivery JOIN webhook ON webhook.id = webhook_id
    WHERE delivery.id = $1 AND status = 'pending' AND disabled_at IS NULL
"""
_DELIVERED: Final = "UPDATE webhook_delivery SET status = 'delivered', attempts = attempts + 1, reason = '', ended_at = now() WHERE id = $1"
_WELL: Final = "UPDATE webhook SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL"
_FAILED: Final = """
    UPDATE webhook_delivery SET attempts = attempts + 1, reason = $2, status = CASE WHEN $3 THEN 'failed' ELSE 'pending' END,
        ended_at = CASE WHEN $3 THEN now() END
    WHERE id = $1
"""
_FAILING: Final = """
    UPDATE webhook SET failing_since = coalesce(failing_since, now()),
        disabled_at = CASE WHEN $3 OR failing_since < now() - make_interval(secs => $2) THEN now() END
    WHERE id = $1 RETURNING disabled_at IS NOT NULL
"""
_GIVE_UP: Final = "UPDATE webhook_delivery SET status = 'failed', reason = 'WEBHOOK_DISABLED', ended_at = now() WHERE webhook_id = $1 AND status = 'pending'"
_GIVE_UP_ONE: Final = """
    UPDATE webhook_delivery AS delivery SET status = 'failed', reason = 'WEBHOOK_DISABLED', ended_at = now() FROM webhook
    WHERE delivery.id = $1 AND status = 'pending' AND webhook.id = webhook_id AND disabled_at IS NOT NULL
"""
"""What happened at the moment its webhook was disabled."""
_FORGET: Final = """
    DELETE FROM webhook_delivery WHERE id IN (
        SELECT id FROM webhook_delivery WHERE ended_at < now() - make_interval(days => $1) LIMIT 500)
"""


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A webhook, without its secret."""

    id: uuid.UUID
    url: str
    events: Sequence[str]
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """Something to tell a webhook."""

    id: uuid.UUID
    webhook_id: uuid.UUID
    event: str
    data: Mapping[str, Any]
    attempts: int
    created_at: datetime
    url: str
    secret: str
    age_seconds: float


async def create(connection: Connection, url: str, events: Sequence[str], secret: str, most: int) -> WebhookRow | None:
    """Make a webhook; None where there are as many as there may be."""
    row = await connection.fetchrow(_INSERT, url, list(events), secret, most)
    return None if row is None else WebhookRow(**row)


async def list_all(connection: Connection) -> list[WebhookRow]:
    """The oldest first."""
    return [WebhookRow(**row) for row in await connection.fetch(_LIST)]


async def delete(connection: Connection, webhook: uuid.UUID) -> None:
    """With all it was to be told. Raises NotFound."""
    if await connection.fetchval(_DELETE, webhook) is None:
        raise NotFound("there is no such webhook", reason="WEBHOOK_NOT_FOUND")


async def delivery(connection: Connection, item: uuid.UUID) -> Delivery | None:
    """What is still to be told; None: nothing, and it is over."""
    row = await connection.fetchrow(_DELIVERY, item)
    if row is None:
        await connection.execute(_GIVE_UP_ONE, item)
    return None if row is None else Delivery(**row)


async def delivered(connection: Connection, told: Delivery) -> None:
    await connection.execute(_DELIVERED, told.id)
    await connection.execute(_WELL, told.webhook_id)


async def failed(connection: Connection, told: Delivery, reason: str, *, for_good: bool, disable_seconds: float, gone: bool) -> bool:
    """An attempt failed. Whether the webhook is disabled by it: because it failed for so long, or is ``gone``."""
    await connection.execute(_FAILED, told.id, reason, for_good)
    disabled: bool = await connection.fetchval(_FAILING, told.webhook_id, disable_seconds, gone)
    if disabled:
        await connection.execute(_GIVE_UP, told.webhook_id)
    return disabled


async def forget(connection: Connection, days: int) -> int:
    """Delete what was told, or given up, so long ago, some hundreds at a time; how many."""
    return int((await connection.execute(_FORGET, days)).rpartition(" ")[2])
