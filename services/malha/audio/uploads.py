"""Uploaded files: gathered on disk, then decoded piece by piece in a worker process bounded in memory and CPU time."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import IO, cast

from malha.audio.formats.samples import Samples
from malha.audio.formats.upload import FileDecoder
from malha.runtime.errors import ResourceExhausted, UnsupportedFormat
from malha.runtime.host import EngineHost, HostOptions
from malha.runtime.process_limits import limit_process

CPU_SECONDS_PER_FILE = 300
WRITE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bounds of one file and of the process that decodes it."""

    max_bytes: int
    max_seconds: float
    memory_bytes: int


class Upload:
    """One file on its way in. Small files stay in memory; disk is written off the event loop."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._file: IO[bytes] = tempfile.NamedTemporaryFile(prefix="malha-upload-", delete=True)  # noqa: SIM115 - closed by close()
        self._gathered = bytearray()
        self._size = 0

    async def add(self, content: bytes) -> None:
        """Take in the next bytes. Raises ResourceExhausted over the limit or when the disk is full."""
        self._size += len(content)
        if self._size > self._limits.max_bytes:
            raise ResourceExhausted(
                f"the file is larger than {self._limits.max_bytes} bytes: send less, or raise MALHA_UPLOAD_MAX_BYTES",
                reason="UPLOAD_TOO_LARGE",
                quota="upload_bytes",
            )
        self._gathered += content
        if len(self._gathered) >= WRITE_BYTES:
            await self._write()

    async def complete(self) -> str:
        """All bytes are in; the path of the file. Raises UnsupportedFormat for an empty one."""
        if not self._size:
            raise UnsupportedFormat("the file is empty", reason="EMPTY_FILE")
        await self._write()
        return self._file.name

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    async def _write(self) -> None:
        gathered, self._gathered = bytes(self._gathered), bytearray()
        try:
            await asyncio.to_thread(self._write_now, gathered)
        except OSError as error:
            raise ResourceExhausted(
                f"cannot keep the upload: {os.strerror(error.errno or 0)}; free space in {tempfile.gettempdir()} or set TMPDIR",
                reason="DISK_FULL",
                retry_seconds=60,
            ) from None

    def _write_now(self, content: bytes) -> None:
        self._file.write(content)
        self._file.flush()


class UploadDecoder:
    """Decodes files in worker processes, which are spawned when the first file comes."""

    def __init__(self, limits: UploadLimits, workers: int) -> None:
        self.limits = limits
        self._starting: asyncio.Future[object] | None = None
        self._host = EngineHost(
            "upload",
            "malha.audio.uploads:create_worker",
            limits,
            host=HostOptions(workers=workers, max_open=2 * workers, max_waiting=16, outputs_ahead=4),
        )

    async def close(self) -> None:
        """End the workers."""
        if self._starting is not None:
            await asyncio.wait({self._starting})
            await self._host.close()

    async def decode(self, path: str) -> AsyncIterator[tuple[int, Samples]]:
        """(sample rate, samples of shape (frames, channels)), about a second each. Raises UnsupportedFormat."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._host.start())
        await asyncio.shield(self._starting)
        async with self._host.stream(None) as stream:
            await stream.send(path)
            await stream.finish()
            async for output in stream:
                yield cast("tuple[int, Samples]", output.item)


class DecodeStream:
    """Decodes one file, in the worker."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._decoder: FileDecoder | None = None

    def feed(self, item: object) -> Iterator[object]:
        """``item`` is a path."""
        limit_process(self._limits.memory_bytes, CPU_SECONDS_PER_FILE)
        self._decoder = FileDecoder(str(item), self._limits.max_seconds)
        for samples in self._decoder:
            yield self._decoder.sample_rate, samples

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()


class DecodeWorker:
    """The worker's engine."""

    info: object = None

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits

    def open(self, arguments: object) -> DecodeStream:
        del arguments
        return DecodeStream(self._limits)


def create_worker(limits: UploadLimits) -> DecodeWorker:
    """The factory the engine host calls in its worker."""
    return DecodeWorker(limits)
