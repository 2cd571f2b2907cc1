"""Text that PostgreSQL can keep. It refuses NUL, UTF-8 has no lone surrogates, and JSON can smuggle in both as escapes."""

import re
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The text without NUL and lone surrogates."""
    return _UNSTORABLE.sub("", text) if _UNSTORABLE.search(text) else text


def storable_json(value: Any) -> Any:
    """A JSON value whose strings and keys are all `storable`. Of keys that become equal the last holds."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(key): storable_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(item) for item in value]
    return value
