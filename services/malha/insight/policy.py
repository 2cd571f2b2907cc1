"""When the model is asked. All times are media seconds: a call replayed decides the same.

``call_center``: enough was said since the last question (tokens, or time), the talk came to another topic or a keyword was said, and the last
question is not too recent. A topic or keyword that comes too early is kept while its words are in the window.

``counter``: more than ``min_words`` wait, or they wait longer than ``max_wait_seconds`` (three words at least), or the speaker is silent; a word or
two followed by long silence are discarded. There is no rate.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from malha.insight.domain import TriggerKind
from malha.runtime.errors import InvalidArgument

INVALID_POLICY: Final = "INVALID_POLICY"
SILENCE_WORDS: Final = 3
"""counter: silence fires more than these."""
DISCARD_WORDS: Final = 2
"""counter: at most these never fire by waiting, and long silence discards them."""

Kind = Literal["call_center", "counter"]


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """A policy's name and limits; ``check`` them where they come from outside."""

    name: str = "call_center"
    kind: Kind = "call_center"
    window_seconds: float = 90.0
    min_tokens: int = 120
    min_interval_seconds: float = 20.0
    rate_seconds: float = 20.0
    min_words: int = 10
    max_wait_seconds: float = 5.0
    silence_seconds: float = 5.0
    discard_silence_seconds: float = 45.0

    def check(self) -> None:
        """Refuse limits that make no sense.

        Raises:
            InvalidArgument: INVALID_POLICY, with a violation for each field.
        """
        violations = dict(self._violations())
        if violations:
            raise InvalidArgument("a policy has limits that make no sense", reason=INVALID_POLICY, violations=violations)

    def _violations(self) -> Iterator[tuple[str, str]]:
        if self.kind not in ("call_center", "counter"):
            yield "kind", "call_center or counter"
        if not 1 <= len(self.name) <= 64:
            yield "name", "1 to 64 characters"
        for field, most in (("min_tokens", 100_000), ("min_words", 10_000)):
            if not 1 <= getattr(self, field) <= most:
                yield field, f"from 1 to {most}"
        longest = {"min_interval": 3600, "rate": 3600, "max_wait": 600, "silence": 600, "discard_silence": 3600}
        for field, most in longest.items():
            if not 0 < _finite(getattr(self, f"{field}_seconds")) <= most:
                yield field, f"more than 0 s, at most {most} s"
        if not 1 <= _finite(self.window_seconds) <= 1800:
            yield "window", "from 1 to 1800 s"
        if self.kind == "counter" and self.discard_silence_seconds < self.silence_seconds:
            yield "discard_silence", "not shorter than silence"


CALL_CENTER: Final = PolicySettings()
COUNTER: Final = PolicySettings(name="counter", kind="counter")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to ask the model, and why or why not."""

    trigger: TriggerKind | None
    reason: str


@dataclass(frozen=True, slots=True)
class Signals:
    """What an utterance has in it."""

    words: int
    topic: bool = False
    keyword: bool = False


class Policy(Protocol):
    """When the model is asked."""

    def say(self, now: float, signals: Signals) -> Verdict:
        """Something was said that ended at ``now``."""
        ...

    def tick(self, now: float) -> Verdict | None:
        """Time went on. None: nothing to tell."""
        ...

    def asked(self, now: float) -> None:
        """The model is asked, by this policy or by the operator."""
        ...


def make_policy(settings: PolicySettings) -> Policy:
    return _Counter(settings) if settings.kind == "counter" else _CallCenter(settings)


class _CallCenter:
    def __init__(self, settings: PolicySettings) -> None:
        self._settings = settings
        self._asked: float | None = None
        self._tokens = 0
        self._topic = self._keyword = -math.inf
        """When the last one that nobody asked about was."""

    def say(self, now: float, signals: Signals) -> Verdict:
        self._tokens += signals.words
        if signals.topic:
            self._topic = now
        if signals.keyword:
            self._keyword = now
        return self._judge(now)

    def tick(self, now: float) -> Verdict | None:
        verdict = self._judge(now)
        return verdict if verdict.trigger else None

    def asked(self, now: float) -> None:
        self._asked = now if self._asked is None else max(self._asked, now)
        self._tokens = 0
        if self._topic <= now:
            self._topic = -math.inf
        if self._keyword <= now:
            self._keyword = -math.inf

    def _judge(self, now: float) -> Verdict:
        settings = self._settings
        oldest = now - settings.window_seconds
        if max(self._topic, self._keyword) < oldest:
            return Verdict(None, "NO_TOPIC_OR_KEYWORD")
        since = now - (self._asked or 0.0)
        if self._tokens < settings.min_tokens and since < settings.min_interval_seconds:
            return Verdict(None, "TOO_LITTLE")
        if self._asked is not None and since < settings.rate_seconds:
            return Verdict(None, "RATE")
        return Verdict(TriggerKind.KEYWORD if self._keyword >= oldest else TriggerKind.TOPIC, "FIRED")


class _Counter:
    def __init__(self, settings: PolicySettings) -> None:
        self._settings = settings
        self._words = 0
        """Said since the model was asked."""
        self._since = 0.0
        """When the first of them were said."""
        self._last = 0.0
        """When the last of them were said."""

    def say(self, now: float, signals: Signals) -> Verdict:
        if not self._words:
            self._since = now
        self._words += signals.words
        self._last = max(self._last, now)
        if self._words > self._settings.min_words or self._waited(now):
            return Verdict(TriggerKind.WORDS, "FIRED")
        return Verdict(None, "TOO_LITTLE")

    def tick(self, now: float) -> Verdict | None:
        silence = now - self._last
        if silence > self._settings.silence_seconds and self._words > SILENCE_WORDS:
            return Verdict(TriggerKind.SILENCE, "FIRED")
        if self._waited(now):
            return Verdict(TriggerKind.WORDS, "FIRED")
        if silence > self._settings.discard_silence_seconds and 0 < self._words <= DISCARD_WORDS:
            self._words = 0
            return Verdict(None, "DISCARDED")
        return None

    def asked(self, now: float) -> None:
        self._words = 0
        self._last = max(self._last, now)

    def _waited(self, now: float) -> bool:
        return self._words > DISCARD_WORDS and now - self._since > self._settings.max_wait_seconds


def _finite(seconds: float) -> float:
    return seconds if math.isfinite(seconds) else -1.0
