"""Uploaded files: gathered on disk, then decoded piece by piece in a worker process bounded in memory and CPU time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import cast

from malha.audio.formats.samples import Samples
from malha.audio.formats.upload import FileDecoder
from malha.runtime.host import EngineHost, HostOptions
from malha.runtime.process_limits import limit_process
from malha.runtime.received import FileLimit, ReceivedFile

CPU_SECONDS_PER_FILE = 300


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bounds of one file and of the process that decodes it."""

    max_bytes: int
    max_seconds: float
    memory_bytes: int


class UploadDecoder:
    """Decodes files in worker processes, which are spawned when the first file comes."""

    def __init__(self, limits: UploadLimits, workers: int) -> None:
        self._limit = FileLimit("file", limits.max_bytes, "MALHA_UPLOAD_MAX_BYTES", reason="UPLOAD_TOO_LARGE", quota="upload_bytes")
        self._starting: asyncio.Future[object] | None = None
        self._host = EngineHost(
            "upload",
            "malha.audio.uploads:create_worker",
            limits,
            host=HostOptions(workers=workers, max_open=2 * workers, max_waiting=16, outputs_ahead=4),
        )

    def receive(self) -> ReceivedFile:
        """Where a file goes that is to be decoded."""
        return ReceivedFile(self._limit)

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
