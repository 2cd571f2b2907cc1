"""Headerless 16-bit PCM, little-endian, interleaved; and what it shares with the other formats that have no header."""

import numpy as np

from malha.audio.formats.samples import Samples, check_layout, no_samples
from malha.runtime.errors import UnsupportedFormat

_INT16 = np.dtype("<i2")


class RawDecoder:
    """A format without header or state: each piece of it is whole frames, and decoding can restart at any of them.

    Raises UnsupportedFormat for a rate or a number of channels Malha does not read.
    """

    bytes_per_sample: int

    def __init__(self, sample_rate: int, channels: int) -> None:
        check_layout(sample_rate, channels)
        self.sample_rate: int | None = sample_rate
        self.channels: int | None = channels
        self.header_bytes = 0
        self.keep_from_byte = 0
        self._width = channels
        self._frame_bytes = self.bytes_per_sample * channels

    @property
    def keep_from_frame(self) -> int:
        return self.keep_from_byte // self._frame_bytes

    def restart(self, byte: int, frame: int) -> None:
        if byte != frame * self._frame_bytes:
            raise UnsupportedFormat(f"byte {byte} is not where frame {frame} begins: a frame is {self._frame_bytes} bytes")
        self.keep_from_byte = byte

    def finish(self) -> Samples:
        return no_samples(self._width)

    def _partial_frame(self, size: int) -> UnsupportedFormat:
        return UnsupportedFormat(
            f"{size} bytes are not a whole number of frames: send multiples of {self._frame_bytes} bytes "
            f"({self.bytes_per_sample} for each of {self._width} channels)",
            reason="PARTIAL_FRAME",
            metadata={"multiple_of": str(self._frame_bytes)},
        )


class PcmDecoder(RawDecoder):
    bytes_per_sample = 2

    def feed(self, data: bytes) -> Samples:
        """A read-only view of ``data``. This runs ten times a second for every call: nothing is copied."""
        size = len(data)
        frames, rest = divmod(size, self._frame_bytes)
        if rest:
            raise self._partial_frame(size)
        self.keep_from_byte += size
        return np.ndarray((frames, self._width), _INT16, data)
