"""Texts to vectors: at the model that makes them, in the tenant's turn, within a time, judged by its breaker and kept in the accounts."""

import asyncio
import time
from collections.abc import Sequence

from malha.chat import metrics
from malha.chat.accounts import Books, Hold
from malha.chat.calls import Call, CallContext, Outcome
from malha.chat.deployments import Deployed, Models
from malha.chat.errors import BreakerOpen, ModelTimeout
from malha.chat.prompts import tokens_of
from malha.runtime.errors import MalhaError

Vectors = Sequence[Sequence[float]]


class Embedder:
    """Embeds for all tenants."""

    def __init__(self, models: Models, books: Books) -> None:
        self._models = models
        self._books = books

    @property
    def model(self) -> str:
        """The deployment in force; empty: none."""
        return self._models.file.embeddings or ""

    async def embed(self, texts: Sequence[str], context: CallContext, tenant: str, seconds: float) -> Vectors:
        """One vector for each text, within so many seconds.

        Raises FailedPrecondition where no model makes vectors, BudgetExhausted, ModelBusy, ModelTimeout, BreakerOpen, and what the engine raises.
        """
        deployed = self._models.embedder
        if not deployed.breaker.enter():
            metrics.CALLS.labels(deployed.name, Outcome.BREAKER_OPEN).inc()
            raise BreakerOpen(
                "the model for vectors failed too often and is left alone for a while", retry_seconds=deployed.breaker.retry_seconds
            )
        began, deadline = time.monotonic(), asyncio.get_running_loop().time() + seconds
        tokens = sum(map(tokens_of, texts))
        hold: Hold | None = None
        outcome, reason, retry_seconds = Outcome.CANCELLED, "", None
        try:
            async with deployed.places.place(tenant, deadline):
                hold = await self._books.reserve(context.tenant_id, deployed, tokens, 0)
                vectors = await _vectors(deployed, texts, deadline)
            outcome = Outcome.OK
            return vectors
        except MalhaError as error:
            outcome, reason, retry_seconds = Outcome.of(error), error.reason, error.retry_seconds
            raise
        finally:
            if hold is None:  # it was never asked: no place, or no budget
                deployed.breaker.left()
                metrics.CALLS.labels(deployed.name, outcome).inc()
            else:
                deployed.judge(outcome, retry_seconds)
                self._books.settle(context, _call(deployed, outcome, reason, tokens, time.monotonic() - began), hold)


async def _vectors(deployed: Deployed, texts: Sequence[str], deadline: float) -> Vectors:
    try:
        async with asyncio.timeout_at(deadline):
            return await deployed.engine.embed(texts)
    except TimeoutError:
        raise ModelTimeout("the model took too long to make vectors") from None


def _call(deployed: Deployed, outcome: Outcome, reason: str, tokens: int, seconds: float) -> Call:
    """What it came to: servers do not tell their count alike, so tokens are estimated. What failed costs nothing."""
    cost = deployed.settings.prices.cost(tokens, 0) if outcome is Outcome.OK else 0.0
    return Call(deployed.name, deployed.settings.model_name or deployed.name, outcome, reason, tokens, 0, seconds, None, cost)
