"""The calls behind a tenant's rules and configuration, and the way from ``malha.sdk.rules`` to the contract's messages and back."""

import datetime as dt
from typing import get_args

from malha.sdk._call_settings import check_choice
from malha.sdk._connection import Connection
from malha.sdk._convert import seconds
from malha.sdk._gen.malha.api.common import v1 as common
from malha.sdk._gen.malha.api.insight import v1 as api
from malha.sdk.errors import ServerError
from malha.sdk.events import Evidence
from malha.sdk.rules import Backtest, BacktestMatch, FewShot, InsightConfiguration, InsightPolicy, InsightType, Offer, Rule

_SERVICE = "/malha.api.insight.v1.InsightService"


async def rules(connection: Connection, *, builtin: bool) -> tuple[Rule, ...]:
    """By id."""
    answer = await connection.unary(f"{_SERVICE}/ListRules", api.ListRulesRequest(builtin=builtin), api.ListRulesResponse)
    return tuple(map(_rule_from, answer.rules))


async def rule(connection: Connection, rule_id: str, version: int) -> Rule:
    """One rule; version 0: the newest."""
    request = api.GetRuleRequest(rule_id=rule_id, version=version)
    return _rule_from(_there((await connection.unary(f"{_SERVICE}/GetRule", request, api.GetRuleResponse)).rule))


async def save(connection: Connection, wanted: Rule) -> Rule:
    """Keep it; with its new version."""
    request = api.SaveRuleRequest(rule=_rule_message(wanted))
    answer = await connection.unary(f"{_SERVICE}/SaveRule", request, api.SaveRuleResponse, idempotent=False)
    return _rule_from(_there(answer.rule))


async def delete(connection: Connection, rule_id: str) -> None:
    """Delete it."""
    request = api.DeleteRuleRequest(rule_id=rule_id)
    await connection.unary(f"{_SERVICE}/DeleteRule", request, api.DeleteRuleResponse, idempotent=False)


async def backtest(
    connection: Connection, wanted: Rule, since: dt.datetime | None, until: dt.datetime | None, max_conversations: int
) -> Backtest:
    """Replay it over stored conversations."""
    request = api.BacktestRuleRequest(rule=_rule_message(wanted), since=since, until=until, max_conversations=max_conversations)
    answer = await connection.unary(f"{_SERVICE}/BacktestRule", request, api.BacktestRuleResponse)
    matches = tuple(
        BacktestMatch(
            match.conversation_id, seconds(match.time), tuple(Evidence(piece.segment_id, piece.quote) for piece in match.evidence)
        )
        for match in answer.examples
    )
    return Backtest(answer.conversations, answer.matches, answer.alerts_per_hour, answer.precision, answer.recall, matches)


async def configuration(connection: Connection) -> InsightConfiguration:
    """As stored; the defaults where nothing is."""
    answer = await connection.unary(f"{_SERVICE}/GetConfiguration", api.GetConfigurationRequest(), api.GetConfigurationResponse)
    return _configuration_from(answer.configuration or api.Configuration())


async def update(connection: Connection, wanted: InsightConfiguration) -> InsightConfiguration:
    """Replace it; with its new revision."""
    request = api.UpdateConfigurationRequest(configuration=_configuration_message(wanted))
    answer = await connection.unary(f"{_SERVICE}/UpdateConfiguration", request, api.UpdateConfigurationResponse, idempotent=False)
    return _configuration_from(answer.configuration or api.Configuration())


def type_message(name: str) -> api.InsightType:
    """Raises InvalidRequest for a type there is none of."""
    check_choice("type", name, get_args(InsightType))
    return api.InsightType[name.upper()]


def _there(kept: api.Rule | None) -> api.Rule:
    if kept is None:
        raise ServerError("the server answered without the rule", reason="MALFORMED_RESPONSE")
    return kept


def _rule_message(wanted: Rule) -> api.Rule:
    for role in wanted.roles:
        check_choice("role", role, ("agent", "customer"))
    return api.Rule(
        id=wanted.id,
        version=wanted.version,
        name=wanted.name,
        type=type_message(wanted.type),
        message=wanted.message,
        confidence=wanted.confidence,
        condition=api.Condition(
            all_of=list(wanted.all_of), any_of=list(wanted.any_of), none_of=list(wanted.none_of), negated_too=wanted.negated_too
        ),
        roles=[common.Role[role.upper()] for role in wanted.roles],
        window=_duration(wanted.window_seconds),
        languages=list(wanted.languages),
        cooldown=_duration(wanted.cooldown_seconds),
        disabled=wanted.disabled,
    )


def _rule_from(kept: api.Rule) -> Rule:
    condition = kept.condition or api.Condition()
    return Rule(
        id=kept.id,
        type=_type_from(kept.type),
        message=kept.message,
        all_of=tuple(condition.all_of),
        any_of=tuple(condition.any_of),
        none_of=tuple(condition.none_of),
        negated_too=condition.negated_too,
        roles=tuple("agent" if role is common.Role.AGENT else "customer" for role in kept.roles),
        languages=tuple(kept.languages),
        window_seconds=_seconds(kept.window),
        cooldown_seconds=_seconds(kept.cooldown),
        confidence=kept.confidence,
        name=kept.name,
        disabled=kept.disabled,
        version=kept.version,
    )


def _configuration_message(wanted: InsightConfiguration) -> api.Configuration:
    return api.Configuration(
        revision=wanted.revision,
        glossary=dict(wanted.glossary),
        names=list(wanted.names),
        keywords=list(wanted.keywords),
        policies=[_policy_message(policy) for policy in wanted.policies],
        catalogue=[
            api.Offer(id=offer.id, name=offer.name, description=offer.description, price=offer.price, keywords=list(offer.keywords))
            for offer in wanted.catalogue
        ],
        few_shots=[
            api.FewShot(type=type_message(shot.type), language=shot.language, transcript=shot.transcript, message=shot.message)
            for shot in wanted.few_shots
        ],
        thresholds=[api.Threshold(type=type_message(name), confidence=least) for name, least in wanted.thresholds.items()],
        knowledge_base=wanted.knowledge_base,
        keep_personal_data=wanted.keep_personal_data,
    )


def _configuration_from(kept: api.Configuration) -> InsightConfiguration:
    return InsightConfiguration(
        glossary=dict(kept.glossary),
        names=tuple(kept.names),
        keywords=tuple(kept.keywords),
        policies=tuple(map(_policy_from, kept.policies)),
        catalogue=tuple(
            Offer(id=offer.id, name=offer.name, description=offer.description, price=offer.price, keywords=tuple(offer.keywords))
            for offer in kept.catalogue
        ),
        few_shots=tuple(
            FewShot(type=_type_from(shot.type), language=shot.language, transcript=shot.transcript, message=shot.message)
            for shot in kept.few_shots
        ),
        thresholds={_type_from(least.type): least.confidence for least in kept.thresholds},
        knowledge_base=kept.knowledge_base,
        keep_personal_data=kept.keep_personal_data,
        revision=kept.revision,
    )


def _policy_message(policy: InsightPolicy) -> api.Policy:
    return api.Policy(
        name=policy.name,
        kind=policy.kind,
        window=_duration(policy.window_seconds),
        min_tokens=policy.min_tokens,
        min_interval=_duration(policy.min_interval_seconds),
        rate=_duration(policy.rate_seconds),
        min_words=policy.min_words,
        max_wait=_duration(policy.max_wait_seconds),
        silence=_duration(policy.silence_seconds),
        discard_silence=_duration(policy.discard_silence_seconds),
    )


def _policy_from(kept: api.Policy) -> InsightPolicy:
    return InsightPolicy(
        name=kept.name,
        kind="counter" if kept.kind == "counter" else "call_center",
        window_seconds=_seconds(kept.window),
        min_tokens=kept.min_tokens,
        min_interval_seconds=_seconds(kept.min_interval),
        rate_seconds=_seconds(kept.rate),
        min_words=kept.min_words,
        max_wait_seconds=_seconds(kept.max_wait),
        silence_seconds=_seconds(kept.silence),
        discard_silence_seconds=_seconds(kept.discard_silence),
    )


def _type_from(kind: api.InsightType) -> InsightType:
    name: InsightType = (kind.name or f"unknown_{int(kind)}").lower()  # type: ignore[assignment]  # a later server may have more
    return name


def _duration(given_seconds: float | None) -> dt.timedelta | None:
    return None if given_seconds is None else dt.timedelta(seconds=given_seconds)


def _seconds(duration: dt.timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
