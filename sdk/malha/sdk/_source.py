"""Takes audio (or text) from whatever the caller has, as an async iterator that never blocks the loop."""

import asyncio
import contextlib
import io
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeGuard, TypeVar

ItemT = TypeVar("ItemT")


class BinaryReader(Protocol):
    """An open binary file, or what reads like one."""

    def read(self, size: int, /) -> bytes: ...


AudioSource = AsyncIterable[bytes] | Iterable[bytes] | bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryReader
"""Chunks as they come (async or blocking), the whole audio, a path, or an open binary file."""

_AHEAD = 8
"""Items a blocking iterable may be ahead of the call."""
_HEAD_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class AudioInput:
    """The caller's audio, and how it is to be taken."""

    audio: AudioSource
    piece_bytes: int
    """Of what is whole."""
    bytes_per_second: int | None = None
    """The pace; None: as fast as the call takes it, or as the caller gives it."""

    @asynccontextmanager
    async def chunks(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The audio in chunks. Generators made here are closed at the end; the caller's own is the caller's."""
        if isinstance(self.audio, AsyncIterable):
            yield aiter(self.audio)
            return
        own = _from_blocking(_pieces(self.audio, self.piece_bytes))
        async with aclosing(own if self.bytes_per_second is None else _paced(own, self.bytes_per_second)) as pieces:
            yield pieces


def is_whole(audio: AudioSource) -> bool:
    """Whether the audio is all there already, so that it has no pace of its own."""
    return isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview) or _is_file(audio)


def head_of(audio: AudioSource) -> bytes:
    """The first 64 KiB of what is whole and can be read twice, else nothing. Raises OSError where a file cannot be read."""
    if isinstance(audio, bytes | bytearray | memoryview):
        return bytes(audio[:_HEAD_BYTES])
    if isinstance(audio, str | os.PathLike):
        return _head_of_path(Path(audio))
    if isinstance(audio, io.BufferedIOBase | io.RawIOBase) and audio.seekable():
        start = audio.tell()
        head = audio.read(_HEAD_BYTES) or b""
        audio.seek(start)
        return head
    return b""


def size_of(audio: AudioSource) -> int | None:
    """Bytes of what is whole; None where it cannot be told."""
    if isinstance(audio, bytes | bytearray | memoryview):
        return memoryview(audio).nbytes
    if isinstance(audio, str | os.PathLike):
        path = Path(audio)
        return path.stat().st_size if path.is_file() else None
    return None


@asynccontextmanager
async def items_of(items: AsyncIterable[ItemT] | Iterable[ItemT]) -> AsyncIterator[AsyncIterator[ItemT]]:
    """The items of any iterable; one that may block is taken in a thread."""
    if isinstance(items, AsyncIterable):
        yield aiter(items)
        return
    async with aclosing(_from_blocking(items)) as own:
        yield own


def _pieces(audio: Iterable[bytes] | bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryReader, size: int) -> Iterable[bytes]:
    if isinstance(audio, bytes | bytearray | memoryview):
        content = bytes(audio)
        return [content[start : start + size] for start in range(0, len(content), size)]
    if isinstance(audio, str | os.PathLike):
        return _read_path(Path(audio), size)
    return _read_file(audio, size) if _is_file(audio) else audio  # type: ignore[return-value]  # what is no file is an iterable


def _head_of_path(path: Path) -> bytes:
    path.stat()
    if path.is_fifo():
        return b""  # what is read of a pipe is gone
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _is_file(audio: object) -> TypeGuard[BinaryReader]:
    return hasattr(audio, "read")


def _read_path(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _read_file(file, size)


def _read_file(file: BinaryReader, size: int) -> Iterator[bytes]:
    while piece := file.read(size):
        yield piece


async def _paced(audio: AsyncGenerator[bytes, None], bytes_per_second: int) -> AsyncGenerator[bytes, None]:
    """The same pieces, none before its last byte would have been spoken."""
    loop = asyncio.get_running_loop()
    start, sent = loop.time(), 0
    async with aclosing(audio):
        async for piece in audio:
            sent += len(piece)
            await asyncio.sleep(start + sent / bytes_per_second - loop.time())
            yield piece


def _from_blocking(items: Iterable[ItemT]) -> AsyncGenerator[ItemT, None]:
    return _from_sequence(items) if isinstance(items, Sequence) else _from_thread(items)


async def _from_sequence(items: Sequence[ItemT]) -> AsyncGenerator[ItemT, None]:
    for item in items:
        yield item


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


async def _from_thread(items: Iterable[ItemT]) -> AsyncGenerator[ItemT, None]:
    """Run a blocking iterable in a daemon thread of its own: a microphone may block for ever, and must not hold up the exit."""
    hand_over: _HandOver[ItemT] = _HandOver(asyncio.get_running_loop())
    threading.Thread(target=hand_over.run, args=(items,), name="malha-source", daemon=True).start()
    try:
        while not isinstance(item := await hand_over.queue.get(), _End):
            hand_over.space.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        hand_over.stopped = True
        hand_over.space.release()


class _HandOver(Generic[ItemT]):
    """The way from the thread to the loop; ``space`` bounds it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.queue: asyncio.Queue[ItemT | _End] = asyncio.Queue()
        self.space = threading.Semaphore(_AHEAD)
        self.stopped = False
        self._loop = loop

    def run(self, items: Iterable[ItemT]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                self.space.acquire()
                if self.stopped:
                    return
                self._put(item)
        except BaseException as raised:  # it belongs to whoever reads the other end
            error = raised
        finally:
            self._put(_End(error))

    def _put(self, item: ItemT | _End) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self.queue.put_nowait, item)
