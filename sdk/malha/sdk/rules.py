"""What a tenant has set for its insights: rules, glossary, keywords, policies, catalogue. Values that are None take the server's defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from malha.sdk.events import Evidence, Role

__all__ = ["Backtest", "BacktestMatch", "FewShot", "InsightConfiguration", "InsightPolicy", "InsightType", "Offer", "Rule"]

InsightType = Literal["partial_summary", "next_step", "risk_alert", "upsell"]
"""What an insight is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of the rule engine. Words are compared by stem, without case and accents."""

    id: str
    """As the tenant calls it: a-z, 0-9, ``-`` and ``_``. The server's own begin with ``malha-``."""
    type: InsightType
    message: str
    """What the operator is told; ``{quote}`` stands for the words that matched."""
    all_of: tuple[str, ...] = ()
    """Every one must be said."""
    any_of: tuple[str, ...] = ()
    """One must be said."""
    none_of: tuple[str, ...] = ()
    """None may be said."""
    negated_too: bool = False
    """Whether a negated phrase ("não quero cancelar") matches as well."""
    roles: tuple[Role, ...] = ()
    """Whose words count; empty: everybody's."""
    languages: tuple[str, ...] = ()
    """BCP 47 primary tags; empty: any."""
    window_seconds: float | None = None
    """How far back words count; default the segment alone."""
    cooldown_seconds: float | None = None
    """How long it stays silent after it matched."""
    confidence: float | None = None
    """0 to 1."""
    name: str = ""
    disabled: bool = False
    version: int = 0
    """Given by the server. Where it is set, a rule is saved only if it is still the stored one."""


@dataclass(frozen=True, slots=True)
class BacktestMatch:
    """Where a rule matched."""

    conversation_id: str
    time_seconds: float
    """From the start of the call."""
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a rule would have done."""

    conversations: int
    """It was tried on."""
    matches: int
    alerts_per_hour: float
    precision: float | None
    """Against feedback; None where nobody gave any."""
    recall: float | None
    examples: tuple[BacktestMatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Something the tenant sells or may promise: what is not in its catalogue is never offered."""

    id: str
    name: str
    description: str = ""
    price: str = ""
    """As the operator says it; empty: no price may be named."""
    keywords: tuple[str, ...] = ()
    """Words the customer may say that make it worth offering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightPolicy:
    """When insights are thought of. See ``Policy`` in malha/api/insight/v1/rules.proto for the defaults."""

    name: str
    kind: Literal["call_center", "counter"]
    window_seconds: float | None = None
    min_tokens: int | None = None
    min_interval_seconds: float | None = None
    rate_seconds: float | None = None
    min_words: int | None = None
    max_wait_seconds: float | None = None
    silence_seconds: float | None = None
    discard_silence_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShot:
    """An example of a good insight."""

    type: InsightType
    language: str
    transcript: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightConfiguration:
    """All of a tenant's settings for insights."""

    glossary: Mapping[str, str] = field(default_factory=dict)
    """What recognisers write -> what it means."""
    names: tuple[str, ...] = ()
    """Names that are scrubbed like identity numbers."""
    keywords: tuple[str, ...] = ()
    policies: tuple[InsightPolicy, ...] = ()
    catalogue: tuple[Offer, ...] = ()
    few_shots: tuple[FewShot, ...] = ()
    thresholds: Mapping[InsightType, float] = field(default_factory=dict)
    """The least confidence at which insights of a type are shown."""
    knowledge_base: str = ""
    keep_personal_data: bool = False
    revision: int = 0
    """Given by the server. Where it is set, the configuration is replaced only if it is still the stored one."""
