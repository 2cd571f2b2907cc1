"""A request's JSON as its message, and what is wrong with it in words.

protobuf's own errors quote what was sent, however long, and name its types; a caller is told the field and what it takes instead.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from malha.edge.errors import InvalidField

M = TypeVar("M", bound=Message)

MOST_LEVELS = 33
"""Of free JSON: each is three of the hundred that a message of protobuf may have, and two of those that are counted while it is read."""
NAME_CHARACTERS = 64
"""Of a field nobody knows, in an error."""

_KINDS: Mapping[int, str] = {
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_INT64: "a whole number of 64 bits",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number of 32 bits, not negative",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number of 64 bits, not negative",
}
_MESSAGES: Mapping[str, str] = {
    "google.protobuf.Timestamp": 'a time such as "2026-01-31T10:00:00Z"',
    "google.protobuf.Duration": 'a duration in seconds such as "3.5s"',
}


def message_of(values: dict[str, Any], request_type: Callable[[], M]) -> M:
    """The message that JSON values stand for. Raises InvalidField, which holds no value."""
    message = request_type()
    try:
        json_format.ParseDict(values, message, max_recursion_depth=2 * MOST_LEVELS + 1)
    except json_format.ParseError:
        raise _wrong(values, cast("Descriptor", message.DESCRIPTOR), "") from None
    return message


def _wrong(values: dict[str, Any], descriptor: Descriptor, place: str) -> InvalidField:
    """What is wrong: the first field that cannot be read by itself."""
    known = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    for name, value in values.items():
        field = known.get(name)
        if field is None:
            names = ", ".join(field.name for field in descriptor.fields)
            return InvalidField(place + name[:NAME_CHARACTERS], f"is not a field of this request: there are {names}")
        try:
            json_format.ParseDict({name: value}, message_factory.GetMessageClass(descriptor)(), max_recursion_depth=2 * MOST_LEVELS + 1)
        except json_format.ParseError:
            inner = field.message_type
            if (
                isinstance(value, dict)
                and inner is not None
                and not field.is_repeated
                and not inner.full_name.startswith("google.protobuf.")
            ):
                return _wrong(value, inner, f"{place}{field.name}.")
            return InvalidField(place + field.name, f"must be {_wanted(field)}")
    return InvalidField(place.rstrip(".") or "body", "holds fields that exclude each other")


def _wanted(field: FieldDescriptor) -> str:
    single = _wanted_once(field)
    return f"a list, each of it {single}" if field.is_repeated else single


def _wanted_once(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return f"one of {', '.join(_names(field.enum_type))}"
    if field.message_type is not None:
        return _MESSAGES.get(field.message_type.full_name) or _object(field.message_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return "bytes in base64"
    return _KINDS.get(field.cpp_type, "text")


def _object(kind: Descriptor) -> str:
    if kind.full_name.startswith("google.protobuf."):
        return f"a JSON object, at most {MOST_LEVELS} levels deep"
    return f"a JSON object of {', '.join(field.name for field in kind.fields)}"


def _names(kind: EnumDescriptor) -> list[str]:
    """Of an enum's values, without the one that stands for none."""
    return [value.name for value in kind.values if value.number]
