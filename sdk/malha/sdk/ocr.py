"""Documents to text, page by page as they are read, or whole."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import betterproto2

from malha.sdk._closing import ClosingStream
from malha.sdk._connection import Connection
from malha.sdk._convert import engine_from
from malha.sdk._gen.malha.api.ocr import v1 as ocr
from malha.sdk._source import AudioInput, AudioSource
from malha.sdk._stream import EventStream, all_of
from malha.sdk.events import Engine

__all__ = ["DocumentSource", "DocumentText", "Page", "PageBlock", "PageBox", "PageFailure", "PageLine", "PageOrigin", "PageStream"]

DocumentSource = AudioSource
"""A path, bytes, an open binary file, or its pieces."""
PageOrigin = Literal["", "text_layer", "recognition"]
"""Where a page's text comes from: the page carries it, or it was recognised."""

_PIECE_BYTES = 262_144
_ORIGINS: Mapping[int, PageOrigin] = {ocr.Source.TEXT_LAYER: "text_layer", ocr.Source.RECOGNITION: "recognition"}


@dataclass(frozen=True, slots=True)
class PageBox:
    """A rectangle on an upright page, in pixels."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class PageLine:
    """A line of text, and how sure the engine is of it, 0 to 1."""

    text: str
    confidence: float
    box: PageBox


@dataclass(frozen=True, slots=True)
class PageBlock:
    """Lines that belong together, in reading order."""

    lines: tuple[PageLine, ...]

    @property
    def text(self) -> str:
        """A line each."""
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True, slots=True)
class PageFailure:
    """Why a page could not be read."""

    reason: str
    """UPPER_SNAKE_CASE, stable."""
    message: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page, in reading order."""

    number: int
    """Counts from 1."""
    blocks: tuple[PageBlock, ...] = ()
    confidence: float = 0.0
    """Mean over its lines."""
    width: int = 0
    """Of the upright page, in the pixels that boxes are in."""
    height: int = 0
    rotation: int = 0
    """Degrees clockwise by which the page was turned to stand upright."""
    origin: PageOrigin = ""
    failure: PageFailure | None = None
    """Set where the page could not be read; it has no blocks then."""

    @property
    def text(self) -> str:
        """A line each, an empty line between blocks."""
        return "\n\n".join(block.text for block in self.blocks)


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A whole document as text."""

    pages: tuple[Page, ...]
    """Those that could not be read, too."""
    media_type: str
    page_count: int
    """All pages it has, read or not."""
    engine: Engine
    scrubbed: bool
    """Whether personal data is masked."""

    @property
    def text(self) -> str:
        """All pages, a form feed between them."""
        return "\f".join(page.text for page in self.pages)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSettings:
    """What ``open`` says."""

    languages: Sequence[str]
    media_type: str
    max_pages: int | None
    ignore_text_layer: bool
    scrub: bool | None

    def to_message(self) -> ocr.RecognizeRequest:
        return ocr.RecognizeRequest(
            open=ocr.Open(
                languages=list(self.languages),
                media_type=self.media_type,
                max_pages=self.max_pages,
                ignore_text_layer=self.ignore_text_layer,
                scrub=self.scrub,
            )
        )


class PageStream(ClosingStream[Page]):
    """A document being read, by ``Malha.read``: iterate over its pages, or await all of it. Leaving the loop gives the rest up."""

    _method = "/malha.api.ocr.v1.OcrService/Recognize"
    _cut_short = "the server ended the document before it was closed"

    def __init__(
        self, connection: Connection, settings: DocumentSettings, document: DocumentSource, running: set[EventStream[Any]]
    ) -> None:
        super().__init__(connection, running)
        self._settings = settings
        self._source = document
        self._opened = ocr.Opened()
        self._document = ocr.Document()

    def __await__(self) -> Generator[Any, None, DocumentText]:
        return self.whole().__await__()

    async def whole(self) -> DocumentText:
        """All pages that are left. Raises what the iteration raises."""
        pages = tuple([page async for page in all_of(self)])
        return DocumentText(pages, self.media_type, self.page_count, self.engine, self.scrubbed)

    @property
    def engine(self) -> Engine:
        """Who recognises; nameless until the first page."""
        return engine_from(self._opened.engine)

    @property
    def scrubbed(self) -> bool:
        """Whether personal data is masked; known with the first page."""
        return self._opened.scrub

    @property
    def media_type(self) -> str:
        """What the document is, by its bytes; empty until the first page."""
        return self._document.media_type

    @property
    def page_count(self) -> int:
        """All pages it has; 0 until the first one is told."""
        return self._document.pages

    async def _produce(self) -> None:
        await self._write(self._settings.to_message())
        async with AudioInput(self._source, _PIECE_BYTES).chunks() as pieces:
            async for piece in pieces:
                for start in range(0, len(piece), _PIECE_BYTES):
                    await self._write(ocr.RecognizeRequest(data=ocr.Data(content=bytes(piece[start : start + _PIECE_BYTES]))))
        await self._write(ocr.RecognizeRequest(finish=ocr.Finish()))
        await self._half_close()

    def _translate(self, response: bytes) -> Page | None:
        _, event = betterproto2.which_one_of(ocr.RecognizeResponse.parse(response), "event")
        match event:
            case ocr.Opened():
                self._opened = event
            case ocr.Document():
                self._document = event
            case ocr.Page():
                return _page(event)
            case ocr.Failed():
                return Page(event.number, failure=PageFailure(event.reason, event.message))
            case ocr.Closed():
                self._closed = True
            case _:
                pass
        return None


def _page(page: ocr.Page) -> Page:
    return Page(
        number=page.number,
        blocks=tuple(PageBlock(tuple(_line(line) for line in block.lines)) for block in page.blocks),
        confidence=page.confidence,
        width=page.width,
        height=page.height,
        rotation=page.rotation,
        origin=_ORIGINS.get(page.source, ""),
    )


def _line(line: ocr.Line) -> PageLine:
    box = line.box or ocr.Box()
    return PageLine(line.text, line.confidence, PageBox(box.left, box.top, box.width, box.height))
