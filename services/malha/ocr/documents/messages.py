"""What is asked of a process that decodes documents, and what it answers. Paths are of files the asking process holds open."""

from dataclasses import dataclass

from malha.ocr.engine import Line, PageImage


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Bounds of one page, and of the process that decodes it."""

    page_pixels: int
    engine_pixels: int
    dpi: int
    memory_bytes: int
    cpu_seconds: int


@dataclass(frozen=True, slots=True)
class Describe:
    """What is this document? Answered by `Description`."""

    path: str
    media_type: str
    most_pages: int
    """Pages need not be counted beyond."""


@dataclass(frozen=True, slots=True)
class Description:
    """A document that can be read."""

    media_type: str
    pages: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make a page ready. Answered by `TextPage` or `ImagePage`."""

    path: str
    media_type: str
    number: int
    """Counts from 1."""
    raster_path: str
    """An empty file for the page's pixels."""
    text_layer: bool
    """Whether the text that a page carries will do."""


@dataclass(frozen=True, slots=True)
class TextPage:
    """A page that carries its text."""

    width: int
    height: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class ImagePage:
    """A page to be recognised."""

    image: PageImage
    scale: float
    """Pixels of the page for one of the image, which may be smaller."""


@dataclass(frozen=True, slots=True)
class Arrange:
    """Put lines in reading order and mask what is personal in them. Answered by a tuple of blocks, each a tuple of lines."""

    lines: tuple[Line, ...]
    scrub: bool
    language: str
    names: tuple[str, ...]


Blocks = tuple[tuple[Line, ...], ...]
