"""The rule engine: a tenant's rules compiled once, and what one call has said of them.

All phrases of a language lie in one trie, so that an utterance is walked once however many rules there are. A rule is looked at only when one of
the phrases it asks for was just said.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from malha.insight.domain import Draft, Evidence, Role, TriggerKind, Utterance
from malha.insight.phrases import Phrases
from malha.insight.specs import STEMMED, RuleSpec, check_rules
from malha.insight.words import Word
from malha.text.tokens import primary

_MOST_EVIDENCE: Final = 4

Part = Literal["all", "any", "none"]


class _Use(NamedTuple):
    """Where a phrase stands in a rule."""

    rule: int
    part: Part
    slot: int


@dataclass(frozen=True, slots=True)
class _Index:
    """The rules of one language."""

    phrases: Phrases
    uses: list[list[_Use]]
    """By phrase."""


class Rules:
    """Rules ready to be matched, shared by all calls of a tenant."""

    def __init__(self, specs: Sequence[RuleSpec]) -> None:
        self.specs = tuple(spec for spec in specs if not spec.disabled)
        self._named = {primary(language) for spec in self.specs for language in spec.languages}
        self._indexes: dict[str, _Index] = {}

    @classmethod
    def compile(cls, specs: Sequence[RuleSpec]) -> "Rules":
        """Check ``specs`` and make them ready; disabled ones are checked too, and left out.

        Raises:
            InvalidArgument: INVALID_RULE: one is malformed or can never match; the violations say which and why.
        """
        check_rules(specs)
        return cls(specs)

    def index(self, language: str) -> _Index:
        """The rules that apply to ``language``, indexed the first time they are asked for."""
        code = primary(language)
        if code not in STEMMED and code not in self._named:
            code = ""
        index = self._indexes.get(code)
        if index is None:
            index = self._indexes[code] = self._build(code)
        return index

    def _build(self, language: str) -> _Index:
        index = _Index(Phrases(language), [])
        for number, spec in enumerate(self.specs):
            if spec.languages and language not in map(primary, spec.languages):
                continue
            parts: tuple[tuple[Part, tuple[str, ...]], ...] = (("all", spec.all_of), ("any", spec.any_of), ("none", spec.none_of))
            for part, phrases in parts:
                for slot, text in enumerate(phrases):
                    phrase = index.phrases.add(text)
                    if phrase == len(index.uses):
                        index.uses.append([])
                    index.uses[phrase].append(_Use(number, part, slot))
        return index


@dataclass(frozen=True, slots=True)
class _Said:
    """When and where a phrase of a rule was said last."""

    time: float
    segment_id: str
    text: str
    start: int
    end: int


class RuleWatch:
    """What one call has said of the rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._said: dict[int, dict[tuple[Part, int], _Said]] = {}
        """By rule, then by part and slot."""
        self._fired: dict[int, tuple[float, str]] = {}
        """By rule: when, and in which segment."""

    def say(self, utterance: Utterance, said: tuple[Word, ...], language: str, *, amended: bool = False) -> list[Draft]:
        """What rules say of an utterance whose words are ``said``; ``amended`` forgets what the segment said before."""
        if amended:
            self._forget(utterance.segment_id)
        touched = self._note(utterance, said, self._rules.index(language))
        return [draft for rule in sorted(touched) if (draft := self._judge(rule, utterance)) is not None]

    def _note(self, utterance: Utterance, said: tuple[Word, ...], index: _Index) -> set[int]:
        """Note every phrase that counts; the rules that were said something they ask for."""
        touched: set[int] = set()
        for hit in index.phrases.find(said):
            for rule, part, slot in index.uses[hit.phrase]:
                spec = self._rules.specs[rule]
                if (hit.negated and not spec.negated_too) or not _counts(utterance.role, spec.roles):
                    continue
                place = _Said(utterance.end, utterance.segment_id, utterance.text, said[hit.first].start, said[hit.last].end)
                self._said.setdefault(rule, {})[part, slot] = place
                if part != "none":
                    touched.add(rule)
        return touched

    def _judge(self, rule: int, utterance: Utterance) -> Draft | None:
        """The rule's insight, if all it asks for was said in its window and it is not silent after an earlier one."""
        spec = self._rules.specs[rule]
        fresh = {
            place: said
            for place, said in self._said[rule].items()
            if said.segment_id == utterance.segment_id or (spec.window_seconds and utterance.end - said.time <= spec.window_seconds)
        }
        parts = [part for part, _ in fresh]
        if "none" in parts or parts.count("all") < len(spec.all_of) or (spec.any_of and "any" not in parts):
            return None
        time, segment = self._fired.get(rule, (float("-inf"), ""))
        if utterance.segment_id == segment or utterance.end - time < spec.cooldown_seconds:
            return None
        self._fired[rule] = (utterance.end, utterance.segment_id)
        evidence = _evidence(fresh.values())
        quote = " \u2026 ".join(part.quote for part in evidence)
        message = spec.message.replace("{quote}", quote)
        return Draft(spec.type, message, spec.confidence, evidence, TriggerKind.RULE, spec.reference, utterance.seq)

    def _forget(self, segment_id: str) -> None:
        for places in self._said.values():
            for place in [place for place, said in places.items() if said.segment_id == segment_id]:
                del places[place]


def _counts(role: Role, roles: tuple[Role, ...]) -> bool:
    """Whether what ``role`` says counts. Of a speaker nobody knows it does where the customer's does: an operator is not judged by words that may be the customer's."""
    return not roles or role in roles or (role == "unknown" and "customer" in roles)


def _evidence(places: Iterable[_Said]) -> tuple[Evidence, ...]:
    """The words of the places as they are in their segments, earlier first, overlapping ones joined."""
    spans: list[_Said] = []
    for place in sorted(places, key=lambda place: (place.time, place.segment_id, place.start)):
        before = spans[-1] if spans else None
        if before is not None and before.segment_id == place.segment_id and place.start <= before.end + 1:
            spans[-1] = replace(before, end=max(before.end, place.end))
        else:
            spans.append(place)
    return tuple(Evidence(span.segment_id, span.text[span.start : span.end]) for span in spans[-_MOST_EVIDENCE:])
