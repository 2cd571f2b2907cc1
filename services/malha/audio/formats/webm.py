"""Live WebM (Matroska) with an Opus track, as a browser's MediaRecorder makes it.

Segment and Cluster are walked through, not gathered: a live recorder writes them with unknown sizes, and no element inside them can be
taken for one outside. Timestamps are not read: a recorder's audio is continuous.
"""

from malha.audio.formats.container import MAX_ELEMENT_BYTES, OpusContainer
from malha.audio.formats.ebml import UNKNOWN_SIZE, children, read_header, signed, split_block, unsigned
from malha.audio.formats.opus import OPUS_RATE_HERTZ, OpusHead
from malha.audio.formats.samples import corrupt
from malha.runtime.errors import UnsupportedFormat

EBML = 0x1A45DFA3
DOC_TYPE = 0x4282
SEGMENT = 0x18538067
TRACKS = 0x1654AE6B
TRACK_ENTRY = 0xAE
TRACK_NUMBER = 0xD7
TRACK_TYPE = 0x83
CODEC_ID = 0x86
CODEC_PRIVATE = 0x63A2
CONTENT_ENCODINGS = 0x6D80
CLUSTER = 0x1F43B675
SIMPLE_BLOCK = 0xA3
BLOCK_GROUP = 0xA0
BLOCK = 0xA1
DISCARD_PADDING = 0x75A2

_AUDIO = 2
_TRANSPARENT = frozenset((SEGMENT, CLUSTER))
_GATHERED = frozenset((EBML, TRACKS, SIMPLE_BLOCK, BLOCK_GROUP))


class WebmDecoder(OpusContainer):
    """Decodes the first Opus track; other tracks are ignored. Decoding can restart at each Cluster."""

    name = "WebM"

    def __init__(self) -> None:
        super().__init__()
        self._track = 0
        self._started = False
        self._skip = 0
        """Bytes still to come of an element that is not read."""

    def _parse(self, buffer: bytearray) -> int:
        at = 0
        while at < len(buffer):
            if self._skip:
                step = min(self._skip, len(buffer) - at)
                self._skip -= step
                at += step
                continue
            header = read_header(buffer, at)
            if header is None:
                break
            element, size, body = header
            self._check(element, size)
            if element in _TRANSPARENT:
                if element == CLUSTER:
                    self._cluster(self._offset + at)
                at = body
            elif element in _GATHERED:
                if body + size > len(buffer):
                    break
                at = body + size
                self._read(element, bytes(buffer[body:at]))
            else:
                self._skip = size
                at = body
        return at

    def _header_read(self) -> bool:
        return not self._skip

    def _check(self, element: int, size: int) -> None:
        if not self._started and element != EBML:
            raise corrupt("the stream is not WebM: it does not begin with an EBML header")
        if self._started and element == EBML:
            raise UnsupportedFormat("a second recording begins within the stream: send one recording for each stream")
        if element not in _TRANSPARENT and (size == UNKNOWN_SIZE or size > MAX_ELEMENT_BYTES):
            raise corrupt(f"an element of the WebM container is larger than {MAX_ELEMENT_BYTES} bytes")

    def _cluster(self, byte: int) -> None:
        if not self._opus:
            raise corrupt("the WebM container has audio before it describes its tracks")
        self.header_bytes = self.header_bytes or byte
        self._mark(byte, self._opus)

    def _read(self, element: int, body: bytes) -> None:
        if element == EBML:
            self._started = True
            if dict(children(body)).get(DOC_TYPE, b"").rstrip(b"\0") not in {b"webm", b"matroska"}:
                raise corrupt("the stream is EBML, but neither WebM nor Matroska")
        elif element == TRACKS:
            self._read_tracks(body)
        elif element == SIMPLE_BLOCK:
            self._decode_block(body, discard=0)
        else:
            group = dict(children(body))
            self._decode_block(group.get(BLOCK, b""), discard=signed(group.get(DISCARD_PADDING, b"")))

    def _read_tracks(self, body: bytes) -> None:
        if self._opus:
            return  # repeated for robustness, RFC 9559 section 5.1.4
        entries = [dict(children(entry)) for element, entry in children(body) if element == TRACK_ENTRY]
        audio = [entry for entry in entries if unsigned(entry.get(TRACK_TYPE, b"")) == _AUDIO]
        if not audio:
            raise UnsupportedFormat("the WebM container has no audio track", reason="NOT_AUDIO")
        opus = next((entry for entry in audio if entry.get(CODEC_ID, b"").rstrip(b"\0") == b"A_OPUS"), None)
        if opus is None:
            raise UnsupportedFormat(
                "the audio of the WebM container is not Opus, which alone is supported", metadata={"supported": "A_OPUS"}
            )
        if CONTENT_ENCODINGS in opus:
            raise UnsupportedFormat("compressed or encrypted WebM tracks are not supported")
        self._track = unsigned(opus.get(TRACK_NUMBER, b""))
        self._begin(OpusHead.parse(opus.get(CODEC_PRIVATE, b"")))

    def _decode_block(self, block: bytes, discard: int) -> None:
        """Decode a block's frames and drop the last ``discard`` nanoseconds of them."""
        if not self._opus or not self.header_bytes:
            raise corrupt("the WebM container has audio outside of a cluster")
        track, frames = split_block(block)
        if track != self._track:
            return
        length = sum(self._opus.push(frame) for frame in frames)
        if discard > 0:
            self._opus.drop_tail(min(round(discard * OPUS_RATE_HERTZ / 1e9), length))
