"""What calls of models cost: ``ai_spend``, and ``ai_call`` with a row for each. Every function runs in a transaction of the tenant.

A reservation whose process died before it was settled counts against its day, and against the month until the day after it.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from malha.chat.calls import Call, CallContext
from malha.store.roles import Connection

_LOCK: Final = "SELECT id FROM tenant WHERE id = malha_tenant() FOR NO KEY UPDATE"
"""Reservations of a tenant come one after the other: each sees those before it."""
_SPENT: Final = """
    SELECT (now() AT TIME ZONE 'UTC')::date AS day,
        COALESCE(sum(spent + reserved) FILTER (WHERE day = (now() AT TIME ZONE 'UTC')::date), 0) AS today,
        COALESCE(sum(spent) FILTER (WHERE day >= date_trunc('month', now() AT TIME ZONE 'UTC')::date), 0)
            + COALESCE(sum(reserved) FILTER (WHERE day >= (now() AT TIME ZONE 'UTC')::date - 1), 0) AS month
    FROM ai_spend WHERE day >= date_trunc('month', now() AT TIME ZONE 'UTC')::date - 1
"""
_RESERVE: Final = """
    INSERT INTO ai_spend (tenant_id, day, deployment, reserved) VALUES (malha_tenant(), $1, $2, $3)
    ON CONFLICT (tenant_id, day, deployment) DO UPDATE SET reserved = ai_spend.reserved + excluded.reserved
"""
_SETTLE: Final = """
    INSERT INTO ai_spend (tenant_id, day, deployment, spent, calls)
    VALUES (malha_tenant(), COALESCE($1, (now() AT TIME ZONE 'UTC')::date), $2, $3, 1)
    ON CONFLICT (tenant_id, day, deployment) DO UPDATE SET spent = ai_spend.spent + excluded.spent, calls = ai_spend.calls + 1,
        reserved = greatest(ai_spend.reserved - $4, 0)
"""
_RECORD: Final = """
    INSERT INTO ai_call (tenant_id, conversation_id, session_id, purpose, model, prompt_version, status, reason, input_tokens, output_tokens,
        latency_seconds, alias, deployment, degraded, cached, first_token_seconds, cost)
    VALUES (malha_tenant(),
        (SELECT id FROM conversation WHERE id = COALESCE($1, (SELECT conversation_id FROM live_session WHERE session_id = $2)) FOR KEY SHARE),
        $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
"""
"""A conversation that was erased meanwhile is not named; one that is there cannot go before this is written."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """An amount that was set aside on a day."""

    day: date
    amount: float


async def reserve(
    connection: Connection, deployment: str, least: float, most: float, daily: float | None, monthly: float | None
) -> Reserved | None:
    """Set ``most`` aside, or what is left of the tenant's limits; None where that is less than ``least``."""
    await connection.fetchval(_LOCK)
    row = await connection.fetchrow(_SPENT)
    limits = [limit - float(row[name]) for limit, name in ((daily, "today"), (monthly, "month")) if limit is not None]
    amount = min([most, *limits])
    if amount <= 0 or amount < least:
        return None
    await connection.execute(_RESERVE, row["day"], deployment, _money(amount))
    return Reserved(row["day"], amount)


async def record(connection: Connection, calls: Sequence[tuple[CallContext, Call, date | None, float]]) -> None:
    """Write calls, and settle what was set aside for them at the deployment that billed."""
    await connection.executemany(_RECORD, [_row(context, call) for context, call, _, _ in calls])
    await connection.executemany(
        _SETTLE, [(day, call.deployment, _money(call.cost), _money(reserved)) for _, call, day, reserved in calls if not call.cached]
    )


def _row(context: CallContext, call: Call) -> tuple[uuid.UUID | str | int | float | bool | Decimal | None, ...]:
    return (
        context.conversation_id,
        context.session_id,
        context.purpose,
        call.model,
        context.prompt_version,
        call.outcome.value,
        call.reason,
        call.prompt_tokens,
        call.completion_tokens,
        call.seconds,
        context.alias,
        call.deployment,
        call.degraded,
        call.cached,
        call.first_token_seconds,
        _money(call.cost),
    )


def _money(amount: float) -> Decimal:
    """As the column has it."""
    return Decimal(amount).quantize(Decimal("0.000001"))
