"""Rows of other systems: understood by many names, refused by field and never by content."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from malha.conversation.importing import jsonl
from malha.conversation.importing.records import BadRecordError, conversation, customer, message

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_names_and_words_of_other_systems_are_understood() -> None:
    kept = conversation(
        {"id": 17, "cliente_id": "7", "canal": " Telefone ", "status": "RESOLVED", "title": "Fatura", "created_at": "2026-01-31 12:00:00"},
        "old-",
    )
    assert (kept.id, kept.customer_id, kept.channel, kept.status, kept.subject, kept.started_at) == (
        "old-17", "old-7", "voice", "closed", "Fatura", NOON,
    )  # fmt: skip
    assert message({"id": "m", "conversation": "c", "role": "assistant", "content": "a\x00b\ud800"}).text == "ab"
    assert customer({"customer_id": "7", "nome": "Ana"}).name == "Ana"


@pytest.mark.parametrize(
    "told", ["2026-01-31T12:00:00Z", "2026-01-31 09:00:00-03", "2026-01-31T12:00:00", NOON.timestamp(), int(NOON.timestamp() * 1000)]
)
def test_times_are_understood(told: Any) -> None:
    assert conversation({"id": "c", "started_at": told}).started_at == NOON


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({}, "id"),
        ({"id": " "}, "id"),
        ({"id": "\x00"}, "id"),
        ({"id": ["secret"]}, "id"),
        ({"id": True}, "id"),
        ({"id": "secret" * 30}, "id"),
        ({"id": "c", "channel": "secret"}, "channel"),
        ({"id": "c", "status": "secret"}, "status"),
        ({"id": "c", "subject": "secret" * 200}, "subject"),
        ({"id": "c", "started_at": "secret"}, "started_at"),
        ({"id": "c", "started_at": "infinity"}, "started_at"),
        ({"id": "c", "started_at": "0001-01-01T00:00:00+23:00"}, "started_at"),
        ({"id": "c", "started_at": 1e300}, "started_at"),
        ({"id": "c", "ended_at": True}, "ended_at"),
        ({"id": "c", "duration": -1}, "duration_seconds"),
        ({"id": "c", "duration": "nan"}, "duration_seconds"),
        ({"id": "c", "duration": {"secret": 1}}, "duration_seconds"),
    ],
)
def test_a_bad_row_is_told_by_field_and_not_quoted(row: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRecordError) as raised:
        conversation(row)
    assert raised.value.field == field
    assert "secret" not in str(raised.value)


def test_a_message_needs_a_sender_and_text() -> None:
    good = {"id": "m", "conversation_id": "c", "sender_type": "agent", "text": "x"}
    assert message(good).created_at is None
    for field in good:
        with pytest.raises(BadRecordError) as raised:
            message({**good, field: None})
        assert raised.value.field == field


def test_a_line_has_its_customer_and_messages(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    file.write_bytes(
        b'\xef\xbb\xbf{"id": "c", "started_at": "2026-01-31T12:00:00Z", "customer": {"email": "a@x"}, "messages": ['
        b'{"sender_type": "bot", "text": "um"}, {"id": 5, "sender_type": "customer", "text": "dois\\ud800\\u0000"}]}\n\n'
        b'{"id": "d", "customer": "7"}'
    )
    first, second = jsonl.read(file, "p-")
    assert isinstance(first, jsonl.Whole)
    assert isinstance(second, jsonl.Whole)
    assert first.customer is not None
    assert (first.place, first.customer.id, first.conversation.customer_id) == (1, "p-a@x", "p-a@x")
    assert [(one.id, one.conversation_id, one.text) for one in first.messages] == [("p-#1", "p-c", "um"), ("p-5", "p-c", "dois")]
    assert [one.created_at > NOON for one in first.messages if one.created_at] == [True, True]
    assert (second.place, second.customer, second.conversation.customer_id) == (3, None, "p-7")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"{", "line"),
        (b"[]", "line"),
        (b"\xff\xfe", "line"),
        (b"[" * 100_000, "line"),
        (b'{"id": "c", "messages": 5}', "messages"),
        (b'{"id": "c", "messages": ["x"]}', "messages"),
        (
            b'{"id": "c", "messages": [{"sender_type": "bot", "text": "a"}, {"sender_type": "alien", "text": "a"}]}',
            "messages[2].sender_type",
        ),
        (b'{"id": "c", "customer": {"name": "nobody"}}', "id"),
    ],
)
def test_bad_lines_are_told_by_place(tmp_path: Path, line: bytes, field: str) -> None:
    file = tmp_path / "old.jsonl"
    file.write_bytes(b'{"id": "a"}\n' + line + b'\n{"id": "b"}\n')
    told = list(jsonl.read(file))
    assert [isinstance(one, jsonl.Bad) for one in told] == [False, True, False]
    assert (told[1].place, told[1].error.field) == (2, field)  # type: ignore[union-attr]


def test_a_line_without_end_is_bad_and_the_next_one_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_LINE_BYTES", 64)
    file = tmp_path / "old.jsonl"
    file.write_bytes(b'{"id": "' + b"x" * 500 + b'"}\n{"id": "b"}\n')
    told = list(jsonl.read(file))
    assert [one.place for one in told] == [1, 2]
    assert isinstance(told[0], jsonl.Bad)
    assert isinstance(told[1], jsonl.Whole)
