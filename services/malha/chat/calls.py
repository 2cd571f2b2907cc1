"""What is known of one call of a model."""

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from malha.chat.errors import (
    AnswerDiffers,
    BreakerOpen,
    BudgetExhausted,
    ModelAnswerCut,
    ModelAnswerInvalid,
    ModelBusy,
    ModelRateLimited,
    ModelTimeout,
    PromptTooLong,
)
from malha.runtime.errors import FailedPrecondition, MalhaError


class Outcome(StrEnum):
    """How a call ended: a label of metrics, and ``status`` of its row."""

    OK = "ok"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    MISCONFIGURED = "misconfigured"
    INVALID = "invalid"
    CUT = "cut"
    BUSY = "busy"
    BUDGET = "budget"
    TOO_LONG = "too_long"
    BREAKER_OPEN = "breaker_open"
    CACHED = "cached"

    @classmethod
    def of(cls, error: MalhaError) -> "Outcome":
        """The outcome an error stands for."""
        if error.metadata.get("status") in _KEY_REFUSED:
            return cls.MISCONFIGURED
        return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), cls.UNAVAILABLE)


_KEY_REFUSED: Final = frozenset({"401", "403", "404"})
"""Refused because of the deployment, not of the request."""
_OUTCOMES: Final[tuple[tuple[type[MalhaError], Outcome], ...]] = (
    (AnswerDiffers, Outcome.CANCELLED),
    (ModelTimeout, Outcome.TIMEOUT),
    (ModelRateLimited, Outcome.RATE_LIMITED),
    (ModelAnswerInvalid, Outcome.INVALID),
    (ModelAnswerCut, Outcome.CUT),
    (ModelBusy, Outcome.BUSY),
    (BudgetExhausted, Outcome.BUDGET),
    (PromptTooLong, Outcome.TOO_LONG),
    (BreakerOpen, Outcome.BREAKER_OPEN),
    (FailedPrecondition, Outcome.REFUSED),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call. Times in seconds, ``cost`` in the currency of models.toml."""

    deployment: str
    model: str
    outcome: Outcome
    reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    first_token_seconds: float | None
    cost: float
    degraded: bool = False
    """Whether it stood in for another deployment."""
    cached: bool = False


@dataclass(frozen=True, slots=True)
class CallContext:
    """Whose call it is, and what for. Without a tenant (no database) it is counted and not kept."""

    tenant_id: uuid.UUID | None
    purpose: str
    alias: str
    prompt_version: str = ""
    conversation_id: uuid.UUID | None = None
    session_id: uuid.UUID | None = None
