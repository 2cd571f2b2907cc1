"""EBML, the binary XML of Matroska and WebM (RFC 8794): element headers, simple values and lacing (RFC 9559)."""

from collections.abc import Iterator
from typing import NamedTuple

from malha.audio.formats.samples import corrupt

UNKNOWN_SIZE = -1
"""The element ends where one begins that cannot be inside it."""


class Header(NamedTuple):
    """An element's id (its marker bit kept, as specifications write it), the size of its body, and where the body begins."""

    element: int
    size: int
    body: int


def read_header(buffer: bytes | bytearray, at: int) -> Header | None:
    """The element header at ``at``; None if more bytes are needed. Raises UnsupportedFormat if there is none."""
    if at >= len(buffer):
        return None
    id_length = 9 - buffer[at].bit_length()
    if id_length > 4:
        raise corrupt("an element of the WebM container has no valid id")
    sized = at + id_length
    if sized >= len(buffer):
        return None
    size_length = 9 - buffer[sized].bit_length()
    if size_length > 8:
        raise corrupt("an element of the WebM container has no valid size")
    body = sized + size_length
    if body > len(buffer):
        return None
    return Header(int.from_bytes(buffer[at:sized]), _size(buffer[sized:body]), body)


def children(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The id and the body of each element in the body of another that is complete."""
    at = 0
    while at < len(data):
        header = read_header(data, at)
        if header is None or header.size == UNKNOWN_SIZE or header.body + header.size > len(data):
            raise corrupt("an element of the WebM container is larger than the one it is in")
        at = header.body + header.size
        yield header.element, data[header.body : at]


def split_block(block: bytes) -> tuple[int, list[bytes]]:
    """The track of a Block or SimpleBlock and its frames (RFC 9559 sections 10 and 12.4)."""
    track, at = _number(block, 0)
    at += 2  # its time: the audio is continuous
    if at >= len(block):
        raise corrupt("a block of the WebM container is cut off")
    lacing, at = block[at] >> 1 & 0x03, at + 1
    if not lacing:
        return track, [block[at:]]
    if at >= len(block):
        raise corrupt("a block of the WebM container is cut off")
    last, at = block[at], at + 1
    if lacing == 1:
        sizes, at = _xiph_sizes(block, at, last)
    elif lacing == 3:
        sizes, at = _ebml_sizes(block, at, last)
    else:
        sizes = [(len(block) - at) // (last + 1)] * last
    return track, _split(block, at, sizes)


def unsigned(data: bytes) -> int:
    """An unsigned integer element's value, up to eight bytes."""
    return int.from_bytes(data[:8])


def signed(data: bytes) -> int:
    """A signed integer element's value, up to eight bytes."""
    return int.from_bytes(data[:8], signed=True)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-size integer and where it ends."""
    if at >= len(data):
        raise corrupt("a block of the WebM container is cut off")
    length = 9 - data[at].bit_length()
    end = at + length
    if length > 8 or end > len(data):
        raise corrupt("a block of the WebM container is cut off")
    return int.from_bytes(data[at:end]) & (1 << 7 * length) - 1, end


def _size(data: bytes | bytearray) -> int:
    bits = 7 * len(data)
    value = int.from_bytes(data) & (1 << bits) - 1
    return UNKNOWN_SIZE if value == (1 << bits) - 1 else value


def _xiph_sizes(block: bytes, at: int, count: int) -> tuple[list[int], int]:
    """Each size is a run of 255s and a byte below that, summed."""
    sizes = []
    for _ in range(count):
        size = 0
        while True:
            if at >= len(block):
                raise corrupt("a block of the WebM container is cut off")
            size, at = size + block[at], at + 1
            if block[at - 1] < 255:
                break
        sizes.append(size)
    return sizes, at


def _ebml_sizes(block: bytes, at: int, count: int) -> tuple[list[int], int]:
    """The first size, then the difference of each to the one before, its sign made by a bias."""
    sizes: list[int] = []
    for index in range(count):
        start = at
        value, at = _number(block, start)
        sizes.append(sizes[-1] + value - ((1 << 7 * (at - start) - 1) - 1) if index else value)
    return sizes, at


def _split(block: bytes, at: int, sizes: list[int]) -> list[bytes]:
    """The frames of these sizes, and the last one, which takes the rest."""
    frames = []
    for size in sizes:
        if size < 0 or at + size > len(block):
            raise corrupt("a block of the WebM container is smaller than its frames")
        frames.append(block[at : at + size])
        at += size
    return [*frames, block[at:]]
