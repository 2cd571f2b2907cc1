"""ITU-T G.711 mu-law and A-law, decoded and encoded by tables computed from the recommendation's formulas.

Both are a sign, a 3-bit segment and a 4-bit step within it: each segment covers twice the range of the one before. mu-law works on
14 bits, A-law on 13; both are scaled here to the 16 bits of PCM.
"""

import functools

import numpy as np
import numpy.typing as npt

from malha.audio.formats.pcm import RawDecoder
from malha.audio.formats.samples import Samples

_MULAW_BIAS = 0x84
_MULAW_CLIP = 32_635
_ALAW_TOGGLE = 0x55
"""A-law inverts every other bit on the line, mu-law inverts all."""


class G711Decoder(RawDecoder):
    """mu-law or A-law, as ``table`` says: the 16-bit sample for each of the 256 codes."""

    bytes_per_sample = 1

    def __init__(self, table: npt.NDArray[np.int16], sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._table = table

    def feed(self, data: bytes) -> Samples:
        size = len(data)
        frames, rest = divmod(size, self._width)
        if rest:
            raise self._partial_frame(size)
        self.keep_from_byte += size
        return self._table.take(np.ndarray((frames, self._width), np.uint8, data))


def _mulaw_table() -> npt.NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    step, segment = (code & 0x0F).astype(np.int32), (code >> 4 & 0x07).astype(np.int32)
    magnitude = (((step << 3) + _MULAW_BIAS) << segment) - _MULAW_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> npt.NDArray[np.int16]:
    code = np.arange(256, dtype=np.uint8) ^ _ALAW_TOGGLE
    step, segment = (code & 0x0F).astype(np.int32), (code >> 4 & 0x07).astype(np.int32)
    middle = (step << 4) + 8
    magnitude = np.where(segment == 0, middle, (middle + 0x100) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


MULAW_SAMPLES = _mulaw_table()
ALAW_SAMPLES = _alaw_table()


def encode_mulaw(samples: npt.NDArray[np.int16]) -> bytes:
    """16-bit samples as mu-law, a byte each, in the order of the array."""
    return _mulaw_codes().take(samples.view(np.uint16)).tobytes()


def encode_alaw(samples: npt.NDArray[np.int16]) -> bytes:
    """16-bit samples as A-law, a byte each, in the order of the array."""
    return _alaw_codes().take(samples.view(np.uint16)).tobytes()


@functools.cache
def _mulaw_codes() -> npt.NDArray[np.uint8]:
    """The code of each 16-bit sample, at the sample's unsigned value (64 KiB)."""
    sample = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    biased = np.minimum(np.abs(sample), _MULAW_CLIP) + _MULAW_BIAS
    segment = _highest_bit(biased) - 7
    step = biased >> (segment + 3) & 0x0F
    sign = np.where(sample < 0, 0x80, 0)
    codes: npt.NDArray[np.uint8] = (~(sign | segment << 4 | step)).astype(np.uint8)
    return codes


@functools.cache
def _alaw_codes() -> npt.NDArray[np.uint8]:
    """The code of each 16-bit sample, at the sample's unsigned value (64 KiB)."""
    sample = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.where(sample < 0, ~sample, sample)  # minus one is in the first negative step, as zero is in the first positive one
    segment = np.maximum(_highest_bit(np.maximum(magnitude, 1)) - 7, 0)
    step = magnitude >> (np.maximum(segment, 1) + 3) & 0x0F
    sign = np.where(sample < 0, 0, 0x80)
    codes: npt.NDArray[np.uint8] = ((sign | segment << 4 | step) ^ _ALAW_TOGGLE).astype(np.uint8)
    return codes


def _highest_bit(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The position of the highest set bit of each value, all of which are positive."""
    _, exponent = np.frexp(values.astype(np.float64))
    return exponent.astype(np.int32) - 1
