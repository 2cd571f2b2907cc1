"""Calls with hostile names, on a disk that is full, and behind a pooler in transaction mode."""

import asyncio
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import grpc
import pytest
from conftest import AUTHORIZED

from fakes.pooler import Pooler
from fakes.postgres import Postgres
from malha.api.audio.v1 import audio_pb2 as api
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

from .resuming import RATE, Resuming, opening, spans
from .sites import Servers, assert_once, assert_the_same, metadata, speech


def engine() -> NullEngine:
    return NullEngine(TranscribeSettings(_env_file=None))


def calling(channel: grpc.aio.Channel, seconds: float = 8, **fields: object) -> Resuming:
    return Resuming(channel, metadata(), speech(seconds, RATE, (5,)), opening(**fields))


@pytest.fixture
async def servers(settings: RuntimeSettings, database: Database, store: StoreSettings) -> AsyncIterator[Servers]:
    async with Servers(settings, database, store, engine).running() as servers:
        yield servers


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("call\x007", "call7"),
        ("\x00", None),
        ("'; DROP TABLE event; --", "'; DROP TABLE event; --"),
        ("\u202e\U0001f4a3", "\u202e\U0001f4a3"),
    ],
)
async def test_any_name_of_a_conversation(servers: Servers, database: Database, name: str, kept: str | None) -> None:
    call = calling(await servers.channel(), conversation_id=name)
    await call.connect()
    await call.send(3 * RATE)
    await call.lose()
    await call.connect()
    await call.finish()
    assert_once(call)
    async with database.ingest_tx() as connection:
        row = await connection.fetchrow("SELECT tenant_id, session_id, conversation_id FROM live_session")
    async with database.tenant_tx(row["tenant_id"]) as connection:
        conversation = await connection.fetchrow("SELECT * FROM conversation WHERE id = $1", row["conversation_id"])
    assert (conversation["external_id"], conversation["session_id"], conversation["status"]) == (kept, row["session_id"], "closed")


async def test_text_that_is_no_utf_8_opens_nothing(servers: Servers, database: Database) -> None:
    """A lone surrogate, which a Python client cannot even send: written by hand."""
    name = b"\xed\xa0\x80"
    request = api.StreamRequest(open=api.Open(conversation_id="xyz")).SerializeToString().replace(b"xyz", name)
    channel = await servers.channel()
    stream = channel.stream_stream("/malha.api.audio.v1.AudioStreamService/Stream")
    call = stream(metadata=AUTHORIZED)
    await call.write(request)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    async with database.ingest_tx() as connection:
        assert await connection.fetchval("SELECT count(*) FROM live_session") == 0


async def test_a_conversation_that_goes_on_in_a_new_call_is_not_ended_by_the_old_one(servers: Servers, database: Database) -> None:
    channel = await servers.channel()
    first, second = (calling(channel, 4, conversation_id="ticket 9") for _ in range(2))
    await first.connect()
    await second.connect()
    await first.finish()
    async with database.ingest_tx() as connection:
        tenant = await connection.fetchval("SELECT tenant_id FROM live_session LIMIT 1")
    assert await status(database, tenant) == ["open"]
    await second.finish()
    assert await status(database, tenant) == ["closed"]


async def status(database: Database, tenant: uuid.UUID) -> list[str]:
    async with database.tenant_tx(tenant) as connection:
        return [row["status"] for row in await connection.fetch("SELECT status FROM conversation")]


@dataclass
class TinyDisk:
    """A file system of a few megabytes for a test's events."""

    tablespace: str
    folder: Path

    async def take_events(self, store: StoreSettings) -> None:
        owner = await asyncpg.connect(store.database_owner_url, timeout=60)
        try:
            names = await owner.fetch("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'event'::regclass")
            for row in names:
                await owner.execute(f"ALTER TABLE {row['name']} SET TABLESPACE {self.tablespace}")
        finally:
            await owner.close(timeout=60)

    def fill(self) -> None:
        with pytest.raises(OSError, match="No space left"), (self.folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))

    def free(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
async def disk(postgres: Postgres) -> AsyncIterator[TinyDisk]:
    folder = Path(tempfile.mkdtemp(prefix="malha-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        shutil.rmtree(folder)
        pytest.skip("no right to mount a small file system")
    try:
        (folder / "space").mkdir()
        disk = TinyDisk(f"tiny_{uuid.uuid4().hex}", folder)
        await postgres.administer(f"CREATE TABLESPACE {disk.tablespace} LOCATION '{folder / 'space'}'")
        yield disk
        await postgres.administer(f"DROP TABLESPACE {disk.tablespace}")
    finally:
        subprocess.run(["umount", folder], check=True)
        shutil.rmtree(folder)


async def test_a_full_disk_delays_what_is_told_and_loses_nothing(disk: TinyDisk, servers: Servers) -> None:
    channel = await servers.channel()
    undisturbed, call = calling(channel, 60), calling(channel, 60)
    await undisturbed.connect()
    await undisturbed.finish()
    await disk.take_events(servers.store)
    disk.fill()
    await call.connect()
    finishing = asyncio.create_task(call.finish())
    await asyncio.sleep(2.0)
    assert not finishing.done()
    assert len(call.segments) < len(undisturbed.segments)  # some fit into pages there were
    disk.free()
    await finishing
    assert_once(call)
    assert_the_same(spans(call.segments), spans(undisturbed.segments))


async def test_behind_a_pooler_in_transaction_mode(settings: RuntimeSettings, store: StoreSettings, tmp_path: Path) -> None:
    """Every transaction meets another connection to PostgreSQL: nothing a call needs is left in one."""
    async with Pooler(store.database_url, tmp_path).running() as pooler:
        pooled = store.model_copy(update={"database_url": pooler.url_through, "database_direct_url": "", "database_pooler": True})
        async with await Database.connect(pooled) as database, Servers(settings, database, pooled, engine).running() as servers:
            calls = [calling(await servers.channel()) for _ in range(4)]

            async def play(call: Resuming, second: float) -> None:
                await call.connect()
                for _ in range(2):
                    await call.send(int(second * RATE))
                    await asyncio.sleep(0.05)
                    await call.lose()
                    await call.connect()
                await call.finish()

            await asyncio.gather(*(play(call, 1.3 + number / 2) for number, call in enumerate(calls)))
            for call in calls:
                assert_once(call)
                assert_the_same(spans(call.segments), spans(calls[0].segments))
        assert pooler.moves > pooler.transactions // 4
