"""PDF by PDFium: the text that a page carries where it is worth something, else the page rendered. PDFium is built without JavaScript."""

import ctypes
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from malha.ocr.documents.messages import DecodeLimits, ImagePage, TextPage
from malha.ocr.documents.raster import write
from malha.ocr.documents.shape import check_shape
from malha.ocr.documents.text_layer import read_text
from malha.ocr.errors import DocumentDamaged, DocumentEncrypted, PageDamaged, PageTooLarge

POINTS_PER_INCH: Final = 72
LEAST_DPI: Final = 36
"""A page so large that it would be rendered more coarsely shows no letters."""
MOST_OBJECTS: Final = 2_000
"""Objects of a page that are looked at for images."""
SCAN_COVERS: Final = 0.5
"""A page half of which is images is a scan, with ..."""
SCAN_CHARACTERS: Final = 200
"""... fewer characters than these only stamped on it."""
UNDRAWN_COVERS: Final = 0.1
"""A page so much of which PDFium would leave white, for images it cannot draw, is not told as if that were all; a broken logo is no matter."""


def count_pages(path: str) -> int:
    """Pages of a document. Raises DocumentEncrypted and DocumentDamaged."""
    with _opened(path) as document:
        return len(document)


def prepare(path: str, number: int, raster_path: str, limits: DecodeLimits, *, text_layer: bool) -> TextPage | ImagePage:
    """Read a page's text, or render it. Raises PageTooLarge and PageDamaged."""
    with _opened(path) as document:
        try:
            page = _page(document, number - 1)
            scale = _scale(page, limits)
            if text_layer and (found := _text(page, scale)) is not None:
                return found
            if _image_share(page, undrawable=True) >= UNDRAWN_COVERS:
                raise PageDamaged("an image on the page is damaged and cannot be drawn")
            check_shape(*page.get_size())
            bitmap = page.render(scale=scale, may_draw_forms=False, rev_byteorder=False, prefer_bgrx=False, fill_color=(255, 255, 255, 255))
            return ImagePage(write(raster_path, bitmap.to_numpy()[:, :, :3]), 1.0)
        except (pdfium.PdfiumError, ctypes.ArgumentError, ValueError) as error:
            raise PageDamaged("the page cannot be rendered") from error
        except MemoryError:
            raise PageTooLarge("the page needs more memory than one page may take") from None


@contextmanager
def _opened(path: str) -> Iterator[pdfium.PdfDocument]:
    with Path(path).open("rb") as file:
        try:
            document = pdfium.PdfDocument(file)
        except pdfium.PdfiumError as error:
            if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
                raise DocumentEncrypted("the PDF needs a password: send it without one") from None
            raise DocumentDamaged("the PDF is damaged or cut off") from error
        try:
            yield document
        finally:
            document.close()


def _page(document: pdfium.PdfDocument, index: int) -> pdfium.PdfPage:
    """The page, with what stands in its form fields and notes as part of it."""
    page = document[index]
    if (
        pdfium_c.FPDFPage_GetAnnotCount(page) > 0
        and pdfium_c.FPDFPage_Flatten(page, pdfium_c.FLAT_NORMALDISPLAY) == pdfium_c.FLATTEN_SUCCESS
    ):
        page.close()
        page = document[index]  # read again, with what was added
    return page


def _scale(page: pdfium.PdfPage, limits: DecodeLimits) -> float:
    """Pixels for each point: as the resolution says, less where the page would have more pixels than the engine is given."""
    width, height = page.get_size()
    if not (width > 0 and height > 0 and math.isfinite(width * height)):
        raise PageDamaged("the page has no size")
    scale = min(limits.dpi / POINTS_PER_INCH, math.sqrt(limits.engine_pixels / (width * height)))
    if scale * POINTS_PER_INCH < LEAST_DPI or max(width, height) * scale > 32_767:  # pixels: more than images have on a side
        raise PageTooLarge(
            f"the page measures {width / POINTS_PER_INCH:.0f} by {height / POINTS_PER_INCH:.0f} inches: too large for its letters to be seen"
        )
    return scale


def _text(page: pdfium.PdfPage, scale: float) -> TextPage | None:
    """The text that the page carries; None where it has none, or not all of what is seen."""
    text = read_text(page, scale)
    if text is None or not text.characters:
        return None
    if text.characters < SCAN_CHARACTERS and _image_share(page) >= SCAN_COVERS:
        return None
    width, height = page.get_size()
    return TextPage(math.ceil(width * scale), math.ceil(height * scale), text.lines)


def _image_share(page: pdfium.PdfPage, *, undrawable: bool = False) -> float:
    """The share of the page that images cover, those on one another counted twice. ``undrawable``: those alone that PDFium cannot draw."""
    width, height = page.get_size()
    covered = 0.0
    for found in islice(page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=4), MOST_OBJECTS):
        if undrawable and found.get_metadata().bits_per_pixel:  # none: no decoder could be made of it
            continue
        left, bottom, right, top = found.get_bounds()
        covered += max(0.0, right - left) * max(0.0, top - bottom)
    return float(covered / (width * height))
