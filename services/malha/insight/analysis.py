"""One session: what was said goes in; out come rule alerts at once, questions for the model when the policy says so, and why not otherwise.

Pure and in media time: the same segments and ticks give the same results, so that a takeover that replays them decides the same.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from malha.insight.domain import Decision, Draft, Evidence, InsightType, Offer, Request, TriggerKind, Utterance
from malha.insight.duplicates import Duplicates
from malha.insight.extractive import Scene, extract
from malha.insight.keywords import Keywords
from malha.insight.policy import PolicySettings, Signals, Verdict, make_policy
from malha.insight.rules import Rules, RuleWatch
from malha.insight.topic_tiles import TopicTracker
from malha.insight.window import Entry, Placed, Window
from malha.insight.words import content, words

ALL_TYPES: Final = tuple(InsightType)
_TICK_SECONDS: Final = 1.0
"""Between the ticks that ``prime`` supposes: Audio's own rhythm."""

Outcome = Draft | Request | Decision


class Analysis:
    """Made once for each call; rules and keywords are shared. Not thread-safe."""

    def __init__(
        self,
        settings: PolicySettings,
        rules: Rules,
        keywords: Keywords,
        catalogue: Sequence[Offer] = (),
        types: Sequence[InsightType] = ALL_TYPES,
        language: str = "",
    ) -> None:
        self.settings = settings
        self.language = language
        self.catalogue = tuple(catalogue)
        self.types = tuple(types) or ALL_TYPES
        self._policy = make_policy(settings)
        self._keywords = keywords
        self._watch = RuleWatch(rules)
        self._window = Window(settings.window_seconds)
        self._tracker = TopicTracker(language)
        self._duplicates = Duplicates(language)
        self._seq = 0
        """Of the newest utterance taken in: what comes again is not decided again."""
        self._asked_seq = -1
        """Of the last question."""
        self._asked_at = -1.0
        """When the last question was put."""
        self._asked_types: dict[InsightType, float] = {}
        """When each was asked for, or alerted to, last."""
        self._now = 0.0
        rules.index(language)
        keywords.prepare(language)

    @property
    def window(self) -> tuple[Utterance, ...]:
        """What was said of late."""
        return self._window.utterances

    @property
    def topic(self) -> str:
        """What the talk is about; empty: not clear."""
        return self._tracker.topic

    def say(self, utterance: Utterance) -> list[Outcome]:
        """A final, amended or retracted segment. One that was taken in before (by ``seq``) gives nothing."""
        if utterance.seq <= self._seq:
            return []
        self._seq = utterance.seq
        language = utterance.language or self.language
        entry = self._entry(utterance, language)
        placed = self._window.put(entry)
        if placed in (Placed.OLD, Placed.NOTHING):
            return []
        self._now = max(self._now, utterance.end)
        alerts = self._alerts(entry, language, amended=placed is not Placed.NEW)
        if placed is Placed.RETRACTED:
            return alerts
        signals = Signals(len(entry.words) if placed is Placed.NEW else 0, self._tracker.say(self._window.entries), bool(entry.spoken))
        return [*alerts, self._decide(self._policy.say(self._now, signals))]

    def tick(self, time: float) -> list[Outcome]:
        """Media time went on."""
        self._now = max(self._now, time)
        self._window.move(self._now)
        verdict = self._policy.tick(self._now)
        return [] if verdict is None else [self._decide(verdict)]

    def trigger(self, time: float) -> list[Outcome]:
        """The operator wants advice now: every type is asked for, whatever the policy says."""
        self._now = max(self._now, time)
        return [self._decide(Verdict(TriggerKind.MANUAL, "FIRED"))]

    def told(
        self, type_: InsightType, message: str, evidence: Iterable[Evidence], time: float, *, trigger: TriggerKind | None = None
    ) -> None:
        """An insight was shown. ``trigger``, where a takeover knows it, lets the policy count from it; a rule's insight counts for no policy."""
        self._duplicates.told(type_, message, evidence)
        if trigger is not None and trigger is not TriggerKind.RULE and time > self._asked_at:
            self._asked(time)
            self._asked_types[type_] = max(time, self._asked_types.get(type_, 0.0))

    def repeats(self, draft: Draft) -> bool:
        """Whether the session was told as much. A rule's own silence is its cooldown: of its insights only the same words count as said."""
        if draft.trigger is TriggerKind.RULE:
            return self._duplicates.rests_on_the_same(draft.type, draft.evidence)
        return self._duplicates.repeats(draft.type, draft.message, draft.evidence)

    def prime(self, utterances: Iterable[Utterance]) -> None:
        """Take in what an earlier owner of the session took in, and decide what it decided, telling nothing."""
        for utterance in utterances:
            while self._now + _TICK_SECONDS < utterance.end and self._window.utterances:
                self.tick(self._now + _TICK_SECONDS)
            self.say(utterance)

    def request_again(self, type_: InsightType, seq: int, time: float) -> Request:
        """The question for one type as it was at ``seq``, as far as the window still has it."""
        entries = tuple(entry for entry in self._window.entries if entry.utterance.seq <= seq)
        return self._request(TriggerKind.MANUAL, (type_,), entries, seq, time)

    def _entry(self, utterance: Utterance, language: str) -> Entry:
        said = words(utterance.text, language)
        return Entry(utterance, said, tuple(content(said, language)), tuple(self._keywords.find(said, language)))

    def _alerts(self, entry: Entry, language: str, *, amended: bool) -> list[Outcome]:
        drafts = self._watch.say(entry.utterance, entry.words, language, amended=amended)
        for draft in drafts:
            self._asked_types[draft.type] = self._now
        return [draft for draft in drafts if draft.type in self.types]

    def _decide(self, verdict: Verdict) -> Request | Decision:
        """What the policy's verdict comes to."""
        if verdict.trigger is None:
            return Decision(False, verdict.reason, None, self._seq)
        entries = self._window.entries
        if not entries or self._seq == self._asked_seq:
            return Decision(False, "NOTHING_NEW", None, self._seq)
        types = self._types(verdict.trigger, entries)
        if not types:
            return Decision(False, "NO_TYPE", None, self._seq)
        request = self._request(verdict.trigger, types, entries, self._seq, self._now)
        self._asked(self._now)
        self._asked_seq = self._seq
        self._asked_types.update(dict.fromkeys(types, self._now))
        return request

    def _asked(self, time: float) -> None:
        self._asked_at = time
        self._policy.asked(time)

    def _request(self, trigger: TriggerKind, types: tuple[InsightType, ...], entries: tuple[Entry, ...], seq: int, time: float) -> Request:
        fallback: tuple[Draft, ...] = ()
        if entries:
            fallback = extract(types, Scene(self.language, entries, self.topic, trigger, seq))
        return Request(trigger, seq, types, tuple(entry.utterance for entry in entries), fallback, time, self.topic)

    def _types(self, trigger: TriggerKind, entries: Sequence[Entry]) -> tuple[InsightType, ...]:
        """What to ask for. The operator's wish is for everything, a counter wants advice and offers; a call centre is told one thing at a time."""
        able = tuple(each for each in self.types if each is not InsightType.UPSELL or self.catalogue)
        if trigger is TriggerKind.MANUAL:
            return able
        if self.settings.kind == "counter":
            return tuple(each for each in able if each is not InsightType.PARTIAL_SUMMARY) or able
        return self._one_type(able, entries)

    def _one_type(self, able: tuple[InsightType, ...], entries: Sequence[Entry]) -> tuple[InsightType, ...]:
        """An offer or a risk that was spoken of since that type was last asked for or alerted; else summary and next step in turns."""
        kinds = {InsightType.UPSELL: "offer", InsightType.RISK_ALERT: "risk"}
        for type_, kind in kinds.items():
            since = self._asked_types.get(type_, -1.0)
            if type_ in able and any(
                spoken.kind == kind and entry.utterance.end > since and entry.utterance.role != "agent"
                for entry in entries
                for spoken in entry.spoken
            ):
                return (type_,)
        turns = [each for each in (InsightType.PARTIAL_SUMMARY, InsightType.NEXT_STEP) if each in able]
        return tuple(sorted(turns, key=lambda each: self._asked_types.get(each, -1.0))[:1])
