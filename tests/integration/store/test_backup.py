"""A backup put back: the same rows, less what was erased since."""

import json
import os
import zipfile
from pathlib import Path

import asyncpg
import pytest
from integration.cli.program import run_malha
from integration.store.rows import Filled, fill

from fakes.postgres import Postgres
from malha.runtime.errors import FailedPrecondition, InvalidArgument, Unavailable
from malha.store.backup import backup
from malha.store.database import Database
from malha.store.restore import restore
from malha.store.settings import StoreSettings


async def filled(settings: StoreSettings) -> Filled:
    async with await Database.connect(settings) as database:
        return await fill(database)


async def contents(settings: StoreSettings) -> dict[str, list[str]]:
    """All rows of all tables, as text."""
    connection = await asyncpg.connect(settings.owner_url)
    try:
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
        )
        return {
            row["relname"]: sorted(str(tuple(found)) for found in await connection.fetch(f"SELECT * FROM {row['relname']}"))
            for row in names
        }
    finally:
        await connection.close()


async def test_what_was_backed_up_is_there_again(store: StoreSettings, postgres: Postgres, tmp_path: Path) -> None:
    for _ in range(3):
        await filled(store)
    file = tmp_path / "malha.backup"
    manifest = await backup(store, file)
    assert {table.name: table.rows for table in manifest.tables}["conversation"] == 3
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["malha.backup"]
    before = await contents(store)
    async with postgres.fresh() as elsewhere:
        await restore(elsewhere, file)
        assert await contents(elsewhere) == before
    await filled(store)
    with pytest.raises(FailedPrecondition, match="4 conversations"):
        await restore(store, file)
    await restore(store, file, replace=True)
    assert (await contents(store)) | {name: before[name] for name in ("tombstone", "erasure", "legal_hold")} == before


async def test_a_restore_erases_again_what_was_erased_since(store: StoreSettings, tmp_path: Path) -> None:
    erased, kept = await filled(store), await filled(store)
    connection = await asyncpg.connect(store.owner_url)
    await connection.execute("DELETE FROM tombstone")
    file = tmp_path / "malha.backup"
    await backup(store, file)
    await connection.execute("INSERT INTO tombstone (tenant_id, kind, object_id) VALUES ($1, 'customer', $2)", erased.tenant, erased.item)
    await connection.execute("INSERT INTO tombstone (tenant_id, kind, object_id) VALUES ($1, 'speaker', $2)", kept.tenant, erased.item)
    await connection.close()
    assert (await restore(store, file, replace=True)).erased == 2
    found = await contents(store)
    personal = ("customer", "conversation", "live_session", "event", "segment", "message", "state", "feedback", "insight", "speaker")
    for table in personal:
        assert len(found[table]) == 1, table
        assert str(kept.tenant) in found[table][0], table
    assert len(found["tenant"]) == len(found["audit"]) == len(found["tombstone"]) == 2


async def test_a_restore_that_fails_changes_nothing(store: StoreSettings, tmp_path: Path) -> None:
    await filled(store)
    file = tmp_path / "malha.backup"
    await backup(store, file)
    before = await contents(store)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])
    spoiled = {
        "no.zip": b"not a backup",
        "half": {name: data for name, data in members.items() if name != "manifest.json"},
        "later": members | {"manifest.json": json.dumps(manifest | {"format": 99}).encode()},
        "revision": members | {"manifest.json": json.dumps(manifest | {"revision": "9999"}).encode()},
        "table": members | {"manifest.json": json.dumps(manifest | {"tables": [{"name": "pg_authid", "columns": ["oid"]}]}).encode()},
        "rows": members | {"customer": b"not\trows\n"},
    }
    for name, content in spoiled.items():
        bad = tmp_path / name
        if isinstance(content, bytes):
            bad.write_bytes(content)
        else:
            with zipfile.ZipFile(bad, "w") as archive:
                for member, data in content.items():
                    archive.writestr(member, data)
        with pytest.raises((InvalidArgument, FailedPrecondition)):
            await restore(store, bad, replace=True)
        assert await contents(store) == before, name


async def test_services_have_to_be_stopped(store: StoreSettings, tmp_path: Path) -> None:
    file = tmp_path / "malha.backup"
    await backup(store, file)
    async with await Database.connect(store) as database:
        await database.check()
        with pytest.raises(FailedPrecondition, match="stop them first"):
            await restore(store, file)


async def test_what_cannot_be_written_or_reached_leaves_no_file(store: StoreSettings, postgres: Postgres, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        await backup(store, tmp_path / "absent" / "malha.backup")
    async with postgres.fresh("template0") as empty:
        with pytest.raises(FailedPrecondition):
            await backup(empty, tmp_path / "malha.backup")
    absent = StoreSettings(_env_file=None, database_url="postgresql://x:y@127.0.0.1:1/z")
    with pytest.raises(Unavailable):
        await backup(absent, tmp_path / "malha.backup")
    assert list(tmp_path.iterdir()) == []


async def test_a_device_is_not_replaced_by_a_backup(store: StoreSettings, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FailedPrecondition, match="is no file"):
        await backup(store, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_the_commands(tmp_path: Path, store: StoreSettings) -> None:
    environment = {"MALHA_DATABASE_URL": store.url, "MALHA_DATABASE_OWNER_URL": store.owner_url}
    done = run_malha(tmp_path, "backup", "a.backup", "--json", **environment)
    assert json.loads(done.stdout)["rows"]["tenant"] == 0
    assert "restored 0 conversations" in run_malha(tmp_path, "restore", "a.backup", **environment).stdout
    wrong = run_malha(tmp_path, "backup", "absent/a.backup", **environment)
    assert wrong.returncode == 1
    assert wrong.stderr.count("\n") == 1
