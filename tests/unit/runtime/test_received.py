"""Files that come in pieces: where they lie, how large they may be, and that nothing is left of them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from malha.runtime.errors import ResourceExhausted, UnsupportedFormat
from malha.runtime.received import WRITE_BYTES, FileLimit, ReceivedFile

LIMIT = FileLimit("document", 3 * WRITE_BYTES, "MALHA_TEST_BYTES", reason="DOCUMENT_TOO_LARGE", quota="document_bytes")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def received(folder: Path) -> Iterator[ReceivedFile]:
    assert folder.is_dir()
    file = ReceivedFile(LIMIT)
    yield file
    file.close()


@pytest.mark.parametrize("pieces", [[b"x"], [b"ab", b"", b"cd"], [b"y" * WRITE_BYTES, b"z" * (WRITE_BYTES + 1), b"end"]])
async def test_another_process_can_open_it_and_nobody_finds_it(received: ReceivedFile, folder: Path, pieces: list[bytes]) -> None:
    for piece in pieces:
        await received.add(piece)
    path = await received.complete()
    assert os.system(f"test $(wc -c < {path}) = {sum(map(len, pieces))}") == 0
    assert Path(path).read_bytes() == b"".join(pieces)
    assert not list(folder.iterdir())
    received.close()
    assert not Path(path).exists()


async def test_a_file_may_be_as_large_as_its_limit_and_not_larger(received: ReceivedFile) -> None:
    for _ in range(3):
        await received.add(bytes(WRITE_BYTES))
    with pytest.raises(ResourceExhausted, match=r"the document is larger than 3145728 bytes.*raise MALHA_TEST_BYTES") as refused:
        await received.add(b"1")
    assert (refused.value.reason, refused.value.quota) == ("DOCUMENT_TOO_LARGE", "document_bytes")


async def test_an_empty_file_is_none(received: ReceivedFile) -> None:
    await received.add(b"")
    with pytest.raises(UnsupportedFormat, match="the document is empty"):
        await received.complete()


async def test_a_full_disk_is_told_with_what_to_do(received: ReceivedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as patched:
        patched.setattr(received, "_file", full)
        await received.add(b"x")
        with pytest.raises(ResourceExhausted, match=r"No space left on device; free space in .* or set TMPDIR") as refused:
            await received.complete()
    assert (refused.value.reason, refused.value.retry_seconds) == ("DISK_FULL", 60)
