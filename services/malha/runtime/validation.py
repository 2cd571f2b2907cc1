"""The rules written in the contracts (protovalidate), enforced once, where a message enters a process."""

from google.protobuf.message import Message
from protovalidate import ValidationError, Validator

from malha.runtime.errors import InvalidArgument

_validator = Validator()


def validate(message: Message) -> None:
    """Raise InvalidArgument naming every field that breaks a rule. Values are never quoted."""
    try:
        _validator.validate(message)
    except ValidationError as error:
        violations = {_path(violation.proto): violation.proto.message or violation.proto.rule_id for violation in error.violations}
        raise InvalidArgument(
            "; ".join(f"{field or 'the message'}: {text}" for field, text in violations.items()), reason="INVALID_FIELD", violations=violations
        ) from None


def _path(violation: object) -> str:
    elements = violation.field.elements if violation.field is not None else ()  # type: ignore[attr-defined]  # protovalidate's Violation is untyped
    return ".".join(element.field_name for element in elements)
