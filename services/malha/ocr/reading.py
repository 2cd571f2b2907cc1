"""A document's pages, one after the other: made ready, recognised where they carry no text, put in order. The next one is made ready meanwhile."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from time import perf_counter
from types import TracebackType
from typing import Final, Self

from prometheus_client import Counter, Histogram

from malha.ocr.documents.host import Documents
from malha.ocr.documents.messages import Arrange, Blocks, ImagePage, Prepare, TextPage
from malha.ocr.documents.raster import RasterFile
from malha.ocr.engine import Box, Line, OcrEngine, Reading
from malha.ocr.errors import PageTimeout
from malha.runtime.errors import EngineBusy, EngineCrashed, MalhaError, Unavailable

PAGES: Final = Counter("malha_ocr_pages_total", "Pages, by where their text came from, or why they could not be read.", ("outcome",))
PAGE_SECONDS: Final = Histogram(
    "malha_ocr_page_seconds", "How long a page took, waiting included.", buckets=(0.05, 0.2, 0.5, 1, 2, 4, 8, 16, 32, 64)
)
MOST_STUCK: Final = 3
"""Pages of one document that may take all the time a page has, or kill the process that works on them. Others wait for such a process, so the
rest of a document made to keep it is not tried.
"""


@dataclass(frozen=True, slots=True)
class ReadingOrder:
    """Which pages of which document are read, and how."""

    path: str
    media_type: str
    pages: int
    """The first so many."""
    text_layer: bool
    scrub: bool
    language: str
    """BCP 47 tag by which personal data is looked for; empty: by those of Portuguese, Spanish and English."""
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PageRead:
    """A page. Boxes are in pixels of the upright page."""

    number: int
    width: int
    height: int
    rotation: int
    recognised: bool
    """False: it carried its text."""
    blocks: Blocks

    @property
    def confidence(self) -> float:
        """Mean over its lines, weighted by their characters; 0 where there are none."""
        lines = [line for block in self.blocks for line in block]
        characters = sum(len(line.text) for line in lines)
        return sum(line.confidence * len(line.text) for line in lines) / characters if characters else 0.0


@dataclass(frozen=True, slots=True)
class PageFailed:
    """A page that could not be read."""

    number: int
    reason: str
    message: str

    @property
    def stuck(self) -> bool:
        """Whether it kept a process for as long as one may, or killed it."""
        return self.reason in {PageTimeout.default_reason, EngineCrashed.default_reason}


async def read_pages(documents: Documents, engine: OcrEngine, order: ReadingOrder) -> AsyncGenerator[PageRead | PageFailed]:
    """All pages in their order. Raises Unavailable and EngineBusy: whatever else goes wrong fails one page, and after `MOST_STUCK` such all."""
    with _Reader(documents, engine, order) as reader:
        upcoming = asyncio.create_task(reader.prepare(1), name="ocr-prepare")
        stuck = 0
        try:
            for number in range(1, order.pages + 1):
                if stuck >= MOST_STUCK:
                    upcoming.cancel()  # whoever reads slowly would leave it the process meanwhile
                    yield _given_up(number)
                    continue
                began = perf_counter()
                prepared = await _outcome(upcoming)
                upcoming = asyncio.create_task(reader.prepare(number + 1), name="ocr-prepare")
                page = await _page(reader, number, prepared)
                PAGE_SECONDS.observe(perf_counter() - began)
                stuck += isinstance(page, PageFailed) and page.stuck
                yield page
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)


async def _outcome(preparing: asyncio.Task[TextPage | ImagePage | None]) -> TextPage | ImagePage | MalhaError:
    """The page, or why there is none."""
    try:
        prepared = await preparing
    except MalhaError as error:
        return error
    assert prepared is not None
    return prepared


async def _page(reader: "_Reader", number: int, prepared: TextPage | ImagePage | MalhaError) -> PageRead | PageFailed:
    try:
        if isinstance(prepared, MalhaError):
            raise prepared
        page = await reader.read(number, prepared)
    except EngineBusy:
        raise
    except MalhaError as error:
        if isinstance(error, Unavailable) and not isinstance(error, EngineCrashed):
            raise
        PAGES.labels(error.reason).inc()
        return PageFailed(number, error.reason, error.message)
    PAGES.labels("recognised" if page.recognised else "text_layer").inc()
    return page


def _given_up(number: int) -> PageFailed:
    PAGES.labels("DOCUMENT_GIVEN_UP").inc()
    return PageFailed(
        number,
        "DOCUMENT_GIVEN_UP",
        f"{MOST_STUCK} pages before it took too long, or ended the process that read them: the rest is not tried",
    )


class _Reader:
    """The steps of each page, and memory for the pixels of two: the one being recognised and the next."""

    def __init__(self, documents: Documents, engine: OcrEngine, order: ReadingOrder) -> None:
        self._documents = documents
        self._engine = engine
        self._order = order
        self._rasters: tuple[RasterFile, ...] = ()

    def __enter__(self) -> Self:
        self._rasters = RasterFile(), RasterFile()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for raster in self._rasters:
            raster.close()

    async def prepare(self, number: int) -> TextPage | ImagePage | None:
        """A page, decoded; None behind the last one."""
        order = self._order
        if number > order.pages:
            return None
        raster = self._rasters[number % len(self._rasters)]
        return await self._documents.prepare(Prepare(order.path, order.media_type, number, raster.path, order.text_layer))

    async def read(self, number: int, prepared: TextPage | ImagePage) -> PageRead:
        """A decoded page, read."""
        if isinstance(prepared, TextPage):
            return PageRead(number, prepared.width, prepared.height, 0, False, await self._arranged(prepared.lines))
        reading = await self._engine.read(prepared.image)
        blocks = await self._arranged(_scaled(reading, prepared.scale))
        size = [round(side * prepared.scale) for side in (prepared.image.width, prepared.image.height)]
        width, height = size if reading.rotation % 180 == 0 else reversed(size)
        return PageRead(number, width, height, reading.rotation, True, blocks)

    async def _arranged(self, lines: tuple[Line, ...]) -> Blocks:
        order = self._order
        return await self._documents.arrange(Arrange(lines, order.scrub, order.language, order.names)) if lines else ()


def _scaled(reading: Reading, scale: float) -> tuple[Line, ...]:
    """Lines with boxes in pixels of the page."""
    if scale == 1:
        return reading.lines
    return tuple(
        replace(line, box=Box(line.box.left * scale, line.box.top * scale, line.box.width * scale, line.box.height * scale))
        for line in reading.lines
    )
