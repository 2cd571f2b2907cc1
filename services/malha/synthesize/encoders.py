"""Compressed speech as it is made: Opus in Ogg (RFC 7845) and MP3, by FFmpeg's encoders in PyAV.

An encoder's state lasts as long as its stream: sentences follow each other without a seam. `Encoders` is where they compute, away from the
event loop: threads at nice 10, for PyAV gives the interpreter's lock back while it encodes.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, Protocol, TypeVar

import av
import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
T = TypeVar("T")

OPUS_HERTZ: Final = (8000, 12_000, 16_000, 24_000, 48_000)
MP3_HERTZ: Final = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

_OPUS_BITS_PER_SECOND: Final = 32_000
_MP3_BITS_PER_SECOND: Final = 64_000
_OPUS_OPTIONS: Final = {"application": "voip", "frame_duration": "20", "compression_level": "3"}
_MP3_OPTIONS: Final = {"compression_level": "7"}
"""Half the effort: speech sounds no different, and takes half the time."""
_OGG_OPTIONS: Final = {"page_duration": "100000", "flush_packets": "1"}
"""Microseconds: a page may hold back a tenth of a second, not the second that is FFmpeg's default."""
_THREADS: Final = 2
_NICE: Final = 10

Samples = NDArray[np.int16]


class Encoder(Protocol):
    """Encodes one stream's samples, shape (n,)."""

    def header(self) -> bytes:
        """What comes before the first sample."""

    def encode(self, samples: Samples) -> bytes:
        """Take samples; a frame's worth of them stays until more comes."""

    def finish(self) -> bytes:
        """What is left, and the end."""


class OggOpus:
    """Opus in Ogg."""

    def __init__(self, rate: int) -> None:
        self._sink = _Sink()
        self._container = av.open(self._sink, "w", format="ogg", options=dict(_OGG_OPTIONS))
        self._stream = self._container.add_stream("libopus", rate=rate, layout="mono", options=dict(_OPUS_OPTIONS))
        self._stream.codec_context.bit_rate = _OPUS_BITS_PER_SECOND
        self._frames = _Frames(rate)

    def header(self) -> bytes:
        self._container.start_encoding()
        return self._sink.take()

    def encode(self, samples: Samples) -> bytes:
        if samples.size:
            self._container.mux(self._stream.encode(self._frames.next(samples)))
        return self._sink.take()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()


class Mp3:
    """MP3 without a container: its frames tell all a player needs."""

    def __init__(self, rate: int) -> None:
        self._codec = av.CodecContext.create("libmp3lame", "w")
        self._codec.sample_rate, self._codec.layout, self._codec.format = rate, "mono", "s16p"
        self._codec.bit_rate, self._codec.options = _MP3_BITS_PER_SECOND, dict(_MP3_OPTIONS)
        self._frames = _Frames(rate)

    def header(self) -> bytes:
        return b""

    def encode(self, samples: Samples) -> bytes:
        return b"".join(map(bytes, self._codec.encode(self._frames.next(samples)))) if samples.size else b""

    def finish(self) -> bytes:
        return b"".join(map(bytes, self._codec.encode(None)))


class _Frames:
    """Samples as FFmpeg's frames, one after the other in time."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._count = 0

    def next(self, samples: Samples) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None, :], format="s16p", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._count
        self._count += samples.size
        return frame


class _Sink:
    """A file that cannot be sought, such as a muxer of live streams takes."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


class Encoders:
    """Runs encoders (and what else would hold up the event loop for milliseconds). A caller waits for each piece: a stream queues one."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="speech", initializer=_be_nice)

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it in a thread. Cancelled, it still runs to its end, which takes milliseconds."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """End the threads once what they do is done."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _be_nice() -> None:
    with contextlib.suppress(OSError):  # only Linux gives a thread a niceness of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
