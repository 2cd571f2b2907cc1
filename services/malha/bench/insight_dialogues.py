"""How well rule alerts and topics tell of labelled calls: ``dialogues/`` of the test data, help-desk calls in English.

Its labels are free text and a yes or no: ``satisfied`` (did the caller hang up content), ``complaint`` and ``topic`` (what the call was about). An alert
is right where the call ended unsatisfied. The classifier is right where it names one of the topics that a label's words mean.
"""

import json
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from malha.bench.statistics import summary
from malha.bench.usage import machine
from malha.insight.analysis import Analysis
from malha.insight.builtin_rules import builtin_rules
from malha.insight.domain import Draft, InsightType, Role, Utterance
from malha.insight.keywords import Keywords
from malha.insight.policy import CALL_CENTER
from malha.insight.rules import Rules

FILE: Final = "it_helpdesk_sample_processed_data.json"
WORDS_A_SECOND: Final = 2.5
"""Of ordinary talk; the transcripts have no times."""
CONFIDENCE_Z: Final = 1.96
"""Of 95 % intervals."""
LABEL_TOPICS: Final[Mapping[str, frozenset[str]]] = {
    "password": frozenset({"access"}),
    "access": frozenset({"access"}),
    "login": frozenset({"access"}),
    "account": frozenset({"access"}),
}
"""Words of a ``complaint`` label and what the classifier should call them; every other label is ``technical``: this is an IT help desk."""

_TURN: Final = re.compile(r"\*\*(Agent|Customer):\*\*\s*")


@dataclass(frozen=True, slots=True)
class Call:
    """One labelled call."""

    utterances: tuple[Utterance, ...]
    satisfied: bool
    topics: frozenset[str]
    """Any of these is right."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the rule engine made of one call."""

    rules: frozenset[str]
    """Ids of the risk alerts."""
    topics: tuple[str, ...]
    """In the order the talk came to them."""
    milliseconds: tuple[float, ...]
    """CPU time of each ``say``."""


def read_calls(folder: Path) -> list[Call]:
    """The calls of the ``dialogues`` folder."""
    return [_call(row) for row in json.loads((folder / FILE).read_text("utf-8"))]


def run_dialogues(folder: Path) -> dict[str, Any]:
    """Every call through the rule engine: precision and recall with Wilson intervals, alone and by rule, and the CPU time of an utterance."""
    calls = read_calls(folder)
    rules, keywords = Rules.compile(builtin_rules()), Keywords()
    heard = [hear(call, rules, keywords) for call in calls]
    unsatisfied = [not call.satisfied for call in calls]
    by_rule = sorted({rule for each in heard for rule in each.rules})
    right = [each.topics[0] in call.topics for call, each in zip(calls, heard, strict=True) if each.topics]
    return {
        "machine": machine(),
        "calls": len(calls),
        "unsatisfied": sum(unsatisfied),
        "alerts": judge([bool(each.rules) for each in heard], unsatisfied),
        "by_rule": {rule: judge([rule in each.rules for each in heard], unsatisfied) for rule in by_rule},
        "topic": {"told": len(right), "first_topic_right": ratio(sum(right), len(right))},
        "say_cpu_ms": summary((each for call in heard for each in call.milliseconds), (50, 95, 99)),
    }


def hear(call: Call, rules: Rules, keywords: Keywords) -> Heard:
    """One call through the analysis, as a live one goes."""
    analysis = Analysis(CALL_CENTER, rules, keywords, language="en")
    alerts: set[str] = set()
    topics: list[str] = []
    milliseconds: list[float] = []
    for utterance in call.utterances:
        began = time.thread_time()
        outcomes = analysis.say(utterance)
        milliseconds.append((time.thread_time() - began) * 1e3)
        alerts |= {each.rule.partition("@")[0] for each in outcomes if isinstance(each, Draft) and each.type is InsightType.RISK_ALERT}
        if analysis.topic and analysis.topic not in topics:
            topics.append(analysis.topic)
    return Heard(frozenset(alerts), tuple(topics), tuple(milliseconds))


def judge(predicted: Sequence[bool], actual: Sequence[bool]) -> dict[str, Any]:
    """Precision and recall of a yes or no."""
    hits = sum(said and true for said, true in zip(predicted, actual, strict=True))
    return {"alerted": sum(predicted), "precision": ratio(hits, sum(predicted)), "recall": ratio(hits, sum(actual))}


def ratio(hits: int, total: int) -> dict[str, float | int | None]:
    """A share with its 95 % interval (Wilson 1927); None where there is nothing to share."""
    if not total:
        return {"value": None, "low": None, "high": None, "hits": 0, "of": 0}
    share, square = hits / total, CONFIDENCE_Z**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = CONFIDENCE_Z / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return {
        "value": round(share, 4),
        "low": round(max(0.0, middle - half), 4),
        "high": round(min(1.0, middle + half), 4),
        "hits": hits,
        "of": total,
    }


def _call(row: Mapping[str, str]) -> Call:
    parts = _TURN.split(row["Content"])
    turns = zip(parts[1::2], parts[2::2], strict=True)
    label = row["complaint"].lower()
    wanted: Iterable[frozenset[str]] = (topics for word, topics in LABEL_TOPICS.items() if word in label)
    return Call(tuple(_utterances(turns)), row["satisfied"] == "Yes", next(iter(wanted), frozenset({"technical"})))


def _utterances(turns: Iterable[tuple[str, str]]) -> Iterable[Utterance]:
    at = 0.0
    roles: dict[str, Role] = {"Agent": "agent", "Customer": "customer"}
    for seq, (speaker, text) in enumerate(turns, 1):
        end = at + len(text.split()) / WORDS_A_SECOND
        yield Utterance(f"segment-{seq}", seq, roles[speaker], text.strip(), at, end, "en")
        at = end
