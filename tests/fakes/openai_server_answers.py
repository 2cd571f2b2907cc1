"""What the fake OpenAI-compatible server says when nobody tells it otherwise: Portuguese, the least that a schema allows, embeddings of words."""

import base64
import hashlib
import math
import re
import struct
from typing import Any

SENTENCE = "Certo. Vou verificar isso agora mesmo."
GOING_ON = " E assim por diante."
"""What follows on the beginning of an answer that is not its own."""
DIMENSIONS = 64

_PIECES = re.compile(r"\s*\S+|\s+$")


def pieces(text: str) -> list[str]:
    """The tokens of this server: a word with the space before it."""
    return _PIECES.findall(text)


def least(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """A value that a JSON schema allows: the first of what may be chosen, `SENTENCE` where text is wanted."""
    root = schema if root is None else root
    if "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return least(target, root)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return least(schema[choice][0], root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: least(part, root) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [least(schema.get("items", {"type": "string"}), root)] * schema.get("minItems", 0)
        case "string":
            return SENTENCE[: schema.get("maxLength", len(SENTENCE))].ljust(schema.get("minLength", 0), "x")
        case "boolean":
            return False
        case "null":
            return None
        case "integer":
            return math.ceil(schema.get("minimum", 0))
        case _:
            return schema.get("minimum", 0.0)


def embedding(text: str) -> list[float]:
    """A unit vector, near those of texts that share words."""
    vector = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", text.casefold()):
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        vector[digest[0] % DIMENSIONS] += 1.0 if digest[1] & 1 else -1.0
    length = math.hypot(*vector) or 1.0
    return [value / length for value in vector]


def encoded(vector: list[float], encoding: str) -> list[float] | str:
    """As ``encoding_format`` asks: the official client asks for base64 of little-endian float32."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if encoding == "base64" else vector
