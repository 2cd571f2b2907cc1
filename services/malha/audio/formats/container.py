"""What the push demuxers of Opus share. Bytes come in pieces of any size; complete elements or pages are decoded as they are there."""

from abc import ABC, abstractmethod

from malha.audio.formats.opus import OPUS_RATE_HERTZ, OpusDecoder, OpusHead
from malha.audio.formats.samples import Samples, corrupt, no_samples

MAX_ELEMENT_BYTES = 1 << 20
"""Nothing that must be gathered whole, the header included, may be larger."""


class OpusContainer(ABC):
    """A live container with one Opus track, at 48 kHz. Once it has raised UnsupportedFormat it is of no further use."""

    name: str

    def __init__(self) -> None:
        self.sample_rate: int | None = None
        self.channels: int | None = None
        self.header_bytes = 0
        self.keep_from_byte = 0
        self.keep_from_frame = 0
        self._opus: OpusDecoder | None = None
        self._buffer = bytearray()
        self._offset = 0
        """Where in the stream the buffer begins."""

    def feed(self, data: bytes) -> Samples:
        self._buffer += data
        used = self._parse(self._buffer)
        del self._buffer[:used]
        self._offset += used
        if not self.header_bytes and self._offset + len(self._buffer) > MAX_ELEMENT_BYTES:
            raise corrupt(f"no audio within the first {MAX_ELEMENT_BYTES} bytes")
        return self._opus.take() if self._opus else no_samples(self.channels)

    def finish(self) -> Samples:
        """Nothing is left: a last element that is cut off is lost with its client. Raises UnsupportedFormat if even the header is."""
        if self._opus is None and self._offset + len(self._buffer):
            raise corrupt(f"the stream ended within the {self.name} header")
        return no_samples(self.channels)

    def restart(self, byte: int, frame: int) -> None:
        if self._opus is None or self._buffer or not self._header_read():
            raise corrupt(f"decoding can restart only after the whole {self.name} header")
        self.header_bytes = self._offset
        self._opus.restart(frame, skipped=byte > self._offset)
        self._offset = self.keep_from_byte = byte
        self.keep_from_frame = frame

    def _begin(self, head: OpusHead) -> None:
        """The track is known."""
        self._opus = OpusDecoder(head)
        self.sample_rate, self.channels = OPUS_RATE_HERTZ, head.channels

    def _mark(self, byte: int, opus: OpusDecoder) -> None:
        """Decoding can restart at ``byte``, which follows all that has been decoded."""
        self.keep_from_byte, self.keep_from_frame = byte, opus.frames

    @abstractmethod
    def _header_read(self) -> bool:
        """Whether all that comes before the audio has been read; the track is known."""

    @abstractmethod
    def _parse(self, buffer: bytearray) -> int:
        """Decode what is complete in ``buffer`` and return the bytes that are done with. Raises UnsupportedFormat."""
