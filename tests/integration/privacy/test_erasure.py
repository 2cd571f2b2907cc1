"""Everything of a customer or a conversation goes, nothing else does, and whoever asks again is told the same."""

import asyncio
import uuid
from pathlib import Path

import asyncpg
import pytest
from integration.privacy.people import more_conversations, named_jobs, person, put_file, recorded, rows

from malha.privacy.catalogue import KEPT, OF_CONVERSATION, OF_CUSTOMER
from malha.privacy.erasure import Eraser
from malha.privacy.holds import Holds
from malha.privacy.subjects import Subject, find
from malha.runtime.errors import FailedPrecondition, NotFound, Unavailable
from malha.runtime.job_files import JobFiles
from malha.store.backup import backup
from malha.store.database import Database
from malha.store.restore import restore
from malha.store.settings import StoreSettings

TABLES = """
    SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND (c.relname = 'tenant' OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'))
"""
OUTSIDE = {"schema_revision", "live_owner", "pgqueuer", "pgqueuer_log", "pgqueuer_statistics", "pgqueuer_schedules"}
"""Tables of no tenant: revisions, processes, and queues that name things by id."""


async def test_every_table_with_a_tenants_data_is_covered(store: StoreSettings) -> None:
    connection = await asyncpg.connect(store.owner_url)
    of_tenants = {row["relname"] for row in await connection.fetch(TABLES)}
    every = {
        row["relname"]
        for row in await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
        )
    }
    await connection.close()
    covered = OF_CONVERSATION.keys() | OF_CUSTOMER.keys() | KEPT.keys()
    assert of_tenants == covered
    assert every - covered == OUTSIDE


async def test_a_customer_goes_from_every_table_and_nobody_elses_rows_do(database: Database, tmp_path: Path) -> None:
    gone, kept = await person(database), await person(database)
    file, other = put_file(tmp_path, gone, gone.item), put_file(tmp_path, kept, kept.item)
    eraser = Eraser(database, recorded(tmp_path))
    plan = await eraser.plan(gone.subject("customer"))
    assert set(plan.counts) == OF_CONVERSATION.keys() | OF_CUSTOMER.keys(), "rows.py leaves a table empty"
    assert set(plan.counts.values()) == {1}
    erased = await eraser.erase(gone.subject("customer"), "test")
    assert erased.counts == {**plan.counts, "recorded_files": 1}
    for table in plan.counts:
        assert await rows(database, gone.tenant, table) == 0, table
        assert await rows(database, kept.tenant, table) == 1, table
    assert not file.parent.exists()
    assert other.exists()
    assert erased.objects["customers"] == erased.objects["conversations"] == erased.objects["sessions"] == [str(gone.item)]
    async with database.tenant_tx(gone.tenant) as connection:
        buried = {row["kind"] for row in await connection.fetch("SELECT kind FROM tombstone WHERE erased_at >= $1", erased.began_at)}
        audited = await connection.fetch("SELECT action, actor, object_id FROM audit WHERE action LIKE '%.erase' ORDER BY action")
    assert buried == {"customer", "conversation", "session", "speaker"}
    assert [tuple(row) for row in audited] == [
        ("conversation.erase", "test", str(gone.item)),
        ("customer.erase", "test", str(gone.item)),
    ]


PLANT = """
UPDATE customer SET external_id = $1, name = $1, email = $1, phone = $1, source = $1;
UPDATE conversation SET external_id = $1, subject = $1;
UPDATE live_session SET config = $1::bytea, flags = to_jsonb($1), committed = to_jsonb($1);
UPDATE event SET body = to_jsonb($1), segment_id = $1;
UPDATE segment SET text = $1, words = jsonb_build_array($1), speaker = $1;
UPDATE message SET text = $1, external_id = $1, sender_id = $1;
UPDATE state SET key = $1, value = to_jsonb($1);
UPDATE insight SET body = to_jsonb($1);
UPDATE feedback SET comment = $1, author = $1;
UPDATE speaker SET name = $1, consent = to_jsonb($1);
UPDATE interaction SET body = to_jsonb($1);
UPDATE ai_call SET reason = $1;
UPDATE ai_cache SET body = to_jsonb($1);
UPDATE job SET input = to_jsonb($1), result = to_jsonb($1);
UPDATE recording_key SET wrapped = $1::bytea
"""
MARK = "zanzibar"


async def test_nothing_of_a_planted_customer_is_found_in_any_table_or_file(
    store: StoreSettings, database: Database, tmp_path: Path
) -> None:
    """Searched as who owns the tables: queues, days of events and what no service may read included."""
    gone, owner = await person(database), await asyncpg.connect(store.owner_url)
    try:
        await owner.execute(f"SELECT set_config('malha.tenant', '{gone.tenant}', false)")
        for statement in PLANT.replace("$1", f"'{MARK}'::text").split(";\n"):
            await owner.execute(statement)
        put_file(tmp_path / "recordings", gone, gone.item)
        await named_jobs(database, gone, tmp_path, MARK, "queued", "failed", "cancelled")
        async with database.tenant_tx(gone.tenant) as connection:
            await connection.execute("SELECT malha_enqueue('transcribe', id) FROM job WHERE status = 'queued'")
        assert OF_CONVERSATION.keys() - {"recording"} <= await found(owner, MARK)
        eraser = Eraser(database, recorded(tmp_path / "recordings"), JobFiles(tmp_path, 0))
        await eraser.erase(gone.subject("customer"), "test")
        assert await found(owner, MARK) == set()
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    finally:
        await owner.close()


async def found(owner: asyncpg.Connection, text: str) -> set[str]:
    """The tables that hold a text, as it is or as bytes."""
    tables = await owner.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
    holding = set()
    for table in (row["relname"] for row in tables):
        if await owner.fetchval(
            f"SELECT EXISTS (SELECT FROM {table} t WHERE t::text LIKE ANY($1))", [f"%{text}%", f"%{text.encode().hex()}%"]
        ):
            holding.add("event" if table.startswith("event_") else table)
    return holding


async def test_a_conversation_goes_and_its_customer_stays(database: Database, tmp_path: Path) -> None:
    someone = await person(database)
    (other,) = await more_conversations(database, someone, 1)
    erased = await Eraser(database, recorded(tmp_path)).erase(someone.subject("conversation"), "test")
    assert "customer" not in erased.counts
    assert await rows(database, someone.tenant, "customer") == await rows(database, someone.tenant, "speaker") == 1
    async with database.tenant_tx(someone.tenant) as connection:
        assert [row["id"] for row in await connection.fetch("SELECT id FROM conversation")] == [other]
        assert await connection.fetchval("SELECT count(*) FROM event") == 2


async def test_jobs_that_name_a_conversation_go_with_it_and_their_recordings_too(database: Database, tmp_path: Path) -> None:
    """One that waits would make the conversation again; all of them hold its name."""
    gone, kept = await person(database), await person(database)
    files = await named_jobs(database, gone, tmp_path, "call", "queued", "running", "failed")
    others = [
        *await named_jobs(database, gone, tmp_path, "another", "queued"),
        *await named_jobs(database, kept, tmp_path, "call", "queued"),
    ]
    eraser = Eraser(database, recorded(tmp_path / "recordings"), JobFiles(tmp_path, 0))
    assert (await eraser.plan(gone.subject("conversation"))).counts["job"] == 1 + 3
    erased = await eraser.erase(gone.subject("conversation"), "test")
    assert erased.counts["job"] == 1 + 3
    assert (await rows(database, gone.tenant, "job"), await rows(database, kept.tenant, "job")) == (1, 2)
    assert not any(file.exists() for file in files)
    assert all(file.exists() for file in others)


async def test_jobs_go_whoever_deletes_the_conversation(database: Database, tmp_path: Path) -> None:
    someone = await person(database)
    await named_jobs(database, someone, tmp_path, "call", "queued")
    await named_jobs(database, someone, tmp_path, "another", "queued")
    async with database.tenant_tx(someone.tenant) as connection:
        await connection.execute("DELETE FROM conversation")
        assert await connection.fetchval("SELECT array_agg(conversation_name) FROM job") == ["another"]


async def test_asked_again_it_tells_the_same(database: Database, tmp_path: Path) -> None:
    someone = await person(database)
    eraser = Eraser(database, recorded(tmp_path))
    first = await eraser.erase(someone.subject("customer"), "test")
    assert await eraser.erase(someone.subject("customer"), "somebody else") == first
    plan = await eraser.plan(someone.subject("customer"))
    assert (plan.counts, plan.erased_at is not None) == ({}, True)
    async with database.tenant_tx(someone.tenant) as connection:
        assert await find(connection, someone.tenant, "customer", str(someone.item)) == someone.subject("customer")
        assert await connection.fetchval("SELECT count(*) FROM audit WHERE action = 'customer.erase'") == 1


class FailingFiles:
    """Away at the n-th conversation."""

    def __init__(self, directory: Path, fails_at: int) -> None:
        self._files = recorded(directory)
        self._left = fails_at

    async def remove(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> int:
        self._left -= 1
        if self._left < 0:
            raise Unavailable("away")
        return await self._files.remove(tenant_id, conversation_id)

    async def conversations(self, tenant_id: uuid.UUID) -> set[uuid.UUID]:
        return await self._files.conversations(tenant_id)


@pytest.mark.parametrize("fails_at", [0, 2, 4])
async def test_interrupted_it_goes_on_and_counts_nothing_twice(database: Database, tmp_path: Path, fails_at: int) -> None:
    someone = await person(database)
    conversations = [someone.item, *await more_conversations(database, someone, 4)]
    for conversation in conversations:
        put_file(tmp_path, someone, conversation)
    with pytest.raises(Unavailable):
        await Eraser(database, FailingFiles(tmp_path, fails_at)).erase(someone.subject("customer"), "test")
    assert await rows(database, someone.tenant, "customer") == 1
    assert await rows(database, someone.tenant, "conversation") == len(conversations) - fails_at - 1
    erased = await Eraser(database, recorded(tmp_path)).erase(someone.subject("customer"), "test")
    assert erased.counts["conversation"] == erased.counts["recorded_files"] == erased.counts["live_session"] == 5
    assert erased.counts["event"] == 1 + 4 * 2
    assert sorted(erased.objects["conversations"]) == sorted(map(str, conversations))
    assert not any((tmp_path / str(someone.tenant)).iterdir())


@pytest.mark.parametrize("state", ["open", "detached"])
@pytest.mark.parametrize("kind", ["customer", "conversation"])
async def test_refused_while_a_call_goes_on(database: Database, tmp_path: Path, state: str, kind: str) -> None:
    someone = await person(database, state)
    eraser = Eraser(database, recorded(tmp_path))
    subject = Subject(someone.tenant, kind, someone.item)
    for asked in (eraser.plan(subject), eraser.erase(subject, "test")):
        with pytest.raises(FailedPrecondition) as refused:
            await asked
        assert refused.value.reason == "CONVERSATION_LIVE"
    assert await rows(database, someone.tenant, "message") == 1


@pytest.mark.parametrize(("held", "asked"), [("customer", "customer"), ("customer", "conversation"), ("conversation", "customer")])
async def test_refused_while_it_is_held(database: Database, tmp_path: Path, held: str, asked: str) -> None:
    someone = await person(database)
    await more_conversations(database, someone, 1)
    holds, eraser = Holds(database), Eraser(database, recorded(tmp_path))
    await holds.place(Subject(someone.tenant, held, someone.item), "test", "case 12")
    subject = Subject(someone.tenant, asked, someone.item)
    for attempt in (eraser.plan(subject), eraser.erase(subject, "test")):
        with pytest.raises(FailedPrecondition) as refused:
            await attempt
        assert refused.value.reason == "LEGAL_HOLD"
    assert await rows(database, someone.tenant, "conversation") == 2
    await holds.release(Subject(someone.tenant, held, someone.item), "test")
    await eraser.erase(subject, "test")
    with pytest.raises(NotFound):
        await holds.release(Subject(someone.tenant, held, someone.item), "test")


@pytest.mark.parametrize("table", ["customer", "conversation"])
async def test_what_is_held_cannot_be_deleted_by_any_service(database: Database, table: str) -> None:
    someone = await person(database)
    await Holds(database).place(someone.subject("customer"), "test")
    with pytest.raises(FailedPrecondition, match="legal hold"):
        async with database.tenant_tx(someone.tenant) as connection:
            await connection.execute(f"DELETE FROM {table}")
    assert await rows(database, someone.tenant, table) == 1


async def test_a_call_that_opens_meanwhile_waits_or_wins(database: Database, tmp_path: Path) -> None:
    someone = await person(database)
    opened = asyncio.Event()

    async def call() -> None:
        async with database.tenant_tx(someone.tenant) as connection:
            await connection.execute(
                "INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config)"
                " VALUES (malha_uuid7(), $1, $2, '', '', '')",
                someone.tenant, someone.item,
            )  # fmt: skip
            opened.set()
            await asyncio.sleep(0.3)

    calling = asyncio.create_task(call())
    await opened.wait()
    with pytest.raises(FailedPrecondition) as refused:
        await Eraser(database, recorded(tmp_path)).erase(someone.subject("conversation"), "test")
    assert refused.value.reason == "CONVERSATION_LIVE"
    await calling
    assert await rows(database, someone.tenant, "live_session") == 2


async def test_another_tenants_is_not_found(database: Database, tmp_path: Path) -> None:
    mine, other = await person(database), await person(database)
    stolen = Subject(mine.tenant, "customer", other.item)
    eraser = Eraser(database, recorded(tmp_path))
    for attempt in (eraser.plan(stolen), eraser.erase(stolen, "test")):
        with pytest.raises(NotFound):
            await attempt
    async with database.tenant_tx(mine.tenant) as connection:
        with pytest.raises(NotFound):
            await find(connection, mine.tenant, "customer", str(other.item))
    assert await rows(database, other.tenant, "customer") == 1


async def test_a_restore_of_an_older_backup_erases_again(store: StoreSettings, tmp_path: Path) -> None:
    async with await Database.connect(store) as database:
        gone, kept = await person(database), await person(database)
        await named_jobs(database, gone, tmp_path, "call", "queued")
        await backup(store, tmp_path / "old.backup")
        first = await Eraser(database, recorded(tmp_path)).erase(gone.subject("customer"), "test")
    await restore(store, tmp_path / "old.backup", replace=True)
    async with await Database.connect(store) as database:
        for table in (*OF_CONVERSATION, *OF_CUSTOMER):
            assert await rows(database, gone.tenant, table) == 0, table
            assert await rows(database, kept.tenant, table) == 1, table
        again = await Eraser(database, recorded(tmp_path)).erase(gone.subject("customer"), "test")
    assert again == first
