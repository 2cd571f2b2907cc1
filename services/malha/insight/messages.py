"""Insight's contract to domain and back."""

import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal

from google.protobuf import json_format

from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import rules_pb2
from malha.insight.domain import Decision, Draft, Evidence, FewShot, InsightType, Offer, Role, TriggerKind, Utterance
from malha.insight.policy import CALL_CENTER, COUNTER, PolicySettings
from malha.insight.specs import RuleSpec
from malha.insight.store import MOST_CHARACTERS, Stored
from malha.runtime.durations import duration, seconds

TYPES: Final[Mapping[InsightType, rules_pb2.InsightType.ValueType]] = {
    InsightType.PARTIAL_SUMMARY: rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY,
    InsightType.NEXT_STEP: rules_pb2.INSIGHT_TYPE_NEXT_STEP,
    InsightType.RISK_ALERT: rules_pb2.INSIGHT_TYPE_RISK_ALERT,
    InsightType.UPSELL: rules_pb2.INSIGHT_TYPE_UPSELL,
}
TYPE_OF: Final = {value: kind for kind, value in TYPES.items()}
TRIGGERS: Final = {kind.value: api.Trigger.Value(f"TRIGGER_{kind.name}") for kind in TriggerKind}
_Span = Literal["window", "min_interval", "rate", "max_wait", "silence", "discard_silence"]
DEFAULT_COOLDOWN_SECONDS: Final = 60.0
DEFAULT_CONFIDENCE: Final = 0.8
"""Of a rule that names none."""
ROLES: Final[Mapping[media_pb2.Role.ValueType, Role]] = {media_pb2.ROLE_AGENT: "agent", media_pb2.ROLE_CUSTOMER: "customer"}
ROLE_VALUES: Final = {role: value for value, role in ROLES.items()}


def utterance_of(segment: transcript_pb2.Segment, seq: int) -> Utterance:
    """A segment as it counts here."""
    role = ROLES.get(segment.role, "unknown")
    return Utterance(segment.id, seq, role, segment.text[:MOST_CHARACTERS], seconds(segment.start), seconds(segment.end), segment.language)


def insight_body(
    draft: Draft, *, engine: str, degraded: bool, stages: Mapping[str, float], interaction_id: uuid.UUID | None
) -> dict[str, Any]:
    """An insight as it is kept: JSON of the contract's message, without id, time and latency."""
    message = api.Insight(
        type=TYPES[draft.type],
        message=draft.message,
        confidence=draft.confidence,
        evidence=[api.Evidence(segment_id=each.segment_id, quote=each.quote) for each in draft.evidence],
        degraded=degraded,
        trigger=TRIGGERS[draft.trigger.value],
        rule=draft.rule,
        engine=engine,
        stages=[api.Stage(name=name, time=duration(took)) for name, took in stages.items()],
        interaction_id=str(interaction_id) if interaction_id is not None else "",
    )
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def insight_message(stored: Stored) -> api.Insight:
    """An insight that is kept, as it is told."""
    message = json_format.ParseDict(dict(stored.body), api.Insight(), ignore_unknown_fields=True)
    message.id, message.type = str(stored.id), TYPES[stored.type]
    if stored.created_at is not None:
        message.create_time.FromDatetime(stored.created_at)
    return message


def evidence_of(message: api.Insight) -> tuple[Evidence, ...]:
    """What an insight rests on."""
    return tuple(Evidence(each.segment_id, each.quote) for each in message.evidence)


def decision_message(decision: Decision) -> api.Decision:
    """Why something did or did not fire."""
    kind = TYPES[decision.type] if decision.type is not None else rules_pb2.INSIGHT_TYPE_UNSPECIFIED
    return api.Decision(fired=decision.fired, reason=decision.reason, type=kind, seq=decision.seq)


def rule_spec(rule: rules_pb2.Rule) -> RuleSpec:
    """A rule as the rule engine takes it."""
    condition = rule.condition
    return RuleSpec(
        id=rule.id,
        type=TYPE_OF[rule.type],
        message=rule.message,
        all_of=tuple(condition.all_of),
        any_of=tuple(condition.any_of),
        none_of=tuple(condition.none_of),
        negated_too=condition.negated_too,
        roles=tuple(ROLES[role] for role in rule.roles if role in ROLES),
        window_seconds=seconds(rule.window),
        languages=tuple(rule.languages),
        cooldown_seconds=seconds(rule.cooldown) if rule.HasField("cooldown") else DEFAULT_COOLDOWN_SECONDS,
        confidence=rule.confidence if rule.HasField("confidence") else DEFAULT_CONFIDENCE,
        version=rule.version or 1,
        name=rule.name,
        disabled=rule.disabled,
    )


def rule_message(spec: RuleSpec) -> rules_pb2.Rule:
    """A rule as the contract has it."""
    return rules_pb2.Rule(
        id=spec.id,
        version=spec.version,
        name=spec.name,
        type=TYPES[spec.type],
        message=spec.message,
        confidence=spec.confidence,
        condition=rules_pb2.Condition(all_of=spec.all_of, any_of=spec.any_of, none_of=spec.none_of, negated_too=spec.negated_too),
        roles=[ROLE_VALUES[role] for role in spec.roles],
        window=duration(spec.window_seconds),
        languages=spec.languages,
        cooldown=duration(spec.cooldown_seconds),
        disabled=spec.disabled,
    )


def policy_of(policy: rules_pb2.Policy) -> PolicySettings:
    """A tenant's policy; what it leaves out is as in Malha's own."""
    default = COUNTER if policy.kind == "counter" else CALL_CENTER

    def span(name: _Span, otherwise: float) -> float:
        return seconds(getattr(policy, name)) if policy.HasField(name) else otherwise

    return PolicySettings(
        name=policy.name,
        kind=default.kind,
        window_seconds=span("window", default.window_seconds),
        min_tokens=policy.min_tokens if policy.HasField("min_tokens") else default.min_tokens,
        min_interval_seconds=span("min_interval", default.min_interval_seconds),
        rate_seconds=span("rate", default.rate_seconds),
        min_words=policy.min_words if policy.HasField("min_words") else default.min_words,
        max_wait_seconds=span("max_wait", default.max_wait_seconds),
        silence_seconds=span("silence", default.silence_seconds),
        discard_silence_seconds=span("discard_silence", default.discard_silence_seconds),
    )


def few_shots_of(configuration: rules_pb2.Configuration) -> tuple[FewShot, ...]:
    """The tenant's examples."""
    return tuple(FewShot(TYPE_OF[each.type], each.language, each.transcript, each.message) for each in configuration.few_shots)


def offer_of(offer: rules_pb2.Offer) -> Offer:
    """Something the tenant sells."""
    return Offer(offer.id, offer.name, offer.description, offer.price, tuple(offer.keywords))
