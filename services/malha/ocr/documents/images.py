"""PNG, JPEG and TIFF by Pillow: one listed decoder each, sizes looked at before anything is decoded."""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from malha.ocr.documents.kinds import JPEG, PNG, TIFF
from malha.ocr.documents.messages import DecodeLimits, ImagePage
from malha.ocr.documents.raster import Pixels, write
from malha.ocr.documents.shape import check_shape
from malha.ocr.errors import DocumentDamaged, PageDamaged, PageTooLarge

FORMATS: Final = {PNG: "PNG", JPEG: "JPEG", TIFF: "TIFF"}
DAMAGED: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    UnidentifiedImageError,
    KeyError,
    TypeError,
    IndexError,
    ZeroDivisionError,
    OverflowError,
    struct.error,
)
"""What Pillow's decoders raise on bytes that are not what they expect."""

Image.MAX_IMAGE_PIXELS = None  # our own limit is asked for first, and is lower


def count_pages(path: str, media_type: str, most: int) -> int:
    """Pages of an image file, at most ``most`` and one. Raises DocumentDamaged."""
    try:
        with _opened(path, media_type) as image:
            if media_type != TIFF:
                return 1
            pages = 1
            while pages <= most:
                try:
                    image.seek(pages)
                except EOFError:
                    break
                pages += 1
            return pages
    except DAMAGED as error:
        raise DocumentDamaged("the image's header is damaged or cut off") from error


def prepare(path: str, media_type: str, number: int, raster_path: str, limits: DecodeLimits) -> ImagePage:
    """Decode a page. Raises PageTooLarge and PageDamaged."""
    try:
        with _opened(path, media_type) as image:
            if number > 1:
                image.seek(number - 1)
            pixels = image.width * image.height
            if pixels > limits.page_pixels:
                raise PageTooLarge(
                    f"the image has {pixels:,} pixels, over the limit of {limits.page_pixels:,}: send a smaller one",
                    metadata={"most_pixels": str(limits.page_pixels)},
                )
            check_shape(image.width, image.height)
            upright = ImageOps.exif_transpose(image)
            scale = max(1.0, math.sqrt(pixels / limits.engine_pixels))
            return ImagePage(write(raster_path, _pixels(upright, scale)), scale)
    except MemoryError:
        raise PageTooLarge("the image needs more memory than one page may take: send a smaller one") from None
    except DAMAGED as error:
        raise PageDamaged("the image is damaged or cut off") from error


@contextmanager
def _opened(path: str, media_type: str) -> Iterator[Image.Image]:
    with Path(path).open("rb") as file, Image.open(file, formats=[FORMATS[media_type]]) as image:
        yield image


def _pixels(image: Image.Image, scale: float) -> Pixels:
    """Eight bits, three channels, on white, and as much smaller as ``scale`` says."""
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, "white")
        image.paste(layer, mask=layer.getchannel("A"))
    if image.mode != "RGB":
        image = image.convert("RGB")
    if scale > 1:
        size = max(1, round(image.width / scale)), max(1, round(image.height / scale))
        image = image.resize(size, Image.Resampling.BOX if scale >= 2 else Image.Resampling.BICUBIC)
    return np.asarray(image)[:, :, ::-1]


def _eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen bits and more, or fractions, between the darkest and the lightest there are."""
    values = np.asarray(image, np.float32)
    low, high = float(values.min()), float(values.max())
    span = high - low
    if not math.isfinite(span):
        raise ValueError("not finite")
    return Image.fromarray(np.zeros(values.shape, np.uint8) + 255 if span == 0 else ((values - low) * (255 / span)).astype(np.uint8))
