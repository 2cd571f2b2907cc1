"""One file of a recording: up to a minute of one channel, as Opus in Ogg (RFC 7845), and back to samples."""

import io
from typing import Final, TypeAlias

import av
import numpy as np
import numpy.typing as npt

from malha.runtime.errors import InvalidArgument

Samples: TypeAlias = npt.NDArray[np.int16]

FILE_SECONDS: Final = 60
_RATES: Final = frozenset({8_000, 12_000, 16_000, 24_000, 48_000})
"""Opus' own. Anything else is taken to 16 kHz."""
_OTHER_RATE: Final = 16_000
_OPTIONS: Final = {"application": "voip", "compression_level": "3", "frame_duration": "60"}
"""Little effort, long frames: about 6 ms of CPU for a second of audio, without the interpreter's lock."""


class OpusFile:
    """Encodes samples of shape (frames,) as they come. ``frames`` counts them."""

    def __init__(self, rate: int, bits_per_second: int) -> None:
        self.frames = 0
        self._rate = rate
        self._out = io.BytesIO()
        self._container = av.open(self._out, "w", format="ogg")
        to_rate = rate if rate in _RATES else _OTHER_RATE
        self._resampler = None if to_rate == rate else av.AudioResampler(format="s16", layout="mono", rate=to_rate)
        self._stream = self._container.add_stream("libopus", rate=to_rate, layout="mono", options=dict(_OPTIONS))
        self._stream.codec_context.bit_rate = bits_per_second

    def add(self, samples: Samples) -> None:
        """Encode some more."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self.frames
        self.frames += samples.size
        for each in [frame] if self._resampler is None else self._resampler.resample(frame):
            self._container.mux(self._stream.encode(each))

    def so_far(self) -> bytes:
        """A file that can be played of what was written until now: the last second may be missing."""
        return self._out.getvalue()

    def finish(self) -> bytes:
        """The whole file."""
        if self._resampler is not None:
            for each in self._resampler.resample(None):
                self._container.mux(self._stream.encode(each))
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._out.getvalue()


def decode(content: bytes, rate: int) -> Samples:
    """The samples of a file, at a rate. Raises InvalidArgument for what is none."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    pieces: list[Samples] = []
    try:
        with av.open(io.BytesIO(content), "r", format="ogg") as container:
            for frame in container.decode(audio=0):
                pieces += [_samples(each) for each in resampler.resample(frame)]
            pieces += [_samples(each) for each in resampler.resample(None)]
    except (av.FFmpegError, IndexError):
        raise InvalidArgument("a file of this recording is damaged", reason="RECORDING_DAMAGED") from None
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def _samples(frame: av.AudioFrame) -> Samples:
    return frame.to_ndarray().ravel().astype(np.int16, copy=False)
