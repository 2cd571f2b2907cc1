"""What one analysis works with: the store, the model, the tenant's limits."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from malha.insight.asking import Answer, Ask
from malha.insight.domain import InsightType
from malha.insight.interaction_store import Place
from malha.insight.interactions import Interactions
from malha.insight.store import InsightStore

AskModel = Callable[[Ask], Coroutine[Any, Any, Answer]]
"""Asks the model. Raises MalhaError."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Made for each connection."""

    store: InsightStore | None
    interactions: Interactions | None
    place: Place | None
    """Set where there is a store."""
    ask: AskModel | None
    """None: there is no model, and the rule engine's insights are all there is."""
    tenant: str
    """Its name, for figures."""
    slots: asyncio.Semaphore
    """Questions of this tenant to the model at once."""
    ladder_seconds: float
    thresholds: Mapping[InsightType, float]
