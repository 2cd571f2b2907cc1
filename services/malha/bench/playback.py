"""A recording sent as it would be spoken, and when each moment of it was: what latency from the acoustic end is counted from."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from malha.bench.speech import Samples
from malha.runtime.errors import InvalidArgument

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000
CHUNK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Recording:
    """Audio of one or two channels. ``samples`` has the shape (frames, channels), int16."""

    samples: Samples
    rate: int

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def pcm(self) -> bytes:
        """Interleaved little-endian PCM16."""
        return self.samples.astype("<i2").tobytes()


class Playback:
    """Sends a recording at its own pace. Times are those of the running loop's clock."""

    def __init__(self, recording: Recording, chunk_seconds: float = CHUNK_SECONDS) -> None:
        self._recording = recording
        self._frames = max(1, round(chunk_seconds * recording.rate))
        self._begin = 0.0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The audio in chunks, none before its last sample would have been spoken."""
        loop, pcm = asyncio.get_running_loop(), self._recording.pcm()
        size = self._frames * 2 * self._recording.channels
        self._begin = loop.time()
        for number, at in enumerate(range(0, len(pcm), size), start=1):
            await asyncio.sleep(self._begin + number * self._frames / self._recording.rate - loop.time())
            yield pcm[at : at + size]

    def since(self, second: float) -> float:
        """Seconds from when this second of the recording was spoken until now."""
        return asyncio.get_running_loop().time() - self._begin - second

    @property
    def position_seconds(self) -> float:
        """How far the recording is."""
        return min(self.since(0.0), self._recording.seconds) if self._begin else 0.0


def read_recording(file: Path) -> Recording:
    """A file as PCM16 of its own channels, at its own rate if Malha takes it. Raises InvalidArgument if it is not readable audio."""
    try:
        with av.open(str(file)) as container:
            stream = container.streams.audio[0]
            rate = min(max(stream.rate or HIGHEST_RATE, LOWEST_RATE), HIGHEST_RATE)
            layout = "stereo" if stream.channels > 1 else "mono"
            resampler = av.AudioResampler(format="s16p", layout=layout, rate=rate)
            decoded: list[npt.NDArray[np.int16]] = []
            for frame in (*container.decode(stream), None):
                decoded += [out.to_ndarray().T.astype(np.int16, copy=False) for out in resampler.resample(frame)]
    except (OSError, av.FFmpegError, IndexError) as error:
        raise InvalidArgument(f"{file} is not readable audio", reason="UNREADABLE_AUDIO") from error
    if not decoded:
        raise InvalidArgument(f"{file} holds no audio", reason="UNREADABLE_AUDIO")
    return Recording(np.concatenate(decoded), rate)
