"""Whole files, decoded by FFmpeg through PyAV, in a worker process that is bounded in memory and CPU time.

The file is an attacker's until proven otherwise. So: the demuxer is chosen here, from the file's first bytes and a short list, never by
FFmpeg's probing and never by the file's name; FFmpeg reads a Python file object and can open nothing else (no URLs, no playlists, no
external references); decoders are from a list as well.
"""

import contextlib
import functools
import os
import pathlib
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Never, Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from malha.audio.formats.samples import MAX_FILE_RATE_HERTZ, Samples, check_layout, corrupt, to_int16
from malha.runtime.errors import UnsupportedFormat

SUPPORTED = "WAV, FLAC, MP3, Ogg, WebM/Matroska and MP4/M4A"
MAX_BAD_PACKETS = 50
"""So many packets in a row that cannot be decoded are not damage."""

_CODECS = frozenset(("aac", "alac", "flac", "mp2", "mp2float", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis")) | {
    f"pcm_{coding}" for coding in ("u8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le", "mulaw", "alaw")
}
_DECLARES_DURATION = frozenset(("wav", "flac", "ogg", "matroska", "mov"))
"""MP3 files mostly only let it be guessed."""
_MAGICS = {b"fLaC": "flac", b"OggS": "ogg", b"\x1a\x45\xdf\xa3": "matroska"}
_HEAD_BYTES = 16
_ID3_HEADER_BYTES = 10


class FileDecoder:
    """Decodes the first audio track of a file; iterating gives int16 arrays of shape (frames, channels), about a second each.

    Rate and channels are the file's. A file that is cut off gives what there is. Raises UnsupportedFormat with the reason EMPTY_FILE,
    NOT_AUDIO, CORRUPT_CONTAINER or TOO_LONG (from the header where it tells, else when ``max_seconds`` are decoded), or UNSUPPORTED_FORMAT
    for a coding, rate or number of channels Malha does not read.
    """

    sample_rate: int
    channels: int

    def __init__(self, path: str | os.PathLike[str], max_seconds: float) -> None:
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(pathlib.Path(path).open("rb"))
            demuxer = sniff(file)
            container = opened.enter_context(_open(file, demuxer))
            self._stream = _first_audio(container)
            if demuxer in _DECLARES_DURATION and container.duration and container.duration / av.time_base > max_seconds:
                raise _too_long(max_seconds)
            self._max_seconds = max_seconds
            self._container = container
            self._frames = self._decode()
            self._first = next(self._frames, None)
            if self._first is None:
                raise corrupt("the file has no audio that can be decoded")
            self.sample_rate, self.channels = _layout(self._first)
            check_layout(self.sample_rate, self.channels, max_rate=MAX_FILE_RATE_HERTZ)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._opened.close()

    def __iter__(self) -> Iterator[Samples]:
        """May be done once."""
        gathered: list[Samples] = []
        ready = total = 0
        frame, self._first = self._first, None
        while frame is not None:
            samples = self._samples(frame)
            total += len(samples)
            if total > self._max_seconds * self.sample_rate:
                raise _too_long(self._max_seconds)
            gathered.append(samples)
            ready += len(samples)
            if ready >= self.sample_rate:
                yield np.concatenate(gathered)
                gathered, ready = [], 0
            frame = next(self._frames, None)
        if gathered:
            yield np.concatenate(gathered)

    def _decode(self) -> Iterator[av.AudioFrame]:
        """The decoded frames, as far as the file can be read. Damaged packets are left out."""
        bad = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except MemoryError:
                raise
            except av.FFmpegError as error:
                bad += 1
                if bad > MAX_BAD_PACKETS:
                    raise corrupt("the file's audio is damaged") from error
                continue
            if frames:
                bad = 0
            yield from frames

    def _packets(self) -> "Iterator[av.Packet[AudioStream]]":
        try:
            yield from self._container.demux(self._stream)
        except MemoryError:
            raise
        except av.FFmpegError:
            return  # cut off: what was there has been given

    def _samples(self, frame: av.AudioFrame) -> Samples:
        if _layout(frame) != (self.sample_rate, self.channels):
            raise UnsupportedFormat("the file changes its sample rate or channels in the middle, which is not supported")
        array = to_int16(frame.to_ndarray())
        return array.T if frame.format.is_planar else array.reshape(-1, self.channels)


def sniff(file: BinaryIO) -> str:
    """FFmpeg's name of the demuxer for the file's first bytes; the file is at its beginning afterwards.

    Raises UnsupportedFormat: EMPTY_FILE, or NOT_AUDIO if the bytes are of none of the supported kinds.
    """
    head = file.read(_HEAD_BYTES)
    if not head:
        raise UnsupportedFormat("the file is empty", reason="EMPTY_FILE")
    tagged = head.startswith(b"ID3") and len(head) >= _ID3_HEADER_BYTES
    if tagged:  # a tag of this size in 7-bit bytes, then MP3 or, rarely, FLAC
        size = functools.reduce(lambda size, byte: size << 7 | byte & 0x7F, head[6:10], 0)
        file.seek(_ID3_HEADER_BYTES + size)
        head = file.read(_HEAD_BYTES)
    file.seek(0)
    demuxer = _demuxer(head) or ("mp3" if tagged else None)
    if demuxer is None:
        raise UnsupportedFormat(
            f"the file is not audio of a kind Malha reads: supported are {SUPPORTED}", reason="NOT_AUDIO", metadata={"supported": SUPPORTED}
        )
    return demuxer


def _demuxer(head: bytes) -> str | None:
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return "wav"
    if head[4:8] == b"ftyp":
        return "mov"
    for magic, demuxer in _MAGICS.items():
        if head.startswith(magic):
            return demuxer
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # MPEG audio: layer II or III, rate and bit rate not reserved
        layer, bit_rate, rate = head[1] >> 1 & 0x03, head[2] >> 4, head[2] >> 2 & 0x03
        if layer in {1, 2} and bit_rate != 0x0F and rate != 0x03:
            return "mp3"
    return None


def _open(file: BinaryIO, demuxer: str) -> InputContainer:
    """The container, with nothing else that FFmpeg might open or try."""
    try:
        return av.open(
            file,
            mode="r",
            format=demuxer,
            metadata_errors="replace",
            io_open=_refuse,
            container_options={"format_whitelist": demuxer, "codec_whitelist": ",".join(_CODECS), "protocol_whitelist": "none"},
        )
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise corrupt("the file begins like audio, but its header is damaged or cut off") from error


def _refuse(_url: str, _flags: int, _options: dict[str, str]) -> Never:
    """What FFmpeg calls to open anything besides the file."""
    raise PermissionError


def _first_audio(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise UnsupportedFormat("the file has no audio track", reason="NOT_AUDIO")
    stream = container.streams.audio[0]
    if stream.codec_context is None or stream.codec_context.name not in _CODECS:
        raise UnsupportedFormat("the coding of the file's audio is not supported")
    return stream


def _layout(frame: av.AudioFrame) -> tuple[int, int]:
    """Rate in hertz and channels."""
    return frame.sample_rate, frame.layout.nb_channels


def _too_long(max_seconds: float) -> UnsupportedFormat:
    return UnsupportedFormat(
        f"the file is longer than {max_seconds:g} s, the limit", reason="TOO_LONG", metadata={"max_seconds": f"{max_seconds:g}"}
    )
