"""Imports: from files and from another database, done again, with bad rows; state, undone."""

import json
import stat
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fakes.postgres import Postgres
from malha.conversation.importing import run as importing
from malha.conversation.importing import states
from malha.runtime.errors import FailedPrecondition, InvalidArgument, Unavailable


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


async def do(caller: Any, source: Path | str, **options: Any) -> importing.Report:
    return await importing.import_conversations(caller.database, caller.tenant, str(source), told=lambda _: None, **options)


def counts(report: importing.Report) -> list[tuple[int, int]]:
    return [(count.added, count.there) for count in (report.customers, report.conversations, report.messages)]


async def test_a_file_is_imported_once_however_often(caller: Any, stranger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_BATCH", 3)
    rows = [
        {
            "id": f"c{number}",
            "channel": "whatsapp",
            "started_at": f"2026-01-0{1 + number}T10:00:00Z",
            "customer": {"id": f"k{number % 2}", "name": "Ana", "email": "ana@example.com"},
            "messages": [{"sender_type": "customer", "text": f"pergunta {part}"} for part in range(number)],
        }
        for number in range(8)
    ]
    file = write(tmp_path / "old.jsonl", *rows)
    assert counts(await do(caller, file)) == [(2, 6), (8, 0), (28, 0)]
    again = await do(caller, file)
    assert counts(again) == [(0, 8), (0, 8), (0, 28)]
    assert again.bad == 0
    told = await caller.ask("GetConversation", conversation_id="c7")
    assert [entry.message.text for entry in told.entries] == [f"pergunta {part}" for part in range(7)]
    assert told.conversation.start_time.ToJsonString() == "2026-01-08T10:00:00Z"
    customer = (await caller.ask("GetCustomer", customer_id="k1")).customer
    assert told.conversation.customer_id == customer.id
    listed = (await caller.ask("ListConversations")).conversations
    assert [one.external_id for one in listed] == [f"c{number}" for number in reversed(range(8))]
    assert [one.conversation.external_id for one in (await caller.ask("SearchConversations", query="pergunta 6")).conversations] == ["c7"]
    assert await stranger.rows("conversation") == 0
    assert await caller.run("SELECT count(*) FROM audit WHERE action = 'conversations.import'") == 2


async def test_bad_lines_are_left_out_and_told_without_their_content(caller: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "old.jsonl", {"id": "a"}, "{secret", {"id": "b", "channel": "secret"}, "", {"id": "c"}, {"subject": "secret"})
    report = await do(caller, file)
    assert counts(report) == [(0, 0), (2, 0), (0, 0)]
    assert report.bad == 3
    assert [problem.split(":")[0] for problem in report.problems] == ["line 2", "line 3", "line 6"]
    assert "secret" not in " ".join(report.problems)


async def test_a_conversation_that_is_there_stays_as_it_is(caller: Any, tmp_path: Path) -> None:
    await caller.ask("UpsertConversation", conversation_id="c", subject="ours")
    file = write(tmp_path / "old.jsonl", {"id": "c", "subject": "theirs", "messages": [{"sender_type": "bot", "text": "x"}]})
    assert counts(await do(caller, file)) == [(0, 0), (0, 1), (1, 0)]
    told = await caller.ask("GetConversation", conversation_id="c")
    assert (told.conversation.subject, len(told.entries)) == ("ours", 1)


async def test_a_file_that_is_not_there(caller: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await do(caller, tmp_path / "nothing.jsonl")


@pytest.fixture
async def other(postgres: Postgres) -> AsyncIterator[str]:
    """The URL of another database, as some other system might have it."""
    async with postgres.fresh("template0") as settings:
        connection = await asyncpg.connect(settings.owner_url)
        await connection.execute("""
            CREATE TYPE kind AS ENUM ('user', 'assistant', 'robot');
            CREATE TABLE customers (id serial PRIMARY KEY, full_name varchar(50), email text, "Phone" text);
            CREATE TABLE conversations (id uuid PRIMARY KEY, customer_id integer, channel text, status text, title text,
                created_at timestamp, closed_at timestamptz, duration numeric(8, 2), tags text[]);
            CREATE TABLE messages (id bigserial PRIMARY KEY, conversation_id uuid, role kind, content text, "timestamp" timestamptz);
            INSERT INTO customers (full_name, email) SELECT 'Ana', 'ana@example.com' FROM generate_series(1, 3);
            INSERT INTO conversations SELECT ('00000000-0000-0000-0000-00000000000' || number)::uuid, number, 'web', 'resolved', 'Fatura',
                '2026-01-31 12:00:00', '2026-01-31 12:30:00-03', 12.5, '{a}' FROM generate_series(1, 4) AS number;
            INSERT INTO messages (conversation_id, role, content, "timestamp") SELECT id, 'user', 'olá', 'infinity' FROM conversations LIMIT 1;
            INSERT INTO messages (conversation_id, role, content) SELECT id, 'assistant', 'oi ' || number
                FROM conversations, generate_series(1, 10) AS number;
            INSERT INTO messages (conversation_id, role, content) VALUES ('ffffffff-0000-0000-0000-000000000000', 'user', 'secret'),
                ('00000000-0000-0000-0000-000000000001', 'robot', 'secret'), ('00000000-0000-0000-0000-000000000001', 'user', NULL);
        """)
        await connection.close()
        yield settings.owner_url


async def test_tables_of_another_database(caller: Any, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_BATCH", 7)
    report = await do(caller, other, prefix="old-")
    assert counts(report) == [(3, 0), (4, 0), (40, 0)]
    assert report.bad == 4
    assert {problem.split(": ", 1)[1].split(":")[0] for problem in report.problems} == {
        "created_at",
        "conversation_id",
        "sender_type",
        "text",
    }
    assert "secret" not in " ".join(report.problems)
    kept = (await caller.ask("GetConversation", conversation_id="old-00000000-0000-0000-0000-000000000001")).conversation
    assert (kept.subject, kept.duration.seconds, kept.start_time.ToJsonString()) == ("Fatura", 12, "2026-01-31T12:00:00Z")
    assert kept.end_time.ToJsonString() == "2026-01-31T15:30:00Z"
    assert (await caller.ask("GetCustomer", customer_id="old-1")).customer.id == kept.customer_id
    nobody = (await caller.ask("GetConversation", conversation_id="old-00000000-0000-0000-0000-000000000004")).conversation
    assert nobody.customer_id == ""
    assert counts(await do(caller, other, prefix="old-")) == [(0, 3), (0, 4), (0, 40)]


async def test_a_database_without_the_tables_or_columns_says_which(caller: Any, postgres: Postgres) -> None:
    async with postgres.fresh("template0") as settings:
        with pytest.raises(FailedPrecondition, match="no table `conversations`"):
            await do(caller, settings.owner_url)
        connection = await asyncpg.connect(settings.owner_url)
        await connection.execute("CREATE TABLE conversations (id integer); CREATE TABLE messages (id integer, text text)")
        await connection.close()
        with pytest.raises(FailedPrecondition, match="messages lacks a column conversation_id or conversation; sender_type or sender"):
            await do(caller, settings.owner_url)
    with pytest.raises(Unavailable) as raised:
        await do(caller, "postgresql://user:secret@127.0.0.1:1/none")
    assert "secret" not in raised.value.message


LINES = (
    {"conversation": "c", "key": "a", "value": {"n": 1}, "ttl": 600},
    {"conversation": "c", "key": "b", "value": {"n": 2}},
    {"conversation": "c", "key": "b", "value": {"n": 3}},
    {"conversation": "c", "key": "d", "value": {}},
)


async def import_states(caller: Any, file: Path) -> tuple[states.Imported, Path]:
    receipt = file.with_name(f"receipt-{uuid.uuid4()}")
    return await states.import_states(caller.database, caller.tenant, states.read(file, 1000), receipt), receipt


async def get(caller: Any, key: str) -> Any:
    return (await caller.ask("GetState", conversation_id="c", key=key)).value


async def test_state_is_imported_and_undone(caller: Any, stranger: Any, tmp_path: Path) -> None:
    await caller.ask("UpsertConversation", conversation_id="c")
    await caller.ask("SaveState", conversation_id="c", key="b", value={"before": True})
    done, receipt = await import_states(caller, write(tmp_path / "states.jsonl", *LINES))
    assert (done.added, done.replaced) == (2, 1)
    assert await get(caller, "b") == {"n": 3}
    assert (await caller.ask("GetState", conversation_id="c", key="a")).state.HasField("expire_time")
    assert stat.S_IMODE(receipt.stat().st_mode) == 0o600
    await caller.ask("SaveState", conversation_id="c", key="d", value={"since": True})
    with pytest.raises(InvalidArgument, match="no receipt"):
        await states.undo(stranger.database, stranger.tenant, receipt)
    assert await states.undo(caller.database, caller.tenant, receipt) == states.Undone(restored=1, removed=1, changed_since=1)
    assert [state.key for state in (await caller.ask("ListStates", conversation_id="c")).states] == ["b", "d"]
    assert (await get(caller, "b"), await get(caller, "d")) == ({"before": True}, {"since": True})
    assert (await states.undo(caller.database, caller.tenant, receipt)).changed_since == 3


async def test_imports_are_undone_one_after_the_other_the_newest_first(caller: Any, tmp_path: Path) -> None:
    await caller.ask("UpsertConversation", conversation_id="c")
    await caller.ask("SaveState", conversation_id="c", key="a", value={"n": 0})
    receipts = []
    for number in (1, 2):
        line = {"conversation": "c", "key": "a", "value": {"n": number}, "ttl": 600}
        receipts.append((await import_states(caller, write(tmp_path / f"{number}.jsonl", line)))[1])
    for receipt, value in ((receipts[1], 1), (receipts[0], 0)):
        assert await states.undo(caller.database, caller.tenant, receipt) == states.Undone(restored=1, removed=0, changed_since=0)
        assert await get(caller, "a") == {"n": value}
    assert not (await caller.ask("GetState", conversation_id="c", key="a")).state.HasField("expire_time")


async def test_a_source_that_is_neither_file_nor_postgresql_is_told_so(caller: Any) -> None:
    with pytest.raises(InvalidArgument, match="postgresql://"):
        await importing.import_conversations(caller.database, caller.tenant, "mysql://crm/old", told=lambda _: None)


async def test_state_is_imported_whole_or_not_at_all(caller: Any, tmp_path: Path) -> None:
    await caller.ask("UpsertConversation", conversation_id="c")
    file = write(tmp_path / "states.jsonl", *LINES, {"conversation": "secret", "key": "k", "value": {}})
    with pytest.raises(InvalidArgument, match=r"line 5: conversation: there is no such conversation$") as raised:
        await import_states(caller, file)
    assert "secret" not in raised.value.message
    assert await caller.rows("state") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["states.jsonl"]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("{", "line"),
        ({"key": "k", "value": {}}, "conversation"),
        ({"conversation": "c", "key": "", "value": {}}, "key"),
        ({"conversation": "c", "key": "k", "value": [1]}, "value"),
        ({"conversation": "c", "key": "k", "value": {"v": "x" * 1000}}, "value"),
        ({"conversation": "c", "key": "k", "value": {"v": 10**30}}, "value"),
        ('{"conversation": "c", "key": "k", "value": {"v": ' + "[" * 60 + "]" * 60 + "}}", "value"),
        ({"conversation": "c", "key": "k", "value": {}, "ttl": 0}, "ttl"),
        ({"conversation": "c", "key": "k", "value": {}, "ttl": 1e300}, "ttl"),
        ({"conversation": "c", "key": "k", "value": {}, "ttl": True}, "ttl"),
    ],
)
def test_bad_state_is_told_by_line_and_field(tmp_path: Path, row: Any, field: str) -> None:
    with pytest.raises(InvalidArgument, match=f"nothing was imported: line 2: {field}: "):
        states.read(write(tmp_path / "states.jsonl", {"conversation": "c", "key": "k", "value": {}}, row), 1000)


def test_a_receipt_that_is_cut_is_refused(tmp_path: Path) -> None:
    for text in ("", "{}", "[]\n", "\x00", '{"kind": "malha-state-receipt", "tenant_id": "' + str(uuid.UUID(int=1)) + '", "states": 2}\n'):
        (tmp_path / "receipt").write_text(text)
        with pytest.raises(InvalidArgument):
            states._read_receipt(tmp_path / "receipt", uuid.UUID(int=1))
