"""A picture of a word, drawn without a library, for a reader to be tried on."""

import struct
import zlib
from itertools import chain

WORD = "MALHA"
_SCALE = 8
_MARGIN = 5
_GAP = 2
_WHITE, _BLACK = 255, 0
_LETTERS = {
    "M": ("#...#", "##.##", "#.#.#", "#.#.#", "#...#", "#...#", "#...#"),
    "A": (".###.", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "H": ("#...#", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
}


def picture() -> bytes:
    """A PNG, 8 bits of grey, of `WORD` in black on white."""
    gap, margin = "." * _GAP, "." * _MARGIN
    lines = [margin + gap.join(_LETTERS[letter][row] for letter in WORD) + margin for row in range(len(_LETTERS["M"]))]
    empty = ["." * len(lines[0])] * _MARGIN
    rows = [_row(line) for line in chain(empty, lines, empty)]
    width, height = len(rows[0]), len(rows) * _SCALE
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows for _ in range(_SCALE)))  # each line begins with its filter: none
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _row(line: str) -> bytes:
    return bytes(_BLACK if mark == "#" else _WHITE for mark in line for _ in range(_SCALE))


def _chunk(kind: bytes, content: bytes) -> bytes:
    """As PNG (ISO 15948, 5.3) has them: length, kind, content, CRC."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
