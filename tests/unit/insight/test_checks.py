"""What a tenant may not set, and that violations name the places as the request has them."""

import pytest

from malha.api.insight.v1 import rules_pb2
from malha.insight.checks import check_configuration, check_rule
from malha.runtime.errors import InvalidArgument


def test_what_makes_sense_is_taken() -> None:
    check_configuration(rules_pb2.Configuration())
    check_configuration(
        rules_pb2.Configuration(glossary={"melha": "Malha"}, keywords=["fidelização"], policies=[{"name": "x", "kind": "counter"}])
    )
    check_rule(rules_pb2.Rule(id="r", type=3, message="m", condition={"any_of": ["reembolso"]}))


@pytest.mark.parametrize(
    ("fields", "reason", "place"),
    [
        ({"glossary": {"a": "b", "malha": "malha"}}, "INVALID_GLOSSARY", "configuration.glossary.entries[1]"),
        ({"keywords": ["bom", "..."]}, "INVALID_KEYWORD", "configuration.keywords[1]"),
        ({"catalogue": [{"id": "o", "name": "?"}]}, "INVALID_KEYWORD", "configuration.catalogue[0].name"),
        ({"policies": [{"name": "x", "kind": "counter", "min_words": 0}]}, "INVALID_POLICY", "configuration.policies[0].min_words"),
        ({"policies": [{"name": "x"}, {"name": "x"}]}, "DUPLICATE_NAME", "configuration.policies"),
        ({"catalogue": [{"id": "o", "name": "a"}, {"id": "o", "name": "b"}]}, "DUPLICATE_NAME", "configuration.catalogue"),
        ({"thresholds": [{"type": 3}, {"type": 3}]}, "DUPLICATE_NAME", "configuration.thresholds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object], reason: str, place: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_configuration(rules_pb2.Configuration(**fields))  # type: ignore[arg-type]  # as a client without types
    assert (raised.value.reason, list(raised.value.violations)) == (reason, [place])


def test_a_rule_s_violations_are_under_its_name() -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_rule(rules_pb2.Rule(id="", type=3, message=" "))
    assert {"rule.id", "rule.message", "rule.condition"} == set(raised.value.violations)
