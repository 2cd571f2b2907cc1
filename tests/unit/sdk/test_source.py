import asyncio
import io
import os
import threading
import time

import pytest

from malha.sdk._source import AudioInput, head_of, is_whole, items_of, size_of

CONTENT = bytes(range(256)) * 10


async def taken(audio, piece_bytes=1_000, **given) -> list[bytes]:
    async with AudioInput(audio, piece_bytes, **given).chunks() as chunks:
        return [chunk async for chunk in chunks]


async def numbers():
    for number in range(3):
        yield bytes([number])


async def test_whole_audio_comes_in_pieces(tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(CONTENT)
    pieces = [CONTENT[:1_000], CONTENT[1_000:2_000], CONTENT[2_000:]]
    with path.open("rb") as file:
        for audio in (CONTENT, bytearray(CONTENT), memoryview(CONTENT), path, str(path), io.BytesIO(CONTENT), file):
            assert is_whole(audio)
            assert head_of(audio) == CONTENT
            assert await taken(audio) == pieces


async def test_chunks_come_as_they_are(tmp_path):
    for audio in ([b"a", b"bc"], (b"a", b"bc"), iter([b"a", b"bc"])):
        assert not is_whole(audio)
        assert await taken(audio) == [b"a", b"bc"]
    assert await taken(numbers()) == [b"\0", b"\1", b"\2"]


def test_size(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    assert size_of(tmp_path / "a") == size_of(CONTENT) == size_of(memoryview(CONTENT).cast("H")) == len(CONTENT)
    assert size_of(io.BytesIO(CONTENT)) is None


async def test_a_pipe_is_read_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(CONTENT,))
    writer.start()
    try:
        assert (head_of(pipe), size_of(pipe)) == (b"", None)
        assert b"".join(await taken(pipe)) == CONTENT
    finally:
        writer.join()


async def test_whole_audio_is_paced_as_it_would_be_spoken():
    start = time.monotonic()
    assert b"".join(await taken(CONTENT, 256, bytes_per_second=len(CONTENT) * 4)) == CONTENT
    assert time.monotonic() - start >= 0.24


async def test_a_blocking_iterable_does_not_block_the_loop():
    gate = threading.Event()

    def microphone():
        yield b"first"
        gate.wait(10)
        yield b"second"

    async with AudioInput(microphone(), 1).chunks() as chunks:
        assert await anext(chunks) == b"first"
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0.05)  # the loop runs on
        assert not waiting.done()
        gate.set()
        assert await waiting == b"second"


async def test_a_blocking_iterable_is_at_most_a_few_items_ahead():
    given, before = [], threading.active_count()

    def source():
        for number in range(1_000):
            given.append(number)
            yield bytes([number % 256])

    async with AudioInput(source(), 1).chunks() as chunks:
        await anext(chunks)
        await asyncio.sleep(0.05)
        assert len(given) <= 12
    await only(before)
    assert len(given) <= 13


async def test_an_error_of_a_blocking_iterable_comes_through():
    def source():
        yield b"a"
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        await taken(source())


async def only(threads: int) -> None:
    """Wait until no more of them are left."""
    async with asyncio.timeout(20):
        while threading.active_count() > threads:
            await asyncio.sleep(0.01)


async def test_no_thread_is_left():
    before = threading.active_count()
    await taken(iter([b"a"] * 100))
    await only(before)


async def test_a_missing_file_is_told_before_anything_is_sent(tmp_path):
    with pytest.raises(FileNotFoundError):
        head_of(tmp_path / "none.wav")


async def test_texts():
    async with items_of(iter(["a", "b"])) as items:
        assert [item async for item in items] == ["a", "b"]
