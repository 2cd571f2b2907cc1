"""The rule engine's own insights: what the window itself says, a next step by topic, an offer by its keywords. Nothing is made up.

They are what goes out without a model, and what stands in for one that is late. Each quotes the window word for word.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from malha.insight.domain import Draft, Evidence, InsightType, TriggerKind
from malha.insight.topics import topic_model
from malha.insight.window import Entry
from malha.text.tokens import primary

LONGEST_QUOTE: Final = 160
"""Characters; longer utterances are cut between words."""
LEAST_STEMS: Final = 3
"""Content words an utterance has to have to stand for the talk."""
_MOST_JUDGED: Final = 16
"""Utterances, the newest: judging costs a twentieth of a millisecond each."""
_CONFIDENCE: Final[Mapping[InsightType, float]] = {
    InsightType.PARTIAL_SUMMARY: 0.65,
    InsightType.NEXT_STEP: 0.65,
    InsightType.RISK_ALERT: 0.65,
    InsightType.UPSELL: 0.7,
}
"""Above the default threshold, below a rule's."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the rule engine knows when it is asked."""

    language: str
    entries: tuple[Entry, ...]
    """The window, not empty."""
    topic: str
    """Empty: not clear."""
    trigger: TriggerKind
    seq: int


def extract(types: Sequence[InsightType], scene: Scene) -> tuple[Draft, ...]:
    """An insight of each of the types that the scene has something for."""
    return tuple(draft for each in types if (draft := _MAKERS[each](scene)) is not None)


def _summary(scene: Scene) -> Draft | None:
    """The two most telling utterances, in the order they were said."""
    told = sorted(_telling(scene)[:2], key=lambda entry: entry.utterance.start)
    if not told:
        return None
    say = _advice(scene.language)
    quotes = [_evidence(entry) for entry in told]
    name = say["topic"].get(scene.topic)
    template = say["template"]["summary_topic" if name else "summary"]
    message = template.format(topic=name, quote=quotes[0].quote) + "".join(
        say["template"]["also"].format(quote=each.quote) for each in quotes[1:]
    )
    return _draft(InsightType.PARTIAL_SUMMARY, message, tuple(quotes), scene)


def _next_step(scene: Scene) -> Draft | None:
    """The step for the topic, resting on what shows the topic most."""
    step = _advice(scene.language)["step"].get(scene.topic)
    telling = _telling(scene)
    if step is None or not telling:
        return None
    return _draft(InsightType.NEXT_STEP, step, (_evidence(telling[0]),), scene)


def _risk(scene: Scene) -> Draft | None:
    """The last keyword of a risk."""
    return _of_keyword(InsightType.RISK_ALERT, "risk", scene, "risk")


def _upsell(scene: Scene) -> Draft | None:
    """The offer whose keyword was said last."""
    return _of_keyword(InsightType.UPSELL, "offer", scene, "upsell")


def _of_keyword(type_: InsightType, kind: str, scene: Scene, template: str) -> Draft | None:
    said = [
        (entry, spoken) for entry in scene.entries for spoken in entry.spoken if spoken.kind == kind and entry.utterance.role != "agent"
    ]
    if not said:
        return None
    entry, spoken = said[-1]
    quote = entry.utterance.text[entry.words[spoken.first].start : entry.words[spoken.last].end]
    offer = spoken.offer
    named = "" if offer is None else f"{offer.name} ({offer.price})" if offer.price else offer.name
    message = _advice(scene.language)["template"][template].format(quote=quote, offer=named)
    return _draft(type_, message, (Evidence(entry.utterance.segment_id, quote),), scene)


def _telling(scene: Scene) -> list[Entry]:
    """The utterances that stand for the talk, the most telling first: the customer's where there are any, those that show the topic, with many of the window's
    own words, the later of equals first.
    """
    counts = Counter(stem for entry in scene.entries for stem in set(entry.stems))
    model = topic_model(scene.language)
    column = model.topics.index(scene.topic) if model is not None and scene.topic in model.topics else -1

    def score(entry: Entry) -> float:
        shared = sum(counts[stem] > 1 for stem in set(entry.stems)) / len(entry.stems)
        topical = float(model.posterior(entry.stems)[column]) if model is not None and column >= 0 else 0.0
        return 2 * topical + shared + min(len(entry.stems), 12) / 24

    able = [entry for entry in reversed(scene.entries) if len(entry.stems) >= LEAST_STEMS]
    asking = [entry for entry in able if entry.utterance.role != "agent"]
    return sorted((asking or able)[:_MOST_JUDGED], key=score, reverse=True)


def _evidence(entry: Entry) -> Evidence:
    """The utterance word for word, cut between words where it is long."""
    text = entry.utterance.text.strip()
    if len(text) > LONGEST_QUOTE:
        begin = entry.words[0].start
        ends = [word.end for word in entry.words if word.end - begin <= LONGEST_QUOTE]
        text = entry.utterance.text[begin : ends[-1] if ends else begin + LONGEST_QUOTE]
    return Evidence(entry.utterance.segment_id, text)


def _draft(type_: InsightType, message: str, evidence: tuple[Evidence, ...], scene: Scene) -> Draft:
    return Draft(type_, message, _CONFIDENCE[type_], evidence, scene.trigger, seq=scene.seq)


@cache
def _all_advice() -> Mapping[str, Any]:
    return tomllib.loads(files("malha.insight").joinpath("advice.toml").read_text("utf-8"))


def _advice(language: str) -> Mapping[str, Mapping[str, str]]:
    """In English where the language is none of ours."""
    advice = _all_advice()
    found: Mapping[str, Mapping[str, str]] = advice.get(primary(language), advice["en"])
    return found


_MAKERS: Final[Mapping[InsightType, Callable[[Scene], Draft | None]]] = {
    InsightType.PARTIAL_SUMMARY: _summary,
    InsightType.NEXT_STEP: _next_step,
    InsightType.RISK_ALERT: _risk,
    InsightType.UPSELL: _upsell,
}
