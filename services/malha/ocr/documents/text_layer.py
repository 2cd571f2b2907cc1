"""The text that a PDF page carries, as lines where they stand.

PDFium tells characters in the order they were drawn, with generated blanks and line ends between those that are apart. A line of it may run over
the gap between two columns, so it is cut where the next character stands far off.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from malha.ocr.engine import Box, Line
from malha.ocr.errors import PageTooLarge

MOST_CHARACTERS: Final = 200_000
"""A page of 8-point type all over has about 10,000."""
GARBAGE_SHARE: Final = 0.05
"""Of characters that stand for none: the fonts of such a page do not tell what their signs mean."""
GAP_HEIGHTS: Final = 1.5
"""Heights of a character between one and the next on the same line: further apart they are of two lines."""
_PRIVATE: Final = ((0xE000, 0xF8FF), (0xF0000, 0x10FFFD))
_REPLACEMENT: Final = 0xFFFD
_LINE_ENDS: Final = "\r\n"

Boxes = npt.NDArray[np.float64]
"""Shape (characters, 4): left, top, right, bottom, in pixels."""


@dataclass(frozen=True, slots=True)
class PageText:
    """What a page carries."""

    lines: tuple[Line, ...]
    characters: int
    """Without blanks."""


def read_text(page: pdfium.PdfPage, scale: float) -> PageText | None:
    """The page's text, boxes in pixels at so many of them a point; None where it cannot be made sense of. Raises PageTooLarge."""
    text_page = page.get_textpage()
    try:
        count = text_page.count_chars()
        if count > MOST_CHARACTERS:
            raise PageTooLarge(f"the page has {count:,} characters, over the limit of {MOST_CHARACTERS:,}")
        codes = [pdfium_c.FPDFText_GetUnicode(text_page, index) for index in range(count)]
        if _garbage(codes):
            return None
        boxes = _boxes(text_page, count) @ _to_pixels(page, scale)
    finally:
        text_page.close()
    lines = tuple(_lines("".join(map(_character, codes)), _upright(boxes)))
    return PageText(lines, sum(len(line.text) - line.text.count(" ") for line in lines))


def _garbage(codes: list[int]) -> bool:
    """Whether too many characters stand for none."""
    bad = sum(code in (0, _REPLACEMENT) or any(low <= code <= high for low, high in _PRIVATE) for code in codes)
    return bad > GARBAGE_SHARE * len(codes)


def _character(code: int) -> str:
    """A code point as text. PDFium tells a hyphen at a line's end as U+0002."""
    if code == 0x2:
        return "-"
    return chr(code) if code < 0xD800 or 0xDFFF < code <= 0x10FFFF else "\ufffd"


def _boxes(text_page: pdfium.PdfTextPage, count: int) -> Boxes:
    """Shape (2 x characters, 3): two corners of each character, in points of the page, and 1."""
    corners = np.ones((count, 2, 3))
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    for index in range(count):
        pdfium_c.FPDFText_GetCharBox(text_page, index, left, right, bottom, top)
        corners[index, :, :2] = (left.value, bottom.value), (right.value, top.value)
    return corners.reshape(-1, 3)


def _to_pixels(page: pdfium.PdfPage, scale: float) -> Boxes:
    """The matrix from points of the page (from its lower left corner, before it is turned as the file says) to pixels: PDFium's own, by three points."""
    width, height = (round(side * scale * _FINE) for side in page.get_size())
    places = np.array([_device(page, width, height, *point) for point in _POINTS]) / _FINE
    origin, across, up = places
    return np.array([(across - origin) / _SPAN, (up - origin) / _SPAN, origin])


_SPAN: Final = 1000.0
_POINTS: Final = ((0.0, 0.0), (_SPAN, 0.0), (0.0, _SPAN))
_FINE: Final = 16
"""PDFium tells whole pixels only: of a rendering so many times as large."""


def _device(page: pdfium.PdfPage, width: int, height: int, x: float, y: float) -> tuple[int, int]:
    right, down = ctypes.c_int(), ctypes.c_int()
    pdfium_c.FPDF_PageToDevice(page, 0, 0, width, height, 0, x, y, right, down)
    return right.value, down.value


def _upright(corners: Boxes) -> Boxes:
    pairs = corners.reshape(-1, 2, 2)
    return np.concatenate([pairs.min(axis=1), pairs.max(axis=1)], axis=1)


def _lines(text: str, boxes: Boxes) -> Iterator[Line]:
    start = 0
    for end in [*_ends(text, boxes), len(text)]:
        words = text[start:end].split()
        seen = [index for index in range(start, end) if not text[index].isspace()]
        if words and seen:
            left, top = boxes[seen, :2].min(axis=0)
            right, bottom = boxes[seen, 2:].max(axis=0)
            yield Line(" ".join(words), 1.0, Box(float(left), float(top), float(right - left), float(bottom - top)))
        start = end


def _ends(text: str, boxes: Boxes) -> Iterator[int]:
    """Where lines end: at line ends, and where the next character is far from the last one."""
    last = -1
    for index, character in enumerate(text):
        if character in _LINE_ENDS:
            yield index
            last = -1
        elif not character.isspace():
            if last >= 0 and _apart(boxes[last], boxes[index]):
                yield index
            last = index


def _apart(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> bool:
    """Whether a character does not go on the line of the one before it. Commas and full stops are low: the taller of the two counts."""
    height = max(before[3] - before[1], after[3] - after[1])
    beside = after[0] - before[2]
    overlap = min(before[3], after[3]) - max(before[1], after[1])
    return bool(height > 0 and (beside > GAP_HEIGHTS * height or (overlap < -0.5 * height)))
