"""The embedded PostgreSQL: made whole or not at all, held by one, killed and back, its troubles told in one line."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from integration.store.rows import fill

from fakes.postgres import FAST, make_tenant
from malha.runtime.errors import FailedPrecondition, Unavailable
from malha.runtime.supervisor import Change, ChildEvent, Supervisor
from malha.store import embedded_cluster
from malha.store.database import Database
from malha.store.embedded import EmbeddedPostgres, running, running_settings
from malha.store.group_commit import GroupCommit
from malha.store.session_updates import SessionUpdate, StoredEvent

SECONDS = 90.0


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data directory with a cluster that was made and never started."""
    with tempfile.TemporaryDirectory(prefix="malha-test-") as directory:
        EmbeddedPostgres.take(Path(directory), FAST).release()
        yield Path(directory)


class Supervised:
    """A PostgreSQL that a supervisor keeps."""

    def __init__(self) -> None:
        self.events: list[ChildEvent] = []

    @property
    def pid(self) -> int:
        return self.events[-1].pid

    def count(self, change: Change) -> int:
        return sum(event.change is change for event in self.events)

    async def wait_ready(self, times: int) -> None:
        async with asyncio.timeout(SECONDS):
            while self.count(Change.READY) < times:
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def supervised(held: EmbeddedPostgres) -> AsyncIterator[Supervised]:
    seen, stop = Supervised(), asyncio.Event()
    task = asyncio.create_task(Supervisor([held.spec()], seen.events.append).run(stop))
    try:
        await seen.wait_ready(1)
        yield seen
    finally:
        stop.set()
        assert await task == 0


async def make_tenant_at_last(database: Database) -> uuid.UUID:
    """A transaction that was begun on a server that then died has to be done again by whoever wants it."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(Unavailable):
                return await make_tenant(database)


async def test_killed_it_is_back_with_all_that_was_committed(made: Path) -> None:
    with EmbeddedPostgres.take(made, FAST) as held:
        async with supervised(held) as seen, await Database.connect(held.settings) as database:
            await database.check()
            tenants = []
            for times in range(2, 4):
                tenants.append(await make_tenant(database))
                os.kill(seen.pid, signal.SIGKILL)
                tenants.append(await make_tenant_at_last(database))
                await seen.wait_ready(times)
            for tenant in tenants:
                async with database.tenant_tx(tenant) as connection:
                    assert await connection.fetchval("SELECT count(*) FROM tenant") == 1
        assert seen.events[-1].change is Change.STOPPED
        assert seen.events[-1].returncode == 0


async def test_killed_under_load_it_loses_nothing_that_was_told_as_stored(made: Path) -> None:
    with EmbeddedPostgres.take(made, FAST) as held:
        async with supervised(held) as seen, await Database.connect(held.settings) as database, GroupCommit(held.settings) as writer:
            session = (await fill(database)).item

            async def commit(seq: int) -> None:
                await writer.commit(SessionUpdate(session, 1, seq, events=[StoredEvent(seq, "final", {})]))

            commits = []
            for kill in range(3):
                for seq in range(100):
                    commits.append(asyncio.create_task(commit(2 + kill * 100 + seq)))
                    await asyncio.sleep(0.002)
                    if seq == 50:
                        os.kill(seen.pid, signal.SIGKILL)
                await seen.wait_ready(kill + 2)
            await asyncio.gather(*commits)
            async with database.ingest_tx() as connection:
                stored = await connection.fetch("SELECT seq FROM event WHERE session_id = $1 ORDER BY seq", session)
            assert [row["seq"] for row in stored] == list(range(1, 302))


async def test_children_get_a_login_that_cannot_migrate(made: Path) -> None:
    with EmbeddedPostgres.take(made, FAST) as held:
        assert held.environment["MALHA_DATABASE_URL"] == held.settings.url
        assert "//postgres:" not in "".join(held.environment.values())
        assert oct((made / "postgres" / "passwords.json").stat().st_mode)[-3:] == "600"
        assert oct((made / "postgres").stat().st_mode)[-3:] == "700"


async def test_a_second_one_on_the_same_directory_is_refused_and_commands_use_the_first(made: Path) -> None:
    assert running_settings(made) is None
    async with running(made, FAST) as settings:
        with pytest.raises(FailedPrecondition, match=str(os.getpid())) as caught:
            EmbeddedPostgres.take(made)
        assert caught.value.reason == "STORE_HELD"
        async with running(made) as same, await Database.connect(same) as database:
            assert same.url == settings.url
            await database.check()
    EmbeddedPostgres.take(made).release()


async def test_a_lock_file_of_a_process_that_is_no_server_does_not_keep_it_down(made: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (made / "postgres" / "cluster" / "postmaster.pid").write_text(f"{stranger.pid}\n{made}\n0\n5432\n\n\n")
        (made / "postgres" / "run" / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n")
        async with asyncio.timeout(SECONDS):
            async with running(made, FAST) as settings, await Database.connect(settings) as database:
                await database.check()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_the_server_of_a_killed_malha_ends_and_the_next_one_starts(made: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from malha.store.embedded import running\n"
        "async def main():\n"
        "    async with running(pathlib.Path(sys.argv[1])):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(made)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "up\n"
        first.kill()
    async with asyncio.timeout(SECONDS):
        async with running(made, FAST) as settings, await Database.connect(settings) as database:
            await database.check()


def test_a_half_made_cluster_is_made_again(tmp_path: Path) -> None:
    draft = tmp_path / "postgres" / "draft-killed" / "cluster"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    EmbeddedPostgres.take(tmp_path).release()
    assert sorted(path.name for path in (tmp_path / "postgres").iterdir()) == ["cluster", "lock", "log", "passwords.json", "run"]


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="MALHA_DATA_DIR"):
        EmbeddedPostgres.take(tmp_path / "file")


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_cluster, "_LEAST_FREE_BYTES", 1 << 62)
    with pytest.raises(FailedPrecondition, match="free space or set MALHA_DATA_DIR") as caught:
        EmbeddedPostgres.take(tmp_path)
    assert caught.value.reason == "STORE_FULL"


def test_what_initdb_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_cluster, "OWNER_LOGIN", "pg_not_allowed")
    with pytest.raises(FailedPrecondition, match="initdb could not") as caught:
        EmbeddedPostgres.take(tmp_path)
    assert "pg_" in caught.value.message
    assert list((tmp_path / "postgres").iterdir()) == []


def test_lost_passwords_and_another_version_are_told(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "postgres"
    (root / "cluster").mkdir(parents=True)
    (root / "cluster" / "PG_VERSION").write_text("18\n")
    with pytest.raises(FailedPrecondition, match="passwords"):
        embedded_cluster.load(root)
    (root / "cluster" / "PG_VERSION").write_text("16\n")
    with pytest.raises(FailedPrecondition, match="PostgreSQL 16"):
        embedded_cluster.load(root)


async def test_a_path_too_long_for_a_socket_serves_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    with EmbeddedPostgres.take(deep, FAST) as held:
        async with supervised(held), await Database.connect(held.settings) as database:
            await database.check()
    sockets = Path(held.settings.url.partition("host=")[2])
    assert sockets.stat().st_mode & 0o077 == 0
    sockets.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="is about running as root")
async def test_as_root_without_user_namespaces_it_runs_as_nobody(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    if not all(path.stat().st_mode & 0o001 for path in embedded_cluster.program("initdb").parents):
        pytest.skip("PostgreSQL's programs lie where nobody may not enter")
    monkeypatch.setattr(embedded_cluster, "_may_unshare", lambda: False)
    place = Path("/var/tmp") / f"malha-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        with EmbeddedPostgres.take(place, FAST) as held:
            async with supervised(held) as seen, await Database.connect(held.settings) as database:
                await database.check()
                assert Path(f"/proc/{seen.pid}").stat().st_uid == embedded_cluster._nobody()
    finally:
        subprocess.run(["rm", "-rf", str(place)], check=True)
