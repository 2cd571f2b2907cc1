"""A row of another system as what is kept here. Fields go by any of several names; what cannot be understood is told by field, never quoted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from malha.store.text import storable

_NAME_LENGTH: Final = 128
_TEXT_LENGTH: Final = 65_536
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_MILLISECONDS: Final = 1e11
"""A number beyond is in milliseconds since 1970, not seconds."""

CUSTOMER_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "customer_id", "external_id"),
    "name": ("name", "full_name", "nome"),
    "email": ("email", "e_mail", "mail"),
    "phone": ("phone", "phone_number", "telephone", "telefone"),
    "source": ("source", "origin", "origem"),
    "status": ("status",),
}
CONVERSATION_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "conversation_id", "external_id"),
    "customer_id": ("customer_id", "customer", "cliente_id"),
    "channel": ("channel", "canal"),
    "status": ("status",),
    "subject": ("subject", "title", "topic", "assunto"),
    "started_at": ("started_at", "start_time", "created_at", "created"),
    "ended_at": ("ended_at", "end_time", "closed_at"),
    "duration_seconds": ("duration_seconds", "duration"),
}
MESSAGE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "message_id", "external_id"),
    "conversation_id": ("conversation_id", "conversation"),
    "sender_type": ("sender_type", "sender", "role", "author_type"),
    "sender_id": ("sender_id", "author_id"),
    "text": ("text", "content", "body", "message"),
    "created_at": ("created_at", "time", "timestamp", "sent_at"),
}
"""Names of fields and columns, the first one that is there counts."""

CHANNELS: Final = {
    **dict.fromkeys(("voice", "phone", "call", "telephone", "voz", "telefone"), "voice"),
    **dict.fromkeys(("whatsapp", "wa"), "whatsapp"),
    **dict.fromkeys(("site", "web", "website", "webchat", "chat"), "site"),
}
STATUSES: Final = {
    **dict.fromkeys(("open", "active", "pending", "aberta", "aberto"), "open"),
    **dict.fromkeys(("closed", "resolved", "ended", "finished", "done", "fechada", "fechado"), "closed"),
    **dict.fromkeys(("abandoned", "missed", "abandonada", "abandonado"), "abandoned"),
}
SENDERS: Final = {
    **dict.fromkeys(("customer", "user", "client", "contact", "cliente"), "customer"),
    **dict.fromkeys(("agent", "operator", "human", "atendente", "operador"), "agent"),
    **dict.fromkeys(("bot", "ai", "assistant"), "bot"),
    "system": "system",
}


class BadRecordError(ValueError):
    """A row that cannot be kept: ``field`` says where, ``wrong`` why. Neither holds what is in it."""

    def __init__(self, field: str, wrong: str) -> None:
        super().__init__(f"{field}: {wrong}")
        self.field = field
        self.wrong = wrong


@dataclass(frozen=True, slots=True)
class CustomerRecord:
    """A customer, by the other system's name for them."""

    id: str
    name: str
    email: str
    phone: str
    source: str
    status: str


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation, by the other system's name for it."""

    id: str
    customer_id: str | None
    channel: str
    status: str
    subject: str
    started_at: datetime | None
    ended_at: datetime | None
    duration_seconds: float | None


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message, by the other system's names for it and for its conversation."""

    id: str
    conversation_id: str
    sender_type: str
    sender_id: str
    text: str
    created_at: datetime | None


class Fields:
    """A row's values by the names of `CUSTOMER_FIELDS` and the like."""

    def __init__(self, row: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> None:
        self._values = {field: next((row[name] for name in among if row.get(name) is not None), None) for field, among in names.items()}

    def text(self, field: str, most: int = 500) -> str:
        """Text, or a number as text. Empty where there is none."""
        value = self._values[field]
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise BadRecordError(field, "must be text")
        text = storable(str(value))
        if len(text) > most:
            raise BadRecordError(field, f"has more than {most} characters")
        return text

    def name(self, field: str, prefix: str) -> str:
        """A name for a thing; required."""
        text = self.text(field, _NAME_LENGTH).strip()
        if not text:
            raise BadRecordError(field, "is missing")
        if len(prefix) + len(text) > _NAME_LENGTH:
            raise BadRecordError(field, f"has more than {_NAME_LENGTH} characters, the prefix included")
        return prefix + text

    def choice(self, field: str, choices: Mapping[str, str], default: str | None) -> str:
        """One of several words."""
        text = self.text(field).strip().lower()
        if not text and default is not None:
            return default
        if text not in choices:
            raise BadRecordError(field, f"must be one of {', '.join(dict.fromkeys(choices.values()))}")
        return choices[text]

    def moment(self, field: str) -> datetime | None:
        """ISO 8601, or seconds or milliseconds since 1970. Without a zone it is UTC."""
        value = self._values[field]
        if value is None or value == "":
            return None
        told = _moment(value)
        if told is None or not _EARLIEST <= told < _LATEST:
            raise BadRecordError(field, "must be a time as in ISO 8601, or seconds since 1970")
        return told

    def seconds(self, field: str) -> float | None:
        """A duration."""
        value = self._values[field]
        if value is None or value == "":
            return None
        try:
            seconds = float(value)
        except (TypeError, ValueError, OverflowError):
            raise BadRecordError(field, "must be a number of seconds") from None
        if isinstance(value, bool) or not 0 <= seconds < math.inf:
            raise BadRecordError(field, "must be a number of seconds, not negative")
        return seconds


def customer(row: Mapping[str, Any], prefix: str = "") -> CustomerRecord:
    """Raises BadRecordError."""
    fields = Fields(row, CUSTOMER_FIELDS)
    return CustomerRecord(
        fields.name("id", prefix),
        fields.text("name"),
        fields.text("email", 320),
        fields.text("phone", 64),
        fields.text("source", _NAME_LENGTH),
        fields.text("status", 64) or "active",
    )


def conversation(row: Mapping[str, Any], prefix: str = "") -> ConversationRecord:
    """Raises BadRecordError."""
    fields = Fields(row, CONVERSATION_FIELDS)
    ended_at = fields.moment("ended_at")
    return ConversationRecord(
        fields.name("id", prefix),
        fields.name("customer_id", prefix) if fields.text("customer_id", _NAME_LENGTH).strip() else None,
        fields.choice("channel", CHANNELS, "voice"),
        fields.choice("status", STATUSES, "closed" if ended_at else "open"),
        fields.text("subject", 1000),
        fields.moment("started_at"),
        ended_at,
        fields.seconds("duration_seconds"),
    )


def message(row: Mapping[str, Any], prefix: str = "") -> MessageRecord:
    """Raises BadRecordError."""
    fields = Fields(row, MESSAGE_FIELDS)
    text = fields.text("text", _TEXT_LENGTH)
    if not text:
        raise BadRecordError("text", "is missing")
    return MessageRecord(
        fields.name("id", prefix),
        fields.name("conversation_id", prefix),
        fields.choice("sender_type", SENDERS, None),
        fields.text("sender_id", _NAME_LENGTH),
        text,
        fields.moment("created_at"),
    )


def _moment(value: Any) -> datetime | None:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if abs(value) > _MILLISECONDS else value, UTC)
        told = datetime.fromisoformat(value)
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
