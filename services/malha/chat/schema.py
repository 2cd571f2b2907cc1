"""Whether an answer satisfies the JSON schema it was asked for: the part of JSON Schema (2020-12) that models are bound to, in bounded time.

Types, properties, required, additional properties, items, enum, const, limits of numbers, lengths and counts, anyOf, oneOf, allOf and references
within the schema. ``pattern`` and ``format`` are the model server's business: an expression of a caller's is not run here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from malha.chat.errors import ModelAnswerCut, ModelAnswerInvalid
from malha.runtime.errors import InvalidArgument

MOST_STEPS: Final = 50_000
"""Of one check: references can make a small schema as large as one likes."""
MOST_DEPTH: Final = 64

_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer()),
}
_LIMITS: Final[Mapping[str, tuple[type | tuple[type, ...], Callable[[Any, Any], bool]]]] = {
    "minimum": ((int, float), lambda value, limit: value >= limit),
    "maximum": ((int, float), lambda value, limit: value <= limit),
    "exclusiveMinimum": ((int, float), lambda value, limit: value > limit),
    "exclusiveMaximum": ((int, float), lambda value, limit: value < limit),
    "minLength": (str, lambda value, limit: len(value) >= limit),
    "maxLength": (str, lambda value, limit: len(value) <= limit),
    "minItems": (list, lambda value, limit: len(value) >= limit),
    "maxItems": (list, lambda value, limit: len(value) <= limit),
}


def parse_schema(text: str) -> Mapping[str, Any] | None:
    """The schema of `open`, None for an empty text. Raises InvalidArgument (INVALID_SCHEMA)."""
    if not text:
        return None
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"is not JSON (line {error.lineno}, column {error.colno})") from None
    if not isinstance(schema, dict):
        raise _invalid("must be a JSON object")
    _check_schema(schema, schema, 0)
    return schema


def check_answer(text: str, schema: Mapping[str, Any], *, cut: bool) -> str:
    """The answer without white space around it. Raises ModelAnswerCut where it ended at its limit, ModelAnswerInvalid where it does not satisfy."""
    if cut:
        raise ModelAnswerCut("the answer ended at its limit of tokens before it was whole")
    answer = text.strip()
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError:
        raise ModelAnswerInvalid("the answer is not JSON") from None
    if not _Checker(schema).fits(value, schema, 0):
        raise ModelAnswerInvalid("the answer does not satisfy the schema")
    return answer


class _Checker:
    """Checks one answer."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0

    def fits(self, value: Any, schema: Any, depth: int) -> bool:
        self._steps += 1
        if self._steps > MOST_STEPS or depth > MOST_DEPTH:
            raise ModelAnswerInvalid("the answer is too deep to be checked")
        if isinstance(schema, bool):
            return schema
        if "$ref" in schema and not self.fits(value, resolve(self._root, schema["$ref"]), depth + 1):
            return False
        return self._fits_itself(value, schema) and self._fits_parts(value, schema, depth) and self._fits_choices(value, schema, depth)

    def _fits_itself(self, value: Any, schema: Mapping[str, Any]) -> bool:
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if kinds and not any(_TYPES[kind](value) for kind in kinds):
            return False
        if "enum" in schema and value not in schema["enum"]:
            return False
        if "const" in schema and value != schema["const"]:
            return False
        return all(
            fits(value, schema[name])
            for name, (kind, fits) in _LIMITS.items()
            if name in schema and isinstance(value, kind) and not isinstance(value, bool)
        )

    def _fits_parts(self, value: Any, schema: Mapping[str, Any], depth: int) -> bool:
        if isinstance(value, list):
            return "items" not in schema or all(self.fits(item, schema["items"], depth + 1) for item in value)
        if not isinstance(value, dict):
            return True
        if not set(schema.get("required", ())) <= value.keys():
            return False
        properties, other = schema.get("properties", {}), schema.get("additionalProperties", True)
        return all(self.fits(item, properties.get(name, other), depth + 1) for name, item in value.items())

    def _fits_choices(self, value: Any, schema: Mapping[str, Any], depth: int) -> bool:
        if not all(self.fits(value, part, depth + 1) for part in schema.get("allOf", ())):
            return False
        if "anyOf" in schema and not any(self.fits(value, part, depth + 1) for part in schema["anyOf"]):
            return False
        return "oneOf" not in schema or sum(self.fits(value, part, depth + 1) for part in schema["oneOf"]) == 1


def resolve(root: Mapping[str, Any], reference: Any) -> Any:
    """What a reference within the schema (``#/$defs/name``) stands for. Raises InvalidArgument for any other."""
    target: Any = root
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise _invalid("has a reference that leads out of it")
    for part in reference.split("/")[1:]:
        target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
    if not isinstance(target, dict | bool):
        raise _invalid("has a reference that leads nowhere")
    return target


def _check_schema(schema: Any, root: Mapping[str, Any], depth: int) -> None:
    """Raise InvalidArgument where a keyword does not hold what it should."""
    if depth > MOST_DEPTH:
        raise _invalid("is too deep")
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _invalid("has something that is no schema where one should be")
    kinds = schema.get("type", [])
    if any(kind not in _TYPES for kind in ([kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else [None])):
        raise _invalid("has an unknown `type`")
    for name in _LIMITS:
        if name in schema and not _TYPES["number"](schema[name]):
            raise _invalid(f"has a `{name}` that is no number")
    for name in ("enum", "required", "anyOf", "oneOf", "allOf"):
        if name in schema and not isinstance(schema[name], list):
            raise _invalid(f"has a `{name}` that is no list")
    if any(not isinstance(name, str) for name in schema.get("required", ())):
        raise _invalid("has a `required` that is no list of names")
    for name in ("properties", "$defs", "definitions"):
        if not isinstance(schema.get(name, {}), dict):
            raise _invalid(f"has `{name}` that is no object")
    if "$ref" in schema:
        resolve(root, schema["$ref"])
    parts = [part for name in ("anyOf", "oneOf", "allOf") for part in schema.get(name, ())]
    parts += [part for name in ("properties", "$defs", "definitions") for part in schema.get(name, {}).values()]
    parts += [schema[name] for name in ("items", "additionalProperties") if name in schema]
    for part in parts:
        _check_schema(part, root, depth + 1)


def _invalid(wrong: str) -> InvalidArgument:
    return InvalidArgument(f"open.response_schema {wrong}", reason="INVALID_SCHEMA", violations={"open.response_schema": wrong})
