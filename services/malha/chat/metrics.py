"""Figures of Chat. Deployments and aliases are named in the operator's file: bounded, and never user content."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

CALLS: Final = Counter("ai_calls", "Calls of models, by deployment and how they ended.", ("model", "outcome"))
SECONDS: Final = Histogram(
    "malha_ai_call_seconds", "Length of calls of models.", ("model",), buckets=(0.05, 0.1, 0.25, 0.5, 1, 1.6, 2.5, 5, 10, 30, 60, 300)
)
FIRST_TOKEN: Final = Histogram(
    "malha_ai_first_token_seconds",
    "From asking a model to its first token.",
    ("model",),
    buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
TOKENS: Final = Counter("malha_ai_tokens", "Tokens read and written by models.", ("model", "direction"))
COST: Final = Counter("malha_ai_cost", "What calls of models cost, in the currency of models.toml.", ("model",))
BREAKER: Final = Gauge("malha_ai_breaker_state", "0: closed, 1: half open, 2: open.", ("model",))
CACHE: Final = Counter("malha_ai_cache", "Questions that might have been answered from the cache.", ("result",))
UNRECORDED: Final = Counter("malha_ai_calls_unrecorded", "Calls of models that could not be written to the database.")
RELOADS: Final = Counter("malha_ai_models_reloads", "Times models.toml was read again.", ("result",))
