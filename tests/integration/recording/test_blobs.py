"""The same of a directory and of a bucket."""

import asyncio
import contextlib
import stat
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from integration.recording.bucket import ACCESS, BUCKET, REGION, SECRET, Bucket, bucket_server

from malha.recording.blobs import Blobs, DirectoryBlobs, RecordedFiles, make_blobs
from malha.recording.keeper import LOST, Keeper
from malha.recording.recorder import Label, Sealed
from malha.recording.settings import RecordingSettings
from malha.runtime.errors import FailedPrecondition, NotFound, Unavailable
from malha.store.database import Database

TENANT, CONVERSATION, OTHER = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)


def s3_settings(bucket: Bucket, tmp_path: Path, secret: str = SECRET) -> RecordingSettings:
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    return RecordingSettings(
        _env_file=None,
        blob_url=f"s3://{BUCKET}/malha calls/",
        blob_s3_endpoint=bucket.endpoint,
        blob_s3_region=REGION,
        blob_s3_access_key=ACCESS,
        blob_s3_secret_key_file=file,
        blob_seconds=10,
    )


@pytest.fixture(params=["directory", "bucket"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    if request.param == "directory":
        yield make_blobs(RecordingSettings(_env_file=None), tmp_path)
        return
    with bucket_server() as bucket:
        made = make_blobs(s3_settings(bucket, tmp_path), tmp_path)
        yield made
        await made.close()


async def test_files_are_put_replaced_got_and_removed(blobs: Blobs) -> None:
    files = RecordedFiles(blobs)
    assert await files.conversations(TENANT) == set()
    assert await files.remove(TENANT, CONVERSATION) == 0
    for conversation in (CONVERSATION, OTHER):
        for number in range(5):
            await blobs.put(f"{TENANT}/{conversation}/{number}.opus", bytes([number]) * 1000)
    await blobs.put(f"{TENANT}/{OTHER}/0.opus", b"again")
    assert await blobs.get(f"{TENANT}/{OTHER}/0.opus") == b"again"
    assert await files.conversations(TENANT) == {CONVERSATION, OTHER}
    assert await files.conversations(OTHER) == set()
    assert await files.remove(TENANT, CONVERSATION) == 5
    assert await files.conversations(TENANT) == {OTHER}
    with pytest.raises(NotFound):
        await blobs.get(f"{TENANT}/{CONVERSATION}/0.opus")
    assert await blobs.get(f"{TENANT}/{OTHER}/4.opus") == bytes([4]) * 1000


async def test_a_bucket_that_is_away_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    with bucket_server() as bucket:
        blobs = make_blobs(s3_settings(bucket, tmp_path), tmp_path)
        bucket.failures = 2
        await blobs.put("a/b/c", b"x")
        assert bucket.objects == {"malha calls/a/b/c": b"x"}
        bucket.failures = 3
        with pytest.raises(Unavailable):
            await blobs.get("a/b/c")
        await blobs.close()
    gone = make_blobs(s3_settings(bucket, tmp_path), tmp_path)
    with pytest.raises(Unavailable):
        await gone.put("a/b/c", b"x")
    await gone.close()


async def test_a_bucket_that_answers_byte_by_byte_counts_as_away(tmp_path: Path) -> None:
    """Each byte comes in time, the answer never does."""
    gone = asyncio.Semaphore(0)

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        gone.release()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    bucket = Bucket()
    bucket.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    blobs = make_blobs(s3_settings(bucket, tmp_path).model_copy(update={"blob_seconds": 0.5}), tmp_path)
    async with asyncio.timeout(60):
        with pytest.raises(Unavailable):
            await blobs.get("a/b/c")
    await blobs.close()
    for _ in range(3):  # it was asked so often
        await asyncio.wait_for(gone.acquire(), 20)
    server.close()
    await server.wait_closed()


async def test_of_many_who_remove_a_folder_at_once_none_fails(tmp_path: Path) -> None:
    files = RecordedFiles(make_blobs(RecordingSettings(_env_file=None), tmp_path))
    folder = tmp_path / "recordings" / str(TENANT) / str(CONVERSATION)
    folder.mkdir(parents=True)
    for number in range(500):
        (folder / f"{number}.opus").touch()
    await asyncio.gather(*(files.remove(TENANT, CONVERSATION) for _ in range(4)))
    assert not folder.exists()


async def test_a_defect_at_one_file_keeps_no_other_from_being_stored(database: Database, tmp_path: Path) -> None:
    stored = asyncio.Event()

    class Broken(DirectoryBlobs):
        left = 10

        async def put(self, name: str, content: bytes) -> None:
            self.left -= 1
            if self.left >= 0:
                raise ZeroDivisionError
            await super().put(name, content)
            stored.set()

    lost, keeper = LOST._value.get(), Keeper(database, Broken(tmp_path))
    keeper.start()
    for number in range(11):
        keeper.keep(Sealed(Label(TENANT, CONVERSATION, OTHER, 1), 0, number * 60_000, 60_000, b"x"))
    await asyncio.wait_for(stored.wait(), 60)
    await keeper.close(60)
    assert LOST._value.get() == lost + 10


async def test_a_wrong_key_is_said(tmp_path: Path) -> None:
    with bucket_server() as bucket:
        blobs = make_blobs(s3_settings(bucket, tmp_path, "wrong"), tmp_path)
        with pytest.raises(FailedPrecondition, match="status 403"):
            await blobs.put("a/b/c", b"x")
        await blobs.close()
        assert bucket.objects == {}
    settings = RecordingSettings(_env_file=None, blob_url="s3://bucket", blob_s3_access_key="", blob_s3_secret_key="")
    with pytest.raises(FailedPrecondition, match="MALHA_BLOB_S3_ACCESS_KEY"):
        make_blobs(settings, tmp_path)


async def test_a_directory_is_its_owners_alone_and_tells_when_it_cannot_write(tmp_path: Path) -> None:
    blobs = make_blobs(RecordingSettings(_env_file=None), tmp_path)
    await asyncio.gather(*(blobs.put("a/b/c", bytes([number]) * 9) for number in range(8)))
    assert stat.S_IMODE((tmp_path / "recordings").stat().st_mode) == 0o700
    (file,) = (tmp_path / "recordings" / "a" / "b").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        await DirectoryBlobs(tmp_path / "file").put("a/b/c", b"x")


@pytest.mark.parametrize("url", ["http://x/y", "s3://", "s3:/b", "file:", "recordings"])
def test_a_place_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="BUCKET"):
        RecordingSettings(_env_file=None, blob_url=url)
