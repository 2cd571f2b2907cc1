"""Ogg pages (RFC 3533) with an Opus stream (RFC 7845), live or from a file."""

import struct
import zlib
from dataclasses import dataclass

from malha.audio.formats.container import MAX_ELEMENT_BYTES, OpusContainer
from malha.audio.formats.opus import OpusDecoder, OpusHead
from malha.audio.formats.samples import corrupt
from malha.runtime.errors import UnsupportedFormat

MAX_BAD_PAGES = 16
MAX_LOST_BYTES = 262_144
"""How much damage one stream may have. The transport does not damage bytes: more than this is not an Ogg stream."""

_CAPTURE = b"OggS"
_HEADER = struct.Struct("<4sBBqIIIB")
_CONTINUED, _FIRST, _LAST = 0x01, 0x02, 0x04
_NO_POSITION = -1
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ALL_ONES = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Page:
    """A page whose checksum is right."""

    flags: int
    position: int
    """The granule position: frames at 48 kHz, pre-skip included, to the end of the last packet that ends here; -1 if none does."""
    serial: int
    sequence: int
    packets: list[bytes]
    """The pieces of packets; the first continues an earlier page's if the flags say so."""
    unfinished: bool
    """Whether the last piece goes on in the next page."""


def page_checksum(page: bytes) -> int:
    """The CRC of a page whose checksum field is zero.

    Ogg's CRC has zlib's polynomial but takes the bits of each byte highest first and starts from zero: with the bits reversed on the way in
    and out it is zlib's, at the speed of C.
    """
    reflected = zlib.crc32(page.translate(_REVERSED_BITS), _ALL_ONES) ^ _ALL_ONES
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED_BITS), "big")


def read_page(buffer: bytearray, at: int) -> tuple[Page | None, int] | None:
    """The page at ``at`` and where it ends; None if more bytes are needed. No page: (None, ``at``). Damaged: (None, its end)."""
    if not _CAPTURE.startswith(buffer[at : at + 4]):
        return None, at
    body = at + _HEADER.size
    if body > len(buffer):
        return None
    _, version, flags, position, serial, sequence, checksum, count = _HEADER.unpack_from(buffer, at)
    if version:
        return None, at
    table = bytes(buffer[body : body + count])
    end = body + count + sum(table)
    if len(table) < count or end > len(buffer):
        return None
    raw = bytes(buffer[at : at + 22]) + bytes(4) + bytes(buffer[at + 26 : end])
    if page_checksum(raw) != checksum:
        return None, end
    packets, unfinished = _split(table, raw[_HEADER.size + count :])
    return Page(flags, position, serial, sequence, packets, unfinished), end


def _split(table: bytes, body: bytes) -> tuple[list[bytes], bool]:
    """The pieces of packets in a page, by its lacing values: a value below 255 ends a packet."""
    packets = []
    start = end = 0
    for value in table:
        end += value
        if value < 255:
            packets.append(body[start:end])
            start = end
    unfinished = bool(table) and table[-1] == 255
    if unfinished:
        packets.append(body[start:])
    return packets, unfinished


class OggDecoder(OpusContainer):
    """Decodes the first Opus stream; others multiplexed with it are ignored. Decoding can restart at each page that starts a packet."""

    name = "Ogg"

    def __init__(self) -> None:
        super().__init__()
        self._serial: int | None = None
        self._pre_skip = 0
        self._sequence: int | None = None
        self._partial = b""
        self._ended = False
        self._bad_pages = 0
        self._lost_bytes = 0
        self._position = 0
        """The granule position that the packets so far lead to. A stream that was joined in the middle tells it with its first page."""

    def restart(self, byte: int, frame: int) -> None:
        super().restart(byte, frame)
        self._sequence, self._partial = None, b""
        self._position = frame + self._pre_skip if byte > self.header_bytes else 0

    def _header_read(self) -> bool:
        return self.header_bytes > 0

    def _parse(self, buffer: bytearray) -> int:
        at = 0
        while at < len(buffer):
            found = read_page(buffer, at)
            if found is None:
                break
            page, end = found
            if page is None:
                at = self._resynchronise(buffer, at, damaged=end > at)
                continue
            if not self._ended:
                self._read(page, self._offset + at, self._offset + end)
            at = end
        return at

    def _resynchronise(self, buffer: bytearray, at: int, *, damaged: bool) -> int:
        """Where the next page may begin."""
        if self._serial is None:
            raise corrupt("the stream is not Ogg with Opus audio, or its first page is damaged")
        following = buffer.find(_CAPTURE, at + 1)
        if following < 0:
            following = max(len(buffer) - 3, at + 1)
        self._lost_bytes += following - at
        self._bad_pages += damaged
        if self._bad_pages > MAX_BAD_PAGES or self._lost_bytes > MAX_LOST_BYTES:
            raise corrupt("the Ogg stream is damaged in too many places")
        return following

    def _read(self, page: Page, start: int, end: int) -> None:
        if page.flags & _FIRST:
            self._read_first(page)
        elif page.serial == self._serial:
            self._read_next(page, start, end)
        elif self._serial is None:
            raise UnsupportedFormat("the audio of the Ogg stream is not Opus, which alone is supported", metadata={"supported": "Opus"})

    def _read_first(self, page: Page) -> None:
        """A stream begins: all that are multiplexed do so before any goes on."""
        head = page.packets[0] if page.packets else b""
        if self.header_bytes:
            raise UnsupportedFormat("a second recording begins within the stream: send one recording for each stream")
        if self._opus or not head.startswith(b"OpusHead"):
            return
        opus_head = OpusHead.parse(head)
        self._begin(opus_head)
        self._pre_skip = opus_head.pre_skip
        self._serial, self._sequence = page.serial, page.sequence

    def _read_next(self, page: Page, start: int, end: int) -> None:
        assert self._opus is not None
        packets = self._join(page)
        if not self.header_bytes:
            self._read_tags(packets, end, self._opus)
            return
        if not page.flags & _CONTINUED:
            self._mark(start, self._opus)
        self._decode(page, packets, self._opus)

    def _read_tags(self, packets: list[bytes], end: int, opus: OpusDecoder) -> None:
        """The comment header, which ends its page; nothing of it is used."""
        if packets and not packets[0].startswith(b"OpusTags"):
            raise corrupt("the comment header of the Ogg stream is missing or damaged")
        if packets:
            self.header_bytes = end
            self._mark(end, opus)

    def _join(self, page: Page) -> list[bytes]:
        """The packets that end in this page. One of which a piece is lost is dropped."""
        lost = self._sequence is not None and page.sequence != (self._sequence + 1) & _ALL_ONES
        self._sequence = page.sequence
        pieces = page.packets
        if page.flags & _CONTINUED and pieces:
            pieces = [self._partial + pieces[0], *pieces[1:]] if self._partial and not lost else pieces[1:]
        self._partial = pieces.pop() if page.unfinished and pieces else b""
        if len(self._partial) > MAX_ELEMENT_BYTES:
            raise corrupt(f"a packet of the Ogg stream is larger than {MAX_ELEMENT_BYTES} bytes")
        return pieces

    def _decode(self, page: Page, packets: list[bytes], opus: OpusDecoder) -> None:
        length = sum(opus.push(packet) for packet in packets)
        self._position += length
        self._ended = bool(page.flags & _LAST)
        if page.position == _NO_POSITION:
            return
        if self._ended and self._position > page.position:
            opus.drop_tail(min(self._position - page.position, length))
        self._position = page.position
