"""RIFF/WAVE as a stream (and RF64, its form for long files): chunks before the audio are read or skipped as they come.

A live sender does not know the size of its data: 0 and 0xFFFFFFFF mean that it lasts until the end.
Source: Multimedia Programming Interface and Data Specifications 1.0; EBU Tech 3306 (RF64).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from malha.audio.formats.g711 import ALAW_SAMPLES, MULAW_SAMPLES
from malha.audio.formats.samples import Samples, check_layout, corrupt, no_samples, to_int16
from malha.runtime.errors import UnsupportedFormat

MAX_HEADER_BYTES = 1 << 20

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SUBFORMAT_TAIL = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the format tag in the GUID of each extensible format that has a tag."""
_UNKNOWN_SIZES = frozenset((0, 0xFFFFFFFF))
_FORMAT = struct.Struct("<HHIIHH")
_CHUNK = struct.Struct("<4sI")
_SUPPORTED = "PCM of 8, 16, 24 and 32 bit, float of 32 and 64 bit, A-law and mu-law"


def _int24(data: bytes) -> npt.NDArray[np.int16]:
    """The upper two of each three bytes."""
    return np.frombuffer(data, np.uint8).reshape(-1, 3)[:, 1:].copy().view("<i2").reshape(-1)


def _numbers(dtype: str) -> Callable[[bytes], npt.NDArray[np.int16]]:
    return lambda data: to_int16(np.frombuffer(data, dtype))


def _table(table: npt.NDArray[Any]) -> Callable[[bytes], npt.NDArray[np.int16]]:
    return lambda data: table.take(np.frombuffer(data, np.uint8))


_CODINGS: dict[tuple[int, int], Callable[[bytes], npt.NDArray[np.int16]]] = {
    (_PCM, 8): _numbers("u1"),
    (_PCM, 16): _numbers("<i2"),
    (_PCM, 24): _int24,
    (_PCM, 32): _numbers("<i4"),
    (_FLOAT, 32): _numbers("<f4"),
    (_FLOAT, 64): _numbers("<f8"),
    (_ALAW, 8): _table(ALAW_SAMPLES),
    (_MULAW, 8): _table(MULAW_SAMPLES),
}
"""By format tag and bits of a sample: from bytes to samples, channels interleaved."""


@dataclass(frozen=True, slots=True)
class WavFormat:
    """The ``fmt`` chunk."""

    sample_rate: int
    channels: int
    frame_bytes: int
    decode: Callable[[bytes], npt.NDArray[np.int16]]

    @classmethod
    def parse(cls, body: bytes) -> "WavFormat":
        """Raises UnsupportedFormat for a coding, rate or number of channels Malha does not read."""
        if len(body) < _FORMAT.size:
            raise corrupt("the format chunk of the WAV stream is too short")
        tag, channels, rate, _, frame_bytes, bits = _FORMAT.unpack_from(body)
        if tag == _EXTENSIBLE and body[26:40] == _SUBFORMAT_TAIL:
            tag = int.from_bytes(body[24:26], "little")
        decode = _CODINGS.get((tag, bits))
        if decode is None:
            raise UnsupportedFormat(f"this coding of WAV is not supported: supported are {_SUPPORTED}", metadata={"supported": _SUPPORTED})
        check_layout(rate, channels)
        if frame_bytes != channels * bits // 8:
            raise corrupt("the format chunk of the WAV stream contradicts itself")
        return cls(rate, channels, frame_bytes, decode)


class WavDecoder:
    """Decodes from the ``data`` chunk on, and can restart at each frame of it. What follows that chunk is ignored."""

    def __init__(self) -> None:
        self.sample_rate: int | None = None
        self.channels: int | None = None
        self.header_bytes = 0
        self.keep_from_byte = 0
        self.keep_from_frame = 0
        self._buffer = bytearray()
        self._offset = 0
        """Where in the stream the buffer begins."""
        self._skip = 0
        """Bytes still to come of a chunk that is not read."""
        self._riff = False
        self._format: WavFormat | None = None
        self._long_size: int | None = None
        """The size of the data as an RF64 header gives it."""
        self._data_size: int | None = None
        """None where it lasts until the end."""

    def feed(self, data: bytes) -> Samples:
        self._buffer += data
        while not self.header_bytes and self._read_chunk():
            if self._offset > MAX_HEADER_BYTES:
                raise corrupt(f"no audio within the first {MAX_HEADER_BYTES} bytes")
        return self._read_samples() if self.header_bytes else no_samples(self.channels)

    def finish(self) -> Samples:
        """Nothing is left but part of a frame. Raises UnsupportedFormat if the header is cut off."""
        if not self.header_bytes and self._offset + len(self._buffer):
            raise corrupt("the stream ended within the WAV header")
        return no_samples(self.channels)

    def restart(self, byte: int, frame: int) -> None:
        if not self.header_bytes or self._buffer:
            raise corrupt("decoding can restart only after the whole WAV header")
        self._offset = self.keep_from_byte = byte
        self.keep_from_frame = frame

    def _take(self, size: int) -> bytes | None:
        """The next ``size`` bytes, None if they are not all there."""
        if len(self._buffer) < size:
            return None
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._offset += size
        return taken

    def _read_chunk(self) -> bool:
        """Read or skip the next chunk of the header; False if more bytes are needed."""
        if self._skip:
            skipped = len(self._take(min(self._skip, len(self._buffer))) or b"")
            self._skip -= skipped
            return bool(skipped)
        if not self._riff:
            return self._read_riff()
        if len(self._buffer) < _CHUNK.size:
            return False
        name, size = _CHUNK.unpack_from(self._buffer)
        if name == b"data":
            self._take(_CHUNK.size)
            self._begin(size)
            return True
        if size > MAX_HEADER_BYTES:
            raise corrupt(f"a chunk before the audio of the WAV stream is larger than {MAX_HEADER_BYTES} bytes")
        padded = size + size % 2
        if name not in {b"fmt ", b"ds64"}:
            self._take(_CHUNK.size)
            self._skip = padded
            return True
        body = self._take(_CHUNK.size + padded)
        if body is None:
            return False
        if name == b"fmt ":
            self._format = WavFormat.parse(body[_CHUNK.size : _CHUNK.size + size])
            self.sample_rate, self.channels = self._format.sample_rate, self._format.channels
        elif size >= 16:
            self._long_size = int.from_bytes(body[16:24], "little")
        return True

    def _read_riff(self) -> bool:
        if not any(magic.startswith(self._buffer[:4]) for magic in (b"RIFF", b"RF64")):
            raise corrupt("the stream is not WAV: it does not begin with a RIFF header")
        riff = self._take(12)
        if riff is None:
            return False
        if riff[8:] != b"WAVE":
            raise corrupt("the stream is RIFF, but not WAVE")
        self._riff = True
        return True

    def _begin(self, size: int) -> None:
        """The audio begins."""
        if self._format is None:
            raise corrupt("the WAV stream has audio before it describes its format")
        self._data_size = size if size not in _UNKNOWN_SIZES else self._long_size or None
        self.header_bytes = self.keep_from_byte = self._offset

    def _read_samples(self) -> Samples:
        assert self._format is not None
        there = len(self._buffer)
        left = there if self._data_size is None else min(there, max(self.header_bytes + self._data_size - self._offset, 0))
        frames = left // self._format.frame_bytes
        samples = self._format.decode(self._take(frames * self._format.frame_bytes) or b"").reshape(-1, self._format.channels)
        self.keep_from_byte = self._offset
        self.keep_from_frame += frames
        if left < there:
            self._buffer.clear()  # what follows the audio
        return samples


def encode_wav(pcm: bytes | Samples, rate: int, channels: int) -> bytes:
    """A WAV file of 16-bit PCM: interleaved little-endian bytes, or samples of the shape (frames, channels)."""
    data = pcm if isinstance(pcm, bytes) else pcm.astype("<i2", copy=False).tobytes()
    header = _FORMAT.pack(_PCM, channels, rate, rate * channels * 2, channels * 2, 16)
    body = b"WAVE" + _CHUNK.pack(b"fmt ", len(header)) + header + _CHUNK.pack(b"data", len(data)) + data
    return _CHUNK.pack(b"RIFF", len(body)) + body
