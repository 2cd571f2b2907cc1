"""What has been kept long enough goes, by each tenant's own wish; holds and open calls win."""

import asyncio
import uuid
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from integration.privacy.people import Person, more_conversations, person, put_file, recorded, rows

from malha.privacy.erasure import Eraser
from malha.privacy.holds import Holds
from malha.privacy.retention import Retention, Swept, days
from malha.privacy.subjects import Kind, Subject
from malha.privacy.sweeper import FAILED, RetentionSweeper
from malha.recording.blobs import DirectoryBlobs, RecordedFiles
from malha.runtime.errors import Unavailable
from malha.store.database import Database
from malha.store.settings import StoreSettings


async def aged(database: Database, old_days: int, settings: dict[str, Any], state: str = "closed") -> Person:
    someone = await person(database, state)
    async with database.tenant_tx(someone.tenant) as connection:
        await connection.execute("UPDATE tenant SET settings = $1", settings)
        await connection.execute("UPDATE conversation SET ended_at = now() - make_interval(days => $1)", old_days)
    return someone


async def run(database: Database, directory: Path, whose: Person) -> Swept:
    done = await Retention(database, recorded(directory)).run()
    return done[f"tenant {whose.tenant}"]


async def test_each_tenant_keeps_as_long_as_it_wants(database: Database, tmp_path: Path) -> None:
    old, young, forever = [
        await aged(database, *given) for given in ((31, {"retention_days": 30}), (29, {"retention_days": 30}), (9999, {}))
    ]
    (fresh,) = await more_conversations(database, old, 1)
    file = put_file(tmp_path, old, old.item)
    assert await run(database, tmp_path, old) == Swept(1, 0, 0, 0)
    async with database.tenant_tx(old.tenant) as connection:
        assert [row["id"] for row in await connection.fetch("SELECT id FROM conversation")] == [fresh]
        assert await connection.fetchval("SELECT EXISTS (SELECT FROM tombstone WHERE object_id = $1)", old.item)
        assert await connection.fetchval("SELECT cause FROM erasure WHERE object_id = $1", old.item) == "retention"
    assert not file.exists()
    assert await rows(database, young.tenant, "conversation") == await rows(database, forever.tenant, "conversation") == 1
    assert await rows(database, old.tenant, "customer") == 1
    assert await run(database, tmp_path, old) == Swept(0, 0, 0, 0)


@pytest.mark.parametrize("kind", ["customer", "conversation"])
async def test_a_hold_wins(database: Database, tmp_path: Path, kind: Kind) -> None:
    someone = await aged(database, 100, {"retention_days": 30, "recording": {"retention_days": 1}})
    await Holds(database).place(Subject(someone.tenant, kind, someone.item), "test")
    file = put_file(tmp_path, someone, someone.item)
    assert await run(database, tmp_path, someone) == Swept(0, 0, 0, 0)
    assert await rows(database, someone.tenant, "recording_key") == 1
    assert file.exists()


async def test_an_open_call_wins(database: Database, tmp_path: Path) -> None:
    someone = await aged(database, 100, {"retention_days": 30, "recording": {"retention_days": 1}}, "detached")
    assert await run(database, tmp_path, someone) == Swept(0, 0, 0, 0)


async def test_recordings_may_go_earlier(database: Database, tmp_path: Path) -> None:
    someone = await aged(database, 10, {"retention_days": 30, "recording": {"enabled": True, "retention_days": 7}})
    file = put_file(tmp_path, someone, someone.item)
    assert await run(database, tmp_path, someone) == Swept(0, 0, 1, 0)
    assert not file.exists()
    for table, left in (("recording_key", 0), ("recording", 0), ("conversation", 1), ("segment", 1)):
        assert await rows(database, someone.tenant, table) == left, table


async def test_files_without_a_key_go(database: Database, tmp_path: Path) -> None:
    someone = await person(database)
    kept, left = put_file(tmp_path, someone, someone.item), put_file(tmp_path, someone, uuid.uuid4())
    assert await run(database, tmp_path, someone) == Swept(0, 0, 0, 1)
    assert (kept.exists(), left.exists()) == (True, False)


async def test_a_serving_process_sweeps_by_itself_and_outlives_a_store_that_is_away(database: Database, tmp_path: Path) -> None:
    someone = await aged(database, 31, {"retention_days": 30})
    away = 1

    class Files(RecordedFiles):
        async def remove(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> int:
            nonlocal away
            if away:
                away -= 1
                raise Unavailable("away")
            return await super().remove(tenant_id, conversation_id)

    failed = FAILED._value.get()
    sweeper = RetentionSweeper(Retention(database, Files(DirectoryBlobs(tmp_path))), 0.01)
    sweeper.start()
    async with asyncio.timeout(60), database.tenant_tx(someone.tenant) as connection:
        while not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM erasure WHERE object_id = $1 AND ended_at IS NOT NULL)", someone.item
        ):
            await asyncio.sleep(0.05)
    await sweeper.close()
    assert FAILED._value.get() == failed + 1
    assert await rows(database, someone.tenant, "conversation") == 0


async def test_voice_prints_grow_no_older_than_they_may(database: Database, tmp_path: Path) -> None:
    old, young, held, forever = [await aged(database, 1, {"speakers": {"retention_days": 30}} if number < 3 else {}) for number in range(4)]
    for someone in (old, held, forever):
        async with database.tenant_tx(someone.tenant) as connection:
            await connection.execute("UPDATE speaker SET created_at = now() - interval '31 days'")
    await Holds(database).place(held.subject("customer"), "test")
    assert (await run(database, tmp_path, old)).speakers == 1
    assert await rows(database, old.tenant, "speaker") == 0
    for someone in (young, held, forever):
        assert await rows(database, someone.tenant, "speaker") == 1
    async with database.tenant_tx(old.tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM tombstone WHERE kind = 'speaker'") == 1
        assert await connection.fetchval("SELECT actor FROM audit WHERE action = 'speaker.delete'") == "retention"


async def test_a_customer_without_conversations_goes_once_nothing_was_changed_for_as_long(database: Database, tmp_path: Path) -> None:
    idle, busy, held, forever = [await aged(database, 10, {"retention_days": 30} if number < 3 else {}) for number in range(4)]
    for someone in (idle, busy, held, forever):
        async with database.tenant_tx(someone.tenant) as connection:
            await connection.execute("UPDATE customer SET updated_at = now() - interval '31 days'")
            if someone is not busy:
                await connection.execute("DELETE FROM conversation")
            await connection.execute("INSERT INTO customer (tenant_id) VALUES ($1)", someone.tenant)
    await Holds(database).place(held.subject("customer"), "test")
    assert await run(database, tmp_path, idle) == Swept(0, 1, 0, 0)
    assert (await rows(database, idle.tenant, "customer"), await rows(database, idle.tenant, "speaker")) == (1, 0)
    for someone in (busy, held, forever):
        assert (await rows(database, someone.tenant, "customer"), await rows(database, someone.tenant, "speaker")) == (2, 1)
    async with database.tenant_tx(idle.tenant) as connection:
        assert await connection.fetchval("SELECT cause FROM erasure WHERE object_id = $1", idle.item) == "retention"
        assert await connection.fetchval("SELECT count(*) FROM tombstone WHERE object_id = $1", idle.item) == 1


async def test_a_customer_who_calls_meanwhile_stays(database: Database, tmp_path: Path) -> None:
    someone = await aged(database, 10, {"retention_days": 30})
    eraser = Eraser(database, recorded(tmp_path))
    assert await eraser.erase_idle(someone.subject("customer"), "test", "retention") is False
    assert (await rows(database, someone.tenant, "customer"), await rows(database, someone.tenant, "conversation")) == (1, 1)


async def test_one_tenants_failure_does_not_keep_the_others_from_being_swept(database: Database, tmp_path: Path) -> None:
    first, second = sorted([await aged(database, 31, {"retention_days": 30}) for _ in range(2)], key=lambda each: str(each.tenant))

    class Files(RecordedFiles):
        async def remove(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> int:
            if tenant_id == first.tenant:
                raise Unavailable("away")
            return await super().remove(tenant_id, conversation_id)

    with pytest.raises(Unavailable):
        await Retention(database, Files(DirectoryBlobs(tmp_path))).run()
    assert await rows(database, second.tenant, "conversation") == 0


async def test_a_hold_that_is_placed_while_recordings_are_swept_wins(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    someone = await aged(database, 10, {"recording": {"retention_days": 7}})
    file = put_file(tmp_path, someone, someone.item)
    look = Retention._expired

    async def held_behind_its_back(*asked: Any) -> list[uuid.UUID]:
        found = await look(*asked)
        if someone.item in found:
            await Holds(database).place(someone.subject("conversation"), "test")
        return found

    monkeypatch.setattr(Retention, "_expired", held_behind_its_back)
    assert await run(database, tmp_path, someone) == Swept(0, 0, 0, 0)
    assert file.exists()
    assert await rows(database, someone.tenant, "recording_key") == 1


async def test_what_else_lies_in_a_tenants_folder_is_left_alone(database: Database, tmp_path: Path) -> None:
    someone = await person(database)
    stray = tmp_path / str(someone.tenant) / "lost+found"
    stray.mkdir(parents=True)
    assert await run(database, tmp_path, someone) == Swept(0, 0, 0, 0)
    assert stray.exists()


async def test_days_of_events_that_are_empty_are_dropped_and_no_others(store: StoreSettings, database: Database, tmp_path: Path) -> None:
    someone, owner = await person(database), await asyncpg.connect(store.owner_url)
    today = await owner.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    empty, used, young = (f"event_{today - timedelta(days=age):%Y%m%d}" for age in (41, 40, 0))
    try:
        await owner.execute("SET ROLE malha_owner")
        for age, name in ((41, empty), (40, used)):
            await owner.execute(
                f"CREATE TABLE {name} (LIKE event INCLUDING DEFAULTS INCLUDING CONSTRAINTS); ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;"
                f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY"
            )
            first, beyond = [
                await owner.fetchval(
                    "SELECT malha_uuid7_floor($1::timestamp AT TIME ZONE 'UTC')", datetime.combine(today - timedelta(days=days_ago), time())
                )
                for days_ago in (age, age - 1)
            ]
            await owner.execute(f"ALTER TABLE event ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{beyond}')")
        async with database.tenant_tx(someone.tenant) as connection:
            await connection.execute(
                "INSERT INTO event (session_id, seq, tenant_id, kind, body) VALUES ($2, 1, $1, 'final', '{}')", someone.tenant, first
            )
        await run(database, tmp_path, someone)
        days = {row[0] for row in await owner.fetch("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'event'::regclass")}
        assert days & {empty, used, young, "event_default"} == {used, young, "event_default"}
        async with database.tenant_tx(someone.tenant) as connection:
            await connection.execute("DELETE FROM event WHERE session_id = $1", first)
        reader = await asyncpg.connect(store.owner_url)
        try:
            async with reader.transaction():
                await reader.execute("LOCK TABLE event IN ACCESS SHARE MODE")  # somebody reads: it is put off
                await run(database, tmp_path, someone)
                assert await owner.fetchval("SELECT to_regclass($1) IS NOT NULL", used)
        finally:
            await reader.close()
        await run(database, tmp_path, someone)
        assert await owner.fetchval("SELECT to_regclass($1) IS NULL", used)
    finally:
        await owner.close()


async def test_a_sweeper_outlives_a_defect(database: Database, tmp_path: Path) -> None:
    ran = asyncio.Event()

    class Broken(Retention):
        runs = 0

        async def run(self) -> dict[str, Swept]:
            Broken.runs += 1
            if Broken.runs == 1:
                raise ZeroDivisionError
            ran.set()
            return {}

    sweeper = RetentionSweeper(Broken(database, recorded(tmp_path)), 0.01)
    sweeper.start()
    await asyncio.wait_for(ran.wait(), 60)
    await sweeper.close()


@pytest.mark.parametrize("wrong", [None, 0, -1, True, "30", 30.5, 10**9, [30]])
def test_what_is_no_number_of_days_keeps_everything(wrong: Any) -> None:
    assert days({"retention_days": wrong}) is None
    assert days(wrong) is None
    assert days({"retention_days": 30}) == 30
