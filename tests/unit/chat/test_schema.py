"""Answers to schemas."""

import json
from typing import Any

import pytest

from malha.chat.errors import ModelAnswerCut, ModelAnswerInvalid
from malha.chat.schema import check_answer, parse_schema
from malha.runtime.errors import InvalidArgument

INSIGHT = {
    "type": "object",
    "properties": {
        "type": {"enum": ["next_step", "risk_alert"]},
        "message": {"type": "string", "minLength": 1, "maxLength": 20},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "evidence": {"type": "array", "items": {"$ref": "#/$defs/evidence"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["type", "message"],
    "additionalProperties": False,
    "$defs": {"evidence": {"type": "object", "properties": {"id": {"type": ["string", "null"]}}}},
}
GOOD = {"type": "next_step", "message": "Ligue", "confidence": 1, "evidence": [{"id": "s1"}]}


def check(answer: Any, schema: dict[str, Any] = INSIGHT) -> str:
    parsed = parse_schema(json.dumps(schema))
    assert parsed is not None
    return check_answer(f" {json.dumps(answer)}\n", parsed, cut=False)


def test_a_good_answer_comes_back_without_space_around_it() -> None:
    assert check(GOOD) == json.dumps(GOOD)
    assert check(GOOD | {"evidence": [{"id": None}]})


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"type": "next_step"},
        GOOD | {"type": "upsell"},
        GOOD | {"message": ""},
        GOOD | {"message": "x" * 21},
        GOOD | {"confidence": 1.5},
        GOOD | {"confidence": True},
        GOOD | {"confidence": "1"},
        GOOD | {"evidence": []},
        GOOD | {"evidence": [{}, {}, {}]},
        GOOD | {"evidence": [{"id": 7}]},
        GOOD | {"extra": 1},
    ],
)
def test_a_wrong_answer_is_none(wrong: Any) -> None:
    with pytest.raises(ModelAnswerInvalid):
        check(wrong)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, 1),
        ({"oneOf": [{"minimum": 3}, {"maximum": 5}]}, 1, 4),
        ({"allOf": [{"minimum": 3}, {"maximum": 5}]}, 4, 6),
        ({"const": [1]}, [1], [2]),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3}, 2.0, 3),
        ({"properties": {"a": False}}, {"b": 1}, {"a": 1}),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "boolean"}}}, True, 0),
    ],
)
def test_other_keywords(schema: dict[str, Any], good: Any, bad: Any) -> None:
    check(good, schema)
    with pytest.raises(ModelAnswerInvalid):
        check(bad, schema)


def test_what_is_no_json_or_was_cut_is_told_apart() -> None:
    with pytest.raises(ModelAnswerInvalid):
        check_answer("Claro! {", INSIGHT, cut=False)
    with pytest.raises(ModelAnswerCut):
        check_answer(json.dumps(GOOD), INSIGHT, cut=True)


@pytest.mark.parametrize(
    "schema",
    [
        "{",
        "[]",
        '{"type": "strin"}',
        '{"type": 3}',
        '{"required": "a"}',
        '{"required": [1]}',
        '{"properties": []}',
        '{"maxLength": "3"}',
        '{"items": 3}',
        '{"$ref": "http://169.254.169.254/"}',
        '{"$ref": "#/$defs/nothing"}',
        '{"items":' * 80 + "{}" + "}" * 80,
    ],
)
def test_a_wrong_schema_is_refused(schema: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_schema(schema)
    assert refused.value.reason == "INVALID_SCHEMA"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": False}, "$ref": "#/$defs/d0"},
    ],
)
def test_a_schema_that_never_ends_does(schema: dict[str, Any]) -> None:
    with pytest.raises(ModelAnswerInvalid):
        check({}, schema)
