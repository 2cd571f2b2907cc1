"""OcrService: the contract's messages to a document on disk, and its pages back."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from time import monotonic
from typing import Final

from malha.api.common.v1 import media_pb2
from malha.api.ocr.v1 import ocr_pb2 as api
from malha.ocr.documents.host import Documents
from malha.ocr.documents.kinds import check_media_type
from malha.ocr.documents.messages import Blocks, Describe, Description
from malha.ocr.engine import OcrEngine
from malha.ocr.errors import TooManyPages
from malha.ocr.languages import check_languages
from malha.ocr.reading import PageFailed, PageRead, ReadingOrder, read_pages
from malha.ocr.settings import OcrSettings
from malha.runtime.auth import Principal
from malha.runtime.durations import duration
from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, MalhaError, ResourceExhausted
from malha.runtime.received import FileLimit, ReceivedFile
from malha.runtime.rpc import StreamMethod
from malha.runtime.starting import Starting
from malha.runtime.stream import Stream
from malha.store.configuration import Configurations
from malha.store.database import Database

NEEDED: Final = ("PIL", "pypdfium2")
"""Packages that decode documents; found without importing them, which this process never does."""

OcrStream = Stream[api.RecognizeRequest, api.RecognizeResponse]


class OcrService:
    """Serves one engine."""

    name = "malha.api.ocr.v1.OcrService"

    def __init__(self, engine: OcrEngine, settings: OcrSettings, database: Database | None = None) -> None:
        """Without a database all callers have the policy of a tenant that has set none. Raises FailedPrecondition where packages are missing."""
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise FailedPrecondition("Ocr needs: pip install 'malha-services' again, with its dependencies", reason="MISSING_PACKAGE")
        self._engine = engine
        self._settings = settings
        self._limit = FileLimit(
            "document", settings.ocr_max_document_bytes, "MALHA_OCR_MAX_DOCUMENT_BYTES", reason="DOCUMENT_TOO_LARGE", quota="document_bytes"
        )
        self._documents = Documents(settings)
        self._loading = Starting(engine.start, engine.close)
        self._policies = Configurations(database) if database is not None else None
        self._open = 0

    @property
    def engine(self) -> str:
        """The engine's name."""
        return self._engine.name

    async def start(self) -> None:
        """Load the engine where that is not left to the first document."""
        if self._settings.ocr_preload:
            await self._loading.started()

    async def close(self) -> None:
        """Give back all workers."""
        await self._loading.close()
        await self._documents.close()

    def methods(self) -> Mapping[str, StreamMethod]:
        return {"Recognize": StreamMethod(self.recognize)}

    async def recognize(self, stream: OcrStream) -> None:
        """Take in one document, then tell its pages as they are read."""
        opening = stream.opening.open
        media_type = check_media_type(opening.media_type)
        with self._place(), contextlib.closing(ReceivedFile(self._limit)) as received:
            await self._loading.started()
            check_languages(opening.languages, self._engine.capabilities.languages, self._engine.name)
            scrub, names = await self._policy(opening, stream.principal)
            await stream.send(api.RecognizeResponse(opened=self._opened(scrub=scrub)))
            async for request in stream:
                await received.add(request.data.content)
            path = await received.complete()
            ended = monotonic()
            document = await self._documents.describe(Describe(path, media_type, self._settings.ocr_max_pages))
            pages = self._pages_to_read(document, opening)
            order = ReadingOrder(
                path=path,
                media_type=document.media_type,
                pages=pages,
                text_layer=not opening.ignore_text_layer,
                scrub=scrub,
                language=opening.languages[0] if opening.languages else "",
                names=names,
            )
            telling = _Telling(stream, ended, self._settings.ocr_reader_seconds)
            await telling.document(document, pages)
            async with contextlib.aclosing(read_pages(self._documents, self._engine, order)) as reading:
                async for page in reading:
                    await telling.page(page)
            await telling.closed()

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """One of the documents open at once. Raises ResourceExhausted."""
        if self._open >= self._settings.ocr_max_documents:
            raise ResourceExhausted(
                "this server has all the documents open that it can", reason="TOO_MANY_DOCUMENTS", retry_seconds=2.0, quota="documents"
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def _policy(self, opening: api.Open, principal: Principal) -> tuple[bool, tuple[str, ...]]:
        """Whether personal data is masked, and names that are: as asked for, else as the tenant has it for calls.

        What is read goes to who sent the document, and nowhere else: so a caller may say no. While the database is away the default is to mask.
        """
        keep, names = False, tuple[str, ...]()
        if self._policies is not None and principal.tenant_id is not None:
            with contextlib.suppress(MalhaError):
                configuration = await self._policies.of(principal.tenant_id)
                keep, names = configuration.keep_personal_data, tuple(configuration.names)
        return (opening.scrub if opening.HasField("scrub") else not keep), names

    def _pages_to_read(self, document: Description, opening: api.Open) -> int:
        """Raises TooManyPages."""
        most = self._settings.ocr_max_pages
        wanted = min(document.pages, opening.max_pages) if opening.HasField("max_pages") else document.pages
        if wanted > most:
            raise TooManyPages(
                f"the document has more than {most:,} pages: send it in parts, or ask for its first ones by max_pages",
                metadata={"most_pages": str(most)},
            )
        return wanted

    def _opened(self, *, scrub: bool) -> api.Opened:
        can, settings = self._engine.capabilities, self._settings
        return api.Opened(
            engine=media_pb2.Engine(name=can.name, version=can.version, model=can.model),
            languages=can.languages,
            scrub=scrub,
            limits=api.Limits(
                document_bytes=settings.ocr_max_document_bytes,
                pages=settings.ocr_max_pages,
                page_pixels=settings.ocr_max_page_pixels,
                page_time=duration(settings.ocr_page_seconds),
            ),
        )


class _Telling:
    """What one client is told of its document."""

    def __init__(self, stream: OcrStream, ended: float, reader_seconds: float) -> None:
        """``ended``: when the document's last byte had come, by the monotonic clock."""
        self._stream = stream
        self._ended = ended
        self._reader_seconds = reader_seconds
        self._pages = self._failed = 0
        self._first: float | None = None

    async def document(self, document: Description, pages: int) -> None:
        told = api.Document(media_type=document.media_type, pages=document.pages, pages_to_read=pages)
        await self._send(api.RecognizeResponse(document=told))

    async def page(self, page: PageRead | PageFailed) -> None:
        if self._first is None:
            self._first = monotonic() - self._ended
        if isinstance(page, PageRead):
            self._pages += 1
            await self._send(api.RecognizeResponse(page=_page_message(page)))
        else:
            self._failed += 1
            await self._send(api.RecognizeResponse(failed=api.Failed(number=page.number, reason=page.reason, message=page.message)))

    async def closed(self) -> None:
        first = None if self._first is None else duration(self._first)
        await self._send(api.RecognizeResponse(closed=api.Closed(pages=self._pages, failed=self._failed, first_page=first)))

    async def _send(self, response: api.RecognizeResponse) -> None:
        """Send once there is room. A client that has stopped reading must not hold its place for ever."""
        try:
            async with asyncio.timeout(self._reader_seconds):
                await self._stream.send(response)
        except TimeoutError:
            raise DeadlineExceeded(f"the pages were not read for {self._reader_seconds:g} s", reason="READER_SLOW") from None


def _page_message(page: PageRead) -> api.Page:
    return api.Page(
        number=page.number,
        blocks=_block_messages(page.blocks),
        confidence=page.confidence,
        width=page.width,
        height=page.height,
        rotation=page.rotation,
        source=api.SOURCE_RECOGNITION if page.recognised else api.SOURCE_TEXT_LAYER,
    )


def _block_messages(blocks: Blocks) -> Iterator[api.Block]:
    for block in blocks:
        yield api.Block(
            lines=[
                api.Line(
                    text=line.text,
                    confidence=line.confidence,
                    box=api.Box(left=line.box.left, top=line.box.top, width=line.box.width, height=line.box.height),
                )
                for line in block
            ]
        )
