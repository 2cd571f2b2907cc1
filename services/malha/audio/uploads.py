"""Uploaded files: gathered on disk, then decoded piece by piece in a worker process bounded in memory and CPU time."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

from malha.audio.formats.loudness import Loudness, amplified
from malha.audio.formats.samples import Samples
from malha.audio.formats.twins import alike
from malha.audio.formats.upload import FileDecoder
from malha.runtime.host import EngineHost, HostOptions
from malha.runtime.process_limits import limit_process
from malha.runtime.received import FileLimit, ReceivedFile
from malha.runtime.worker import PAUSE

CPU_SECONDS_PER_READING = 300
"""Four hours of Opus take 150 s."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bounds of one file and of the process that decodes it."""

    max_bytes: int
    max_seconds: float
    memory_bytes: int


class Decoded(NamedTuple):
    """About a second of a file."""

    sample_rate: int
    samples: Samples
    """Shape (frames, channels)."""
    twins: bool
    """Whether the file has a second channel, which is left out: from its beginning to its end it is the same as the first."""
    gain: float
    """By what its samples were multiplied, since it is quiet; 1: they were not."""


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

    async def decode(self, path: str) -> AsyncIterator[Decoded]:
        """The file, piece by piece. Raises UnsupportedFormat."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._host.start())
        await asyncio.shield(self._starting)
        async with self._host.stream(None) as stream:
            await stream.send(path)
            await stream.finish()
            async for output in stream:
                yield cast("Decoded", output.item)


class DecodeStream:
    """Decodes one file, in the worker. It is read twice, the first time up to where its channels differ and it is loud enough: whether they do,
    and it is, has to be known before anybody hears anything, and a first minute says nothing of the second.
    """

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._decoder: FileDecoder | None = None

    def feed(self, item: object) -> Iterator[object]:
        """``item`` is a path."""
        twins, gain = yield from _look(self._open(str(item)))
        decoder = self._open(str(item))
        for samples in decoder:
            yield Decoded(decoder.sample_rate, amplified(samples[:, :1] if twins else samples, gain), twins, gain)

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()

    def _open(self, path: str) -> FileDecoder:
        """At the file's beginning."""
        self.close()
        limit_process(self._limits.memory_bytes, CPU_SECONDS_PER_READING)
        self._decoder = FileDecoder(path, self._limits.max_seconds)
        return self._decoder


def _look(decoder: FileDecoder) -> Generator[object, None, tuple[bool, float]]:
    """Whether both channels are the same to the end, and the gain; yields `PAUSE` meanwhile."""
    twins, loudness = decoder.channels > 1, Loudness(decoder.sample_rate)
    for samples in decoder:
        twins = twins and alike(samples)
        loudness.add(samples)
        if loudness.enough and not twins:
            break
        yield PAUSE
    return twins, loudness.gain


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
