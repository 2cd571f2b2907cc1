"""How a call's audio is to be read, and what follows from it: frame size, bytes per second."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args

from malha.sdk._gen.malha.api.common import v1 as common
from malha.sdk.errors import InvalidRequest

Encoding = Literal["pcm16", "mulaw", "alaw", "wav", "webm", "ogg", "file"]
"""``pcm16`` (little-endian), ``mulaw`` and ``alaw`` are raw, channels interleaved; ``wav``, ``webm`` and ``ogg`` (Opus) are live containers;
``file`` is any whole file the server knows: WAV, FLAC, MP3, Ogg, WebM, MP4."""

_SAMPLE_BYTES: Mapping[str, int] = {"pcm16": 2, "mulaw": 1, "alaw": 1}
_DEFAULT_RATES: Mapping[str, int] = {"pcm16": 16_000, "mulaw": 8_000, "alaw": 8_000}
_SUFFIXES: Mapping[str, Encoding] = {
    ".wav": "wav",
    ".webm": "webm",
    ".ogg": "ogg",
    ".opus": "ogg",
    ".pcm": "pcm16",
    ".raw": "pcm16",
    ".ulaw": "mulaw",
    ".alaw": "alaw",
}
_MESSAGE_BYTES = 262_144
"""Most of a container in one message."""
_CONTAINER_LIMIT_BYTES = 16 * 1024 * 1024
"""Kept unsaved audio of a container, whose bytes per second are unknown: 60 s of 48 kHz stereo PCM is 11.5 MB."""


@dataclass(frozen=True, slots=True)
class Format:
    """A checked audio format."""

    encoding: Encoding
    sample_rate: int | None = None
    """Hz; containers carry their own."""
    channels: int | None = None
    """Containers carry their own."""

    @property
    def container(self) -> bool:
        return self.encoding not in _SAMPLE_BYTES

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel; 1 for containers."""
        return 1 if self.container else _SAMPLE_BYTES[self.encoding] * (self.channels or 1)

    @property
    def bytes_per_second(self) -> int | None:
        """None for containers."""
        return None if self.sample_rate is None or self.container else self.frame_bytes * self.sample_rate

    def ready_bytes(self, seconds: float) -> int:
        """How much to gather for a message of ``seconds``; a container's chunks go out as they come."""
        rate = self.bytes_per_second
        return 1 if rate is None else max(self.frame_bytes, int(rate * seconds))

    @property
    def most_bytes(self) -> int:
        """Most in one message: a second, or 256 KiB of a container."""
        return min(self.bytes_per_second or _MESSAGE_BYTES, _MESSAGE_BYTES)

    @property
    def kept_bytes(self) -> int:
        """Most unsaved audio that is kept: 60 s; of a whole file nothing, since its middle cannot be read alone."""
        if self.encoding == "file":
            return 0
        rate = self.bytes_per_second
        return _CONTAINER_LIMIT_BYTES if rate is None else 60 * rate

    def to_message(self) -> common.AudioFormat:
        return common.AudioFormat(
            encoding=common.Encoding[self.encoding.upper()], sample_rate_hertz=self.sample_rate, channels=self.channels
        )


def make_format(encoding: str, sample_rate: int | None, channels: int | None, *, default_channels: int = 1) -> Format:
    """Fill in the defaults (16 kHz mono; G.711 8 kHz) and check. Raises InvalidRequest."""
    if encoding not in get_args(Encoding):
        raise InvalidRequest(f"unknown encoding {encoding!r}: it is one of {', '.join(get_args(Encoding))}", reason="UNSUPPORTED_FORMAT")
    known: Encoding = encoding  # type: ignore[assignment]  # checked in the line before
    if channels not in {None, 1, 2}:
        raise InvalidRequest(f"{channels} channels: audio has 1 or 2", reason="UNSUPPORTED_FORMAT")
    if sample_rate is not None and not 8_000 <= sample_rate <= 48_000:
        raise InvalidRequest(f"{sample_rate} Hz: the sample rate is 8,000 to 48,000", reason="UNSUPPORTED_FORMAT")
    if known not in _SAMPLE_BYTES:
        return Format(known, sample_rate, channels)
    return Format(known, sample_rate or _DEFAULT_RATES[known], channels or default_channels)


def encoding_of(path: PurePath) -> Encoding | None:
    """What a file's name says about its encoding; None where it says nothing that can be streamed live."""
    return _SUFFIXES.get(path.suffix.lower())


def wav_bytes_per_second(head: bytes) -> int | None:
    """NAvgBytesPerSec of a RIFF/WAVE file's ``fmt`` chunk; None where ``head`` holds none."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    start = 12
    while start + 8 <= len(head):
        size = int.from_bytes(head[start + 4 : start + 8], "little")
        if head[start : start + 4] == b"fmt " and start + 20 <= len(head):
            return int.from_bytes(head[start + 16 : start + 20], "little") or None
        start += 8 + size + size % 2
    return None
