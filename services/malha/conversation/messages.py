"""Between the contract's messages and the domain: times, enums, conversations, customers, transcripts, JSON."""

import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.conversation.v1 import conversation_pb2 as api
from malha.api.conversation.v1 import customer_pb2
from malha.conversation.store.conversations import Conversation
from malha.conversation.store.customers import Customer
from malha.conversation.store.transcript import Entry, Message, Segment
from malha.runtime.auth import Principal
from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.runtime.pages import micros

CHANNELS: Final = {
    "voice": api.CONVERSATION_CHANNEL_VOICE,
    "whatsapp": api.CONVERSATION_CHANNEL_WHATSAPP,
    "site": api.CONVERSATION_CHANNEL_SITE,
}
STATUSES: Final = {
    "open": api.CONVERSATION_STATUS_OPEN,
    "closed": api.CONVERSATION_STATUS_CLOSED,
    "abandoned": api.CONVERSATION_STATUS_ABANDONED,
}
SENDERS: Final = {
    "customer": api.SENDER_TYPE_CUSTOMER,
    "agent": api.SENDER_TYPE_AGENT,
    "bot": api.SENDER_TYPE_BOT,
    "system": api.SENDER_TYPE_SYSTEM,
}
_FIRST: Final = datetime.min.replace(tzinfo=UTC) + timedelta(microseconds=1)
_LAST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(microseconds=1)
_ROLES: Final = {"agent": media_pb2.ROLE_AGENT, "customer": media_pb2.ROLE_CUSTOMER}
_SEGMENT_STATES: Final = {"final": transcript_pb2.SEGMENT_STATE_FINAL, "amended": transcript_pb2.SEGMENT_STATE_AMENDED}


def tenant_of(principal: Principal) -> uuid.UUID:
    """The caller's tenant. Raises FailedPrecondition where this server keeps nothing."""
    if principal.tenant_id is None:
        raise FailedPrecondition("this server keeps nothing: set MALHA_DATABASE_URL, or run `malha up`", reason="STORE_NOT_CONFIGURED")
    return principal.tenant_id


def name_of(names: Mapping[str, int], value: int) -> str | None:
    """The domain's name of an enum's value; None for unspecified."""
    return next((name for name, number in names.items() if number == value), None)


def moment(message: Any, field: str) -> datetime | None:
    """The moment in a field, None where it is not set. Raises InvalidArgument for one that no calendar has.

    asyncpg keeps the very first and last of a calendar as infinite, which no message can tell: these lie a microsecond further in.
    """
    if not message.HasField(field):
        return None
    try:
        told: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid(field, "must be from the year 1 to the year 9999") from None
    return min(max(told, _FIRST), _LAST)


def timestamp(told: datetime | None) -> Timestamp | None:
    if told is None:
        return None
    message = Timestamp()
    _set_micros(message, micros(told))
    return message


def seconds(value: float | None) -> Duration | None:
    if value is None:
        return None
    message = Duration()
    _set_micros(message, round(value * 1e6))
    return message


def interval(message: Duration) -> timedelta:
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def invalid(field: str, wrong: str, *, reason: str = "INVALID_FIELD") -> InvalidArgument:
    """The error for a field's value."""
    return InvalidArgument(f"{field}: {wrong}", reason=reason, violations={field: wrong})


def conversation_message(kept: Conversation) -> api.Conversation:
    return api.Conversation(
        id=str(kept.id),
        external_id=kept.external_id or "",
        customer_id=str(kept.customer_id or ""),
        channel=CHANNELS[kept.channel],
        status=STATUSES[kept.status],
        subject=kept.subject,
        session_id=str(kept.session_id or ""),
        start_time=timestamp(kept.started_at),
        end_time=timestamp(kept.ended_at),
        duration=seconds(kept.duration_seconds),
    )


def customer_message(kept: Customer) -> customer_pb2.Customer:
    return customer_pb2.Customer(
        id=str(kept.id),
        external_id=kept.external_id or "",
        name=kept.name,
        email=kept.email,
        phone=kept.phone,
        source=kept.source,
        status=kept.status,
        create_time=timestamp(kept.created_at),
        update_time=timestamp(kept.updated_at),
    )


def fill_entry(message: api.TranscriptEntry, entry: Entry) -> None:
    """Write an entry into its message, part by part: a transcript has thousands, and parts made first are copied."""
    _set_micros(message.time, micros(entry.at))
    if isinstance(entry.what, Segment):
        message.session_id = str(entry.what.session_id)
        _fill_segment(message.segment, entry.what)
    else:
        message.message.CopyFrom(message_message(entry.what))


def message_message(kept: Message) -> api.Message:
    return api.Message(
        id=str(kept.id),
        external_id=kept.external_id or "",
        sender_type=SENDERS[kept.sender_type],
        sender_id=kept.sender_id,
        text=kept.text,
        create_time=timestamp(kept.created_at),
    )


def _fill_segment(message: transcript_pb2.Segment, kept: Segment) -> None:
    message.id = kept.segment_id
    message.revision = kept.revision
    message.state = _SEGMENT_STATES[kept.state]
    message.channel = kept.channel
    message.role = _ROLES.get(kept.role, media_pb2.ROLE_UNSPECIFIED)
    message.speaker = kept.speaker
    message.text = kept.text
    _set_micros(message.start, round(kept.start_seconds * 1e6))
    _set_micros(message.end, round(kept.end_seconds * 1e6))
    if kept.confidence is not None:
        message.confidence = kept.confidence
    for word in kept.words or ():
        _fill_word(message.words.add(), word)


def _fill_word(message: transcript_pb2.Word, word: Mapping[str, Any]) -> None:
    """Of a word as the call stored it: text, start and end in seconds, confidence, speaker."""
    message.text = word.get("text") or ""
    message.speaker = word.get("speaker") or ""
    if (start := word.get("start")) is not None:
        _set_micros(message.start, round(start * 1e6))
    if (end := word.get("end")) is not None:
        _set_micros(message.end, round(end * 1e6))
    if (confidence := word.get("confidence")) is not None:
        message.confidence = confidence


def _set_micros(message: Duration | Timestamp, value: int) -> None:
    whole, fraction = divmod(value, 1_000_000)
    message.seconds = whole
    message.nanos = fraction * 1000


def json_of(struct: Struct) -> dict[str, Any]:
    """A JSON object. Whole numbers become integers. Raises InvalidArgument for a number that JSON has not."""
    return {name: _json_value(value) for name, value in struct.fields.items()}


def _json_value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            raise invalid("value", "has a number that JSON does not know")
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if kind == "struct_value":
        return json_of(value.struct_value)
    if kind == "list_value":
        return [_json_value(item) for item in value.list_value.values]
    return None if kind is None or kind == "null_value" else getattr(value, kind)


def struct_of(value: Mapping[str, Any]) -> Struct:
    """A JSON object as the contract has it."""
    return Struct(fields={name: _value_of(item) for name, item in value.items()})


def _value_of(item: Any) -> Value:
    if item is None:
        return Value(null_value=0)  # type: ignore[arg-type]  # the enum's only value
    if isinstance(item, bool):
        return Value(bool_value=item)
    if isinstance(item, int | float):
        return Value(number_value=item)
    if isinstance(item, str):
        return Value(string_value=item)
    if isinstance(item, list):
        return Value(list_value=ListValue(values=map(_value_of, item)))
    return Value(struct_value=struct_of(item))
