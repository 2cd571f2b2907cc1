"""What has been kept long enough goes, by each tenant's own wish; holds and open calls win."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from integration.privacy.people import Person, more_conversations, person, put_file, recorded, rows

from malha.privacy.holds import Holds
from malha.privacy.retention import Retention, Swept, days
from malha.privacy.subjects import Kind, Subject
from malha.privacy.sweeper import FAILED, RetentionSweeper
from malha.recording.blobs import DirectoryBlobs, RecordedFiles
from malha.runtime.errors import Unavailable
from malha.store.database import Database


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
    assert await run(database, tmp_path, old) == Swept(1, 0, 0)
    async with database.tenant_tx(old.tenant) as connection:
        assert [row["id"] for row in await connection.fetch("SELECT id FROM conversation")] == [fresh]
        assert await connection.fetchval("SELECT EXISTS (SELECT FROM tombstone WHERE object_id = $1)", old.item)
        assert await connection.fetchval("SELECT cause FROM erasure WHERE object_id = $1", old.item) == "retention"
    assert not file.exists()
    assert await rows(database, young.tenant, "conversation") == await rows(database, forever.tenant, "conversation") == 1
    assert await rows(database, old.tenant, "customer") == 1
    assert await run(database, tmp_path, old) == Swept(0, 0, 0)


@pytest.mark.parametrize("kind", ["customer", "conversation"])
async def test_a_hold_wins(database: Database, tmp_path: Path, kind: Kind) -> None:
    someone = await aged(database, 100, {"retention_days": 30, "recording": {"retention_days": 1}})
    await Holds(database).place(Subject(someone.tenant, kind, someone.item), "test")
    file = put_file(tmp_path, someone, someone.item)
    assert await run(database, tmp_path, someone) == Swept(0, 0, 0)
    assert await rows(database, someone.tenant, "recording_key") == 1
    assert file.exists()


async def test_an_open_call_wins(database: Database, tmp_path: Path) -> None:
    someone = await aged(database, 100, {"retention_days": 30, "recording": {"retention_days": 1}}, "detached")
    assert await run(database, tmp_path, someone) == Swept(0, 0, 0)


async def test_recordings_may_go_earlier(database: Database, tmp_path: Path) -> None:
    someone = await aged(database, 10, {"retention_days": 30, "recording": {"enabled": True, "retention_days": 7}})
    file = put_file(tmp_path, someone, someone.item)
    assert await run(database, tmp_path, someone) == Swept(0, 1, 0)
    assert not file.exists()
    for table, left in (("recording_key", 0), ("recording", 0), ("conversation", 1), ("segment", 1)):
        assert await rows(database, someone.tenant, table) == left, table


async def test_files_without_a_key_go(database: Database, tmp_path: Path) -> None:
    someone = await person(database)
    kept, left = put_file(tmp_path, someone, someone.item), put_file(tmp_path, someone, uuid.uuid4())
    assert await run(database, tmp_path, someone) == Swept(0, 0, 1)
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


@pytest.mark.parametrize("wrong", [None, 0, -1, True, "30", 30.5, 10**9, [30]])
def test_what_is_no_number_of_days_keeps_everything(wrong: Any) -> None:
    assert days({"retention_days": wrong}) is None
    assert days(wrong) is None
    assert days({"retention_days": 30}) == 30
