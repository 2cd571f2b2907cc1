"""The rules written in the contracts (protovalidate), enforced once, where a message enters a process."""

import re
from collections.abc import Callable
from typing import Any, Final

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from protovalidate import ValidationError, Validator

from malha.runtime.errors import InvalidArgument

_LEAST: Final = frozenset({"string.min_len", "bytes.min_len", "repeated.min_items"})
_ANY_OF: Final = re.compile(r"\^\[([^\]]+)\]\*\$")

_validator = Validator()


def validate(message: Message) -> None:
    """Raise InvalidArgument naming every field that breaks a rule. Values are never quoted."""
    try:
        _validator.validate(message)
    except ValidationError as error:
        violations = {_path(violation.proto): _words(violation, message.DESCRIPTOR) for violation in error.violations}
        raise _invalid(violations) from None


def stream_validator(request: Descriptor) -> Callable[[Message], None]:
    """The validator of a stream's requests, which are a oneof.

    protovalidate copies a message to look at it: 10 us and more for 100 ms of audio. So kinds whose only rules are lengths of bytes (audio,
    a piece of a document) are checked here, by the same rules, read from the contract; every other kind goes to protovalidate.
    """
    lengths = {field.name: rules for field in request.oneofs_by_name["request"].fields if (rules := _only_lengths(field)) is not None}

    def check(message: Message) -> None:
        kind = message.WhichOneof("request")
        rules = lengths.get(kind) if kind is not None else None
        if rules is None:
            validate(message)
            return
        part = getattr(message, kind)
        for name, limit in rules:
            if len(getattr(part, name)) > limit:
                raise _invalid({f"{kind}.{name}": f"value length must be at most {limit} bytes"})

    return check


def _only_lengths(field: FieldDescriptor) -> tuple[tuple[str, int], ...] | None:
    """(field, most bytes) of a message whose rules say no more than that; None if they do."""
    kind = field.message_type
    if kind is None or kind.GetOptions().HasExtension(validate_pb2.message) or field.GetOptions().HasExtension(validate_pb2.field):
        return None
    limits = []
    for part in kind.fields:
        if part.message_type is not None or part.is_repeated or part.containing_oneof not in (None, *_optional(part)):
            return None
        options = part.GetOptions()
        if options.HasExtension(validate_pb2.field):
            rules = options.Extensions[validate_pb2.field]
            if rules != validate_pb2.FieldRules(bytes=validate_pb2.BytesRules(max_len=rules.bytes.max_len)):
                return None
            limits.append((part.name, rules.bytes.max_len))
    return tuple(limits) if limits else None


def _optional(field: FieldDescriptor) -> tuple[object, ...]:
    """The oneof protobuf makes up for an `optional` field."""
    oneof = field.containing_oneof
    return (oneof,) if oneof is not None and oneof.name == f"_{field.name}" else ()


def _invalid(violations: dict[str, str]) -> InvalidArgument:
    message = "; ".join(f"{field or 'the message'}: {text}" for field, text in violations.items())
    return InvalidArgument(message, reason="INVALID_FIELD", violations=violations)


def _words(violation: Any, descriptor: Any) -> str:
    """What is wrong: protovalidate's words, but for rules whose words do not say what would be right."""
    told, field = violation.proto, _field(descriptor, _names(violation.proto))
    if told.rule_id in _LEAST and violation.rule_value == 1:
        return "is required"
    if told.rule_id == "string.pattern" and (characters := _ANY_OF.fullmatch(violation.rule_value)):
        return f"may only have these characters: {characters[1]}"
    if field is not None and field.enum_type is not None and told.rule_id == "enum.not_in":
        return f"must be one of {', '.join(value.name for value in field.enum_type.values if value.number)}"
    if field is not None and field.message_type is not None and told.rule_id == "required":
        known = field.message_type.full_name.startswith("google.protobuf.")  # in JSON they are no objects of these fields
        return "is required" if known else f"is required: {', '.join(part.name for part in field.message_type.fields)}"
    words: str = told.message or told.rule_id
    return words


def _field(descriptor: Descriptor | None, path: list[str]) -> FieldDescriptor | None:
    field: FieldDescriptor | None = None
    for name in path:
        field = descriptor.fields_by_name.get(name) if descriptor is not None else None
        descriptor = field.message_type if field is not None else None
    return field


def _path(violation: Any) -> str:
    return ".".join(_names(violation))


def _names(violation: Any) -> list[str]:
    return [element.field_name for element in violation.field.elements] if violation.field is not None else []
