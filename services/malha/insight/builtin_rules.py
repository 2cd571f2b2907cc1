"""The rules every tenant has, read from ``builtin_rules.toml``: one for each language, so that a tenant can replace or disable each."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from malha.insight.domain import InsightType
from malha.insight.specs import STEMMED, RuleSpec

PREFIX: Final = "malha-"
"""Ids of Malha's own rules begin with it."""


@cache
def builtin_rules() -> tuple[RuleSpec, ...]:
    """By id, such as ``malha-cancellation-pt``."""
    document = tomllib.loads(files("malha.insight").joinpath("builtin_rules.toml").read_text("utf-8"))
    specs = [_spec(rule, language) for rule in document["rule"] for language in STEMMED if language in rule]
    return tuple(sorted(specs, key=lambda spec: spec.id))


def with_builtin(tenant: Sequence[RuleSpec]) -> list[RuleSpec]:
    """A tenant's rules and Malha's own; where ids are the same the tenant's replaces Malha's, and disables it where it is disabled."""
    replaced = {spec.id for spec in tenant}
    return [*tenant, *(spec for spec in builtin_rules() if spec.id not in replaced)]


def _spec(rule: Mapping[str, Any], language: str) -> RuleSpec:
    own = rule[language]
    return RuleSpec(
        id=f"{rule['id']}-{language}",
        version=rule["version"],
        type=InsightType(rule["type"]),
        name=own["name"],
        message=own["message"],
        all_of=tuple(own.get("all_of", ())),
        any_of=tuple(own.get("any_of", ())),
        none_of=tuple(own.get("none_of", ())),
        roles=tuple(rule.get("roles", ())),
        window_seconds=rule.get("window_seconds", 0.0),
        languages=(language,),
        cooldown_seconds=rule["cooldown_seconds"],
        confidence=rule["confidence"],
    )
