"""A question that a program asks is JSON: a window of a call with ids and roles. What was said in it, and how it is put beside other data."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

MOST_CHARACTERS: Final = 2000
"""Of what is looked up: the end of what was said."""
_NOT_SAID: Final = frozenset({"id", "ids", "role", "type", "language"})


def is_id(name: str) -> bool:
    """Whether a field of that name holds ids."""
    return name in {"id", "ids"} or name.endswith(("_id", "_ids"))


def data_of(text: str) -> Any:
    """The object or list that a text is, None where it is not JSON of these kinds."""
    if text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def said_in(text: str) -> str:
    """What to look up for a question: its words alone."""
    data = data_of(text)
    said = text if data is None else " ".join(_said(data))
    return said[-MOST_CHARACTERS:]


def _said(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _said(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _NOT_SAID and not is_id(name):
                yield from _said(item)
