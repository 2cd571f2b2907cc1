"""What a decoder of live audio is, and how one is made.

Decoders are pure and synchronous: bytes in, 16-bit samples out, no clock and no task. Any cut of a stream into pieces gives the same
samples. How a call survives its server: the client keeps the bytes from ``keep_from_byte`` on, and the first ``header_bytes``; the new
server makes a fresh decoder, feeds the header, calls ``restart`` and feeds what the client sends again.
"""

from typing import Protocol

from malha.audio.formats.g711 import ALAW_SAMPLES, MULAW_SAMPLES, G711Decoder
from malha.audio.formats.ogg import OggDecoder
from malha.audio.formats.pcm import PcmDecoder
from malha.audio.formats.samples import Samples
from malha.audio.formats.wav import WavDecoder
from malha.audio.formats.webm import WebmDecoder
from malha.runtime.errors import UnsupportedFormat

RAW_ENCODINGS = ("pcm16", "mulaw", "alaw")
"""Positions in these are frames; their rate and channels are what the client says."""
CONTAINER_ENCODINGS = ("wav", "webm", "ogg")
"""Positions in these are bytes; their rate and channels are what their header says."""
ENCODINGS = RAW_ENCODINGS + CONTAINER_ENCODINGS

MAX_FEED_BYTES = 16_384
"""The most one should feed at once: compressed audio of this size may be two minutes long and take 0.3 s to decode."""


class Decoder(Protocol):
    """Decodes one stream. After it has raised UnsupportedFormat it is of no further use."""

    sample_rate: int | None
    """In hertz; None until the header is read."""
    channels: int | None
    """1 or 2; None until the header is read."""
    header_bytes: int
    """The length of the header, needed to restart; 0 until it is known, and always for raw formats."""
    keep_from_byte: int
    """The latest position from which decoding can restart: a cluster or page start, for WAV and raw formats the next frame."""

    @property
    def keep_from_frame(self) -> int:
        """The number, since the start of the stream, of the first frame decoded from ``keep_from_byte`` on."""

    def feed(self, data: bytes) -> Samples:
        """Samples of shape (frames, channels) at ``sample_rate``, perhaps a view of ``data``; none, if more bytes are needed: (0, 1) where
        the channels are not yet known.

        Raises UnsupportedFormat, with the reasons PARTIAL_FRAME (raw formats take whole frames), CORRUPT_CONTAINER, NOT_AUDIO (no audio
        track), AUDIO_BURST (more than two minutes in one call) or UNSUPPORTED_FORMAT.
        """

    def finish(self) -> Samples:
        """What is left at the end of the stream. Raises UnsupportedFormat if the stream ended within its header; no bytes are no error."""

    def restart(self, byte: int, frame: int) -> None:
        """The next byte fed is at ``byte``, an earlier ``keep_from_byte``, and ``frame`` the ``keep_from_frame`` that went with it.

        For containers exactly the header must have been fed before. Opus takes 0.2 s after this to sound as it did.
        Raises UnsupportedFormat where that is not so.
        """


def create_decoder(encoding: str, sample_rate: int, channels: int) -> Decoder:
    """A decoder for one of ``ENCODINGS``. Rate (hertz) and channels count for raw formats only.

    Raises UnsupportedFormat, naming what is supported.
    """
    match encoding:
        case "pcm16":
            return PcmDecoder(sample_rate, channels)
        case "mulaw":
            return G711Decoder(MULAW_SAMPLES, sample_rate, channels)
        case "alaw":
            return G711Decoder(ALAW_SAMPLES, sample_rate, channels)
        case "wav":
            return WavDecoder()
        case "webm":
            return WebmDecoder()
        case "ogg":
            return OggDecoder()
        case _:
            supported = ", ".join(ENCODINGS)
            raise UnsupportedFormat(f"this encoding is not supported: supported are {supported}", metadata={"supported": supported})
