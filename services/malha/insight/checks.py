"""What a tenant may not set: rules that can never match, policies with zero limits, a glossary that maps a word to itself."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from malha.api.insight.v1 import rules_pb2
from malha.insight import specs
from malha.insight.keywords import Keywords
from malha.insight.messages import offer_of, policy_of, rule_spec
from malha.runtime.errors import InvalidArgument
from malha.text.glossary import Glossary


def check_rule(rule: rules_pb2.Rule) -> None:
    """Raise InvalidArgument for a rule that is malformed or can never match."""
    _check_durations("rule", rule)
    with _within("rule"):
        specs.check_rule(rule_spec(rule))


def check_configuration(configuration: rules_pb2.Configuration) -> None:
    """Raise InvalidArgument, its violations naming each place."""
    with _within("configuration.glossary"):  # a map has no order of its own: entries are counted in that of their terms
        Glossary.of(dict(sorted(configuration.glossary.items())))
    for index, policy in enumerate(configuration.policies):
        _check_durations(f"configuration.policies[{index}]", policy)
        with _within(f"configuration.policies[{index}]"):
            policy_of(policy).check()
    with _within("configuration"):
        Keywords(tuple(configuration.keywords), tuple(offer_of(offer) for offer in configuration.catalogue))
    _check_unique("policies", [policy.name for policy in configuration.policies])
    _check_unique("catalogue", [offer.id for offer in configuration.catalogue])
    _check_unique("thresholds", [str(threshold.type) for threshold in configuration.thresholds])


def _check_durations(place: str, message: Message) -> None:
    """Seconds and nanoseconds of different signs, or a second and more of the latter, are no duration: it is kept as JSON, which has none such."""
    for field, value in message.ListFields():
        if not isinstance(value, Duration):
            continue
        try:
            value.ToJsonString()
        except ValueError:
            wrong = "seconds and nanos are no duration together"
            path = f"{place}.{field.name}"
            raise InvalidArgument(f"{path}: {wrong}", reason="INVALID_FIELD", violations={path: wrong}) from None


@contextmanager
def _within(place: str) -> Iterator[None]:
    """Violations found here are named as the request has them."""
    try:
        yield
    except InvalidArgument as error:
        violations = {f"{place}.{field}": problem for field, problem in error.violations.items()}
        raise InvalidArgument(error.message, reason=error.reason, violations=violations) from None


def _check_unique(field: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidArgument(
            f"configuration.{field} has two of the same name",
            reason="DUPLICATE_NAME",
            violations={f"configuration.{field}": "two of the same name"},
        )
