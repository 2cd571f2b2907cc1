"""Real streams for the tests of the formats, made by FFmpeg, and the small writers for what FFmpeg does not make."""

import io
import itertools
import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from malha.audio.formats.base import Decoder
from malha.audio.formats.samples import Samples

TONE_HERTZ = 440


def tone(seconds: float, rate: int, channels: int) -> Samples:
    """A tone of 440 Hz on the first channel and of 880 Hz on the second, with a little fixed noise."""
    frames = round(seconds * rate)
    time = np.arange(frames) / rate
    noise = np.random.default_rng(7).standard_normal((frames, channels)) * 200
    waves = np.stack([np.sin(2 * np.pi * TONE_HERTZ * (index + 1) * time) * 9000 for index in range(channels)], axis=1)
    return (waves + noise).astype(np.int16)


class _Pipe(io.RawIOBase):
    """A sink that cannot seek, as a live sender's: the muxer cannot go back and write sizes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.data += bytes(data)
        return len(data)


def mux(
    container: str, codec: str, pcm: Samples, rate: int, *, live: bool = False, video: bool = False, options: dict[str, str] | None = None
) -> bytes:
    """A file of this audio, written by FFmpeg."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[pcm.shape[1]]
    sink = _Pipe() if live else io.BytesIO()
    with av.open(sink, "w", format=container, options=options or {}) as output:
        picture = output.add_stream("mpeg4", rate=10, width=16, height=16, pix_fmt="yuv420p") if video else None
        stream = output.add_stream(codec, rate=rate, layout=layout)
        if picture is not None:
            for _ in range(5):
                output.mux(picture.encode(av.VideoFrame(16, 16, "yuv420p")))
        for at in range(0, len(pcm), 4096):
            piece = np.ascontiguousarray(pcm[at : at + 4096]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if picture is not None:
            output.mux(picture.encode(None))
    return bytes(sink.data) if isinstance(sink, _Pipe) else sink.getvalue()


def webm(seconds: float = 1.0, channels: int = 1, *, live: bool = True) -> bytes:
    """WebM with Opus; live, with unknown sizes and a cluster each 200 ms."""
    options = {"live": "1", "cluster_time_limit": "200"} if live else {}
    return mux("webm", "libopus", tone(seconds, 48_000, channels), 48_000, live=live, options=options)


def ogg(seconds: float = 1.0, channels: int = 1, page_milliseconds: int = 100) -> bytes:
    """Ogg with Opus, a page each 100 ms."""
    return mux("ogg", "libopus", tone(seconds, 48_000, channels), 48_000, options={"page_duration": str(page_milliseconds * 1000)})


def reference(stream: bytes, container: str) -> Samples:
    """The Opus audio of a whole file as FFmpeg demultiplexes it: its packets by libopus, its length as FFmpeg's own decode gives it."""
    with av.open(io.BytesIO(stream), format=container) as source:
        audio = source.streams.audio[0]
        codec = av.CodecContext.create("libopus", "r")
        codec.extradata = audio.codec_context.extradata
        frames = [frame for packet in source.demux(audio) if packet.size for frame in codec.decode(packet)]
    with av.open(io.BytesIO(stream), format=container) as source:
        length = sum(frame.samples for frame in source.decode(audio=0))
    samples = np.concatenate([frame.to_ndarray().reshape(-1, codec.channels) for frame in frames])
    return samples[:length]


def decode(decoder: Decoder, stream: bytes, cuts: Sequence[int] = ()) -> Samples:
    """All samples of a stream that comes in pieces, cut at these bytes."""
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [decoder.feed(stream[start:end]) for start, end in itertools.pairwise(edges)]
    pieces.append(decoder.finish())
    return np.concatenate([piece for piece in pieces if len(piece)] or pieces[-1:])


def cuts_of(stream: bytes) -> st.SearchStrategy[list[int]]:
    """Places to cut a stream; some examples cut closely around one place."""
    anywhere = st.integers(0, len(stream))
    close = anywhere.flatmap(lambda at: st.lists(st.integers(at, min(at + 40, len(stream))), max_size=30))
    return st.one_of(st.lists(anywhere, max_size=30), close)


def element(ident: int, body: bytes) -> bytes:
    """An EBML element with its size in eight bytes."""
    return ident.to_bytes((ident.bit_length() + 7) // 8) + (1 << 56 | len(body)).to_bytes(8) + body


def page(flags: int, position: int, serial: int, sequence: int, table: bytes, body: bytes) -> bytes:
    """An Ogg page, its checksum by the definition: bit by bit."""
    header = struct.pack("<4sBBqIII", b"OggS", 0, flags, position, serial, sequence, 0)
    blank = header + bytes([len(table)]) + table + body
    return blank[:22] + slow_checksum(blank).to_bytes(4, "little") + blank[26:]


def slow_checksum(data: bytes) -> int:
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if register & 0x80000000 else register << 1
    return register


def pages(stream: bytes) -> list[bytes]:
    """The pages of an intact Ogg stream."""
    found, at = [], 0
    while at < len(stream):
        table = stream[at + 27 : at + 27 + stream[at + 26]]
        end = at + 27 + len(table) + sum(table)
        found.append(stream[at:end])
        at = end
    return found


def peak_hertz(mono: npt.NDArray[np.int16], rate: int) -> float:
    """The strongest frequency."""
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono))))
    return float(np.argmax(spectrum) * rate / len(mono))
