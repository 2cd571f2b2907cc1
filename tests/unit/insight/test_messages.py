"""Insight's contract to domain and back."""

import uuid
from datetime import UTC, datetime

import pytest

from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import rules_pb2
from malha.insight.builtin_rules import builtin_rules
from malha.insight.domain import Draft, Evidence, InsightType, TriggerKind
from malha.insight.messages import (
    TYPE_OF,
    TYPES,
    duration,
    insight_body,
    insight_message,
    policy_of,
    rule_message,
    rule_spec,
    seconds,
    utterance_of,
)
from malha.insight.policy import CALL_CENTER, COUNTER
from malha.insight.store import MOST_CHARACTERS, Stored


@pytest.mark.parametrize("value", [0.0, 0.001, 1.5, 90.0, 3600.25])
def test_durations_come_back(value: float) -> None:
    assert seconds(duration(value)) == pytest.approx(value, abs=1e-9)


def test_every_type_has_its_own_number_and_back() -> None:
    assert set(TYPES) == set(InsightType)
    assert {TYPE_OF[number] for number in rules_pb2.InsightType.values() if number} == set(InsightType)


@pytest.mark.parametrize("spec", builtin_rules(), ids=lambda spec: spec.id)
def test_malha_s_own_rules_come_back_as_they_are(spec: object) -> None:
    assert rule_spec(rule_message(spec)) == spec  # type: ignore[arg-type]  # a RuleSpec


def test_a_rule_that_names_little_has_the_defaults_and_zero_is_no_default() -> None:
    little = rule_spec(rules_pb2.Rule(id="r", type=3, message="m"))
    assert (little.cooldown_seconds, little.confidence, little.version) == (60.0, 0.8, 1)
    zeros = rule_spec(rules_pb2.Rule(id="r", type=3, message="m", cooldown=duration(0), confidence=0))
    assert (zeros.cooldown_seconds, zeros.confidence) == (0.0, 0.0)


def test_a_policy_that_names_little_is_malha_s_own_of_its_kind() -> None:
    assert policy_of(rules_pb2.Policy(name="call_center", kind="call_center")) == CALL_CENTER
    own = policy_of(rules_pb2.Policy(name="noite", kind="counter", min_words=3, silence=duration(0.5)))
    assert (own.name, own.kind, own.min_words, own.silence_seconds) == ("noite", "counter", 3, 0.5)
    assert own.max_wait_seconds == COUNTER.max_wait_seconds


def test_an_insight_is_kept_and_told_as_it_was() -> None:
    draft = Draft(InsightType.RISK_ALERT, "cuidado", 0.9, (Evidence("0-1", "cancelar"),), TriggerKind.RULE, "r@2", 7)
    name, interaction, at = uuid.uuid4(), uuid.uuid4(), datetime(2026, 1, 1, tzinfo=UTC)
    body = insight_body(draft, engine="rules", degraded=True, stages={"rules": 0.002}, interaction_id=interaction)
    assert not {"id", "latency", "create_time"} & set(body)
    told = insight_message(Stored(name, InsightType.RISK_ALERT, body, at, interaction))
    assert (told.id, told.type, told.message, told.confidence) == (str(name), rules_pb2.INSIGHT_TYPE_RISK_ALERT, "cuidado", 0.9)
    assert list(told.evidence) == [api.Evidence(segment_id="0-1", quote="cancelar")]
    assert (told.degraded, told.trigger, told.rule, told.interaction_id) == (True, api.TRIGGER_RULE, "r@2", str(interaction))
    assert told.create_time.ToDatetime(tzinfo=UTC) == at
    assert told.stages[0].time.nanos == 2_000_000


def test_of_a_segment_no_more_is_read_than_somebody_says_in_a_breath() -> None:
    segment = transcript_pb2.Segment(
        id="s", role=media_pb2.ROLE_AGENT, text="a" * (MOST_CHARACTERS + 5), start=duration(1), end=duration(2)
    )
    said = utterance_of(segment, 3)
    assert (said.segment_id, said.seq, said.role, said.start, said.end, len(said.text)) == ("s", 3, "agent", 1.0, 2.0, MOST_CHARACTERS)
    assert utterance_of(transcript_pb2.Segment(), 1).role == "unknown"
