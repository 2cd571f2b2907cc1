"""Reading a JSON object that somebody else wrote: each field by its type, the rest named."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson

from malha.edge.errors import InvalidField, NotJson

Value = TypeVar("Value")

_MOST_UNKNOWN = 8
_LONGEST_NAME = 64


class Fields:
    """The fields of one object. Every reader raises InvalidField for a wrong type; null counts as not given."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values = values
        self._path = path
        self._known: set[str] = set()

    def text(self, name: str, default: str = "") -> str:
        value: str = self._read(name, str, "text", default)
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        value: bool = self._read(name, bool, "true or false", default)
        return value

    def optional_flag(self, name: str) -> bool | None:
        value: bool | None = self._read(name, bool, "true or false", None)
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number from ``low`` to ``high``."""
        value: int | None = self._read(name, int, "a whole number", None)
        if value is None or low <= value <= high:
            return value
        raise InvalidField(self._path + name, f"must be from {low} to {high}")

    def number(self, name: str) -> float | None:
        """A finite number."""
        value: float | None = self._read(name, int | float, "a number", None)
        if value is None or math.isfinite(value):
            return value
        raise InvalidField(self._path + name, "must be a finite number")

    def texts(self, name: str) -> list[str]:
        """A text, or a list of them."""
        value: Any = self._read(name, str | list, "text or a list of texts", None)
        items = [] if value is None else [value] if isinstance(value, str) else value
        if not all(isinstance(item, str) for item in items):
            raise InvalidField(self._path + name, "must be text or a list of texts")
        return items

    def choice(self, name: str, choices: Mapping[str, Value]) -> Value | None:
        """One of the named values."""
        value = self._read(name, str, "text", None)
        return None if value is None else choice_of(self._path + name, value, choices)

    def inner(self, name: str) -> "Fields":
        """An object inside this one; without fields where it is not given."""
        return Fields(self._read(name, dict, "an object", {}), f"{self._path}{name}.")

    def unknown(self) -> list[str]:
        """The names nobody asked for: bounded in number and length, for they are told back."""
        return [f"{self._path}{name}"[:_LONGEST_NAME] for name in self._values if name not in self._known][:_MOST_UNKNOWN]

    def _read(self, name: str, kind: Any, what: str, default: Any) -> Any:
        self._known.add(name)
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InvalidField(self._path + name, f"must be {what}")
        return value


def choice_of(field: str, value: str, choices: Mapping[str, Value]) -> Value:
    """The value a name stands for. Raises InvalidField naming all that are had."""
    if value not in choices:
        raise InvalidField(field, f"must be one of {', '.join(filter(None, choices))}")
    return choices[value]


def json_object(text: str | bytes, hint: str = "") -> dict[str, Any]:
    """A JSON object. Raises NotJson, with ``hint`` where it is no JSON at all."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise NotJson(f"this is not JSON{hint}") from None
    if not isinstance(value, dict):
        raise NotJson("a JSON object is expected")
    return value
