"""The event loop's side of decoding: documents and pages are handed to worker processes, which are spawned when the first document comes."""

from typing import cast

from malha.ocr.documents.messages import Arrange, Blocks, DecodeLimits, Describe, Description, ImagePage, Prepare, TextPage
from malha.ocr.errors import PageTimeout
from malha.ocr.settings import OcrSettings
from malha.ocr.turns import Turns
from malha.runtime.errors import DeadlineExceeded, EngineCrashed
from malha.runtime.host import EngineHost, HostOptions
from malha.runtime.starting import Starting

WORKER = "malha.ocr.documents.worker:create"
CPU_FACTOR = 2
"""CPU seconds for each second a page may take: with a start of its own the process has some to spare."""


class Documents:
    """Decodes documents, in as many processes as settings say, each one page at a time."""

    def __init__(self, settings: OcrSettings) -> None:
        self._page_seconds = settings.ocr_page_seconds
        limits = DecodeLimits(
            page_pixels=settings.ocr_max_page_pixels,
            engine_pixels=settings.ocr_engine_pixels,
            dpi=settings.ocr_dpi,
            memory_bytes=settings.ocr_decoder_memory_bytes,
            cpu_seconds=max(1, round(CPU_FACTOR * settings.ocr_page_seconds)),
        )
        options = HostOptions(
            workers=settings.ocr_document_workers,
            max_open=settings.ocr_document_workers,
            max_waiting=4 * settings.ocr_max_documents,
            item_seconds=settings.ocr_page_seconds,
            outputs_ahead=2,
        )
        self._host = EngineHost("documents", WORKER, limits, host=options)
        self._starting = Starting(self._host.start, self._host.close)
        self._turns = Turns(self._host, settings.ocr_document_workers, settings.ocr_page_seconds)

    async def close(self) -> None:
        """End the workers."""
        await self._turns.close()
        await self._starting.close()

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return self._host.worker_pids

    async def describe(self, asked: Describe) -> Description:
        """What a document is. Raises InvalidArgument for one that cannot be read."""
        return cast("Description", await self._ask(asked))

    async def prepare(self, asked: Prepare) -> TextPage | ImagePage:
        """A page, made ready. Raises InvalidArgument for one that cannot be read."""
        return cast("TextPage | ImagePage", await self._ask(asked))

    async def arrange(self, asked: Arrange) -> Blocks:
        """Lines in reading order."""
        return cast("Blocks", await self._ask(asked))

    async def _ask(self, item: object) -> object:
        """The answer. Raises PageTimeout and EngineCrashed."""
        await self._starting.started()
        try:
            return await self._turns.call(item)
        except DeadlineExceeded:
            raise PageTimeout.over(self._page_seconds, "decode") from None
        except EngineCrashed:
            raise EngineCrashed("it cannot be decoded: it needs more than MALHA_OCR_DECODER_MEMORY_BYTES, or is broken") from None
