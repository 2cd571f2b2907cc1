"""What models cost a tenant: reserved before a call at the deployment that will bill, settled after it at the one that did."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from malha.chat import metrics
from malha.chat.calls import Call, CallContext
from malha.chat.costs import COSTS
from malha.chat.deployments import Deployed, Models
from malha.chat.errors import BudgetExhausted
from malha.chat.recorder import Record, Recorder
from malha.chat.store import spending
from malha.runtime.errors import FailedPrecondition
from malha.runtime.lookup import Lookup
from malha.store.database import Database
from malha.store.tenants import Tenants

LEAST_TOKENS: Final = 32
"""An answer that could not even have so many is not begun."""
FRESH_SECONDS: Final = 10.0
STALE_SECONDS: Final = 86_400.0
"""How long a tenant's budget is remembered: it does not go away with the database."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a tenant may spend; None: no limit. Setting ``budget`` of a tenant: ``{"daily": 10, "monthly": 200, "currency": "USD"}``."""

    daily: float | None
    monthly: float | None
    currency: str

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> "Budget | None":
        """The budget among a tenant's settings, None without one."""
        given = (settings or {}).get("budget")
        if not isinstance(given, dict):
            return None
        daily, monthly = (_limit(given.get(name)) for name in ("daily", "monthly"))
        return None if daily is None and monthly is None else cls(daily, monthly, str(given.get("currency", "")))


@dataclass(frozen=True, slots=True)
class Hold:
    """What was reserved for a call. ``tokens``: an answer longer than this is beyond the budget; None: any length is within."""

    day: date | None = None
    amount: float = 0.0
    tokens: int | None = None


class Books:
    """The accounts of all tenants. Without a database nothing is limited, and calls are counted in metrics alone."""

    def __init__(self, database: Database | None, models: Models) -> None:
        self._database = database
        self._models = models
        self._recorder = Recorder(database) if database is not None else None
        tenants = Tenants(database) if database is not None else None
        self._settings: Lookup[uuid.UUID, Mapping[str, Any]] | None = (
            Lookup(tenants.settings, lambda _: FRESH_SECONDS, lambda _: STALE_SECONDS) if tenants is not None else None
        )

    def start(self) -> None:
        """Begin to write."""
        if self._recorder is not None:
            self._recorder.start()

    async def close(self) -> None:
        """Write what is left."""
        if self._recorder is not None:
            await self._recorder.close()
        if self._settings is not None:
            await self._settings.close()

    def account(self, context: CallContext) -> "Account":
        """For the calls of one question."""
        return Account(self, context)

    async def reserve(self, tenant_id: uuid.UUID | None, deployed: Deployed, prompt_tokens: int, max_tokens: int) -> Hold:
        """Raises BudgetExhausted, FailedPrecondition (BUDGET_CURRENCY), Unavailable while the database is away."""
        prices = deployed.settings.prices
        if self._database is None or self._settings is None or tenant_id is None or not prices.cost(prompt_tokens, max_tokens):
            return Hold()
        budget = Budget.of(await self._settings.get(tenant_id))
        if budget is None:
            return Hold()
        if budget.currency and budget.currency != self._models.file.currency:
            raise FailedPrecondition("the tenant's budget is in another currency than models.toml", reason="BUDGET_CURRENCY")
        most, least = prices.cost(prompt_tokens, max_tokens), prices.cost(prompt_tokens, min(max_tokens, LEAST_TOKENS))
        async with self._database.tenant_tx(tenant_id) as connection:
            kept = await spending.reserve(connection, deployed.name, least, most, budget.daily, budget.monthly)
        if kept is None:
            raise BudgetExhausted("the tenant's budget for models is used up", retry_seconds=3600.0, quota="budget")
        left = kept.amount - prices.cost(prompt_tokens, 0)
        limited = kept.amount < most and prices.output > 0
        return Hold(kept.day, kept.amount, int(left * 1e6 / prices.output) if limited else None)

    def settle(self, context: CallContext, call: Call, hold: Hold) -> None:
        """Count a call, and have it written."""
        metrics.CALLS.labels(call.deployment, call.outcome).inc()
        if not call.cached:
            _count(call)
            COSTS.add(str(context.tenant_id or ""), call.cost)
        if self._recorder is not None and context.tenant_id is not None:
            self._recorder.put(Record(context.tenant_id, context, call, hold.day, hold.amount))


class Account:
    """The account of one question's calls."""

    def __init__(self, books: Books, context: CallContext) -> None:
        self._books = books
        self._context = context
        self.calls: list[Call] = []
        """That are over."""

    async def reserve(self, deployed: Deployed, prompt_tokens: int, max_tokens: int) -> Hold:
        """Before a call, at most so long. Raises as `Books.reserve`."""
        return await self._books.reserve(self._context.tenant_id, deployed, prompt_tokens, max_tokens)

    def settle(self, call: Call, hold: Hold) -> None:
        """After a call, however it ended."""
        self.calls.append(call)
        self._books.settle(self._context, call, hold)


def _limit(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _count(call: Call) -> None:
    metrics.SECONDS.labels(call.deployment).observe(call.seconds)
    if call.first_token_seconds is not None:
        metrics.FIRST_TOKEN.labels(call.deployment).observe(call.first_token_seconds)
    metrics.TOKENS.labels(call.deployment, "read").inc(call.prompt_tokens)
    metrics.TOKENS.labels(call.deployment, "written").inc(call.completion_tokens)
    metrics.COST.labels(call.deployment).inc(call.cost)
