"""The nouns of Insight: what was said, what is thought of it, and what it rests on. Times are media seconds from the start of the call."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Role = Literal["agent", "customer", "unknown"]


class InsightType(StrEnum):
    """What an insight is about."""

    PARTIAL_SUMMARY = "partial_summary"
    NEXT_STEP = "next_step"
    RISK_ALERT = "risk_alert"
    UPSELL = "upsell"


class TriggerKind(StrEnum):
    """What made the server think of an insight."""

    TOPIC = "topic"
    KEYWORD = "keyword"
    RULE = "rule"
    WORDS = "words"
    SILENCE = "silence"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Utterance:
    """A final or amended segment, scrubbed."""

    segment_id: str
    seq: int
    """Of the durable event that told it; an amendment has its own."""
    role: Role
    text: str
    """Empty: the segment is retracted."""
    start: float
    end: float
    language: str = ""
    """BCP 47 tag; empty: the session's."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Words an insight rests on, as they are in the segment."""

    segment_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An insight the rule engine made."""

    type: InsightType
    message: str
    confidence: float
    evidence: tuple[Evidence, ...]
    trigger: TriggerKind
    rule: str = ""
    """``id@version``; empty where no rule is behind it."""
    seq: int = 0
    """Of the utterance that led to it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Why something did or did not fire."""

    fired: bool
    reason: str
    """UPPER_SNAKE_CASE."""
    type: InsightType | None
    seq: int


@dataclass(frozen=True, slots=True)
class Request:
    """What the model should be asked; ``fallback`` goes out degraded where it does not answer in time."""

    trigger: TriggerKind
    seq: int
    types: tuple[InsightType, ...]
    window: tuple[Utterance, ...]
    fallback: tuple[Draft, ...]
    time: float = 0.0
    """Media seconds at which it fired."""
    topic: str = ""
    """What the talk is about, as the classifier calls it; empty where it cannot tell."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Something the tenant sells or may promise."""

    id: str
    name: str
    description: str = ""
    price: str = ""
    """As the operator says it; empty: no price may be named."""
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FewShot:
    """An example of a good answer."""

    type: InsightType
    language: str
    """BCP 47 primary tag."""
    transcript: str
    message: str
