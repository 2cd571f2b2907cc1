"""The process that decodes documents: an attacker's bytes meet their decoders here, bounded in memory and CPU time, and nowhere else.

Each page is asked for by itself, and a document is opened anew for it: a page that kills the process takes no other one along.
"""

from collections.abc import Iterator
from pathlib import Path

from malha.ocr.documents import images, pdf
from malha.ocr.documents.kinds import HEAD_BYTES, PDF, sniff
from malha.ocr.documents.messages import Arrange, Blocks, DecodeLimits, Describe, Description, ImagePage, Prepare, TextPage
from malha.ocr.layout import arrange
from malha.ocr.scrubbing import scrub_block
from malha.runtime.process_limits import limit_process
from malha.runtime.worker import Worker, WorkerStream


def create(limits: DecodeLimits) -> Worker:
    """The factory the engine host calls in its worker."""
    return _DocumentWorker(limits)


class _DocumentWorker:
    info: object = None

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits

    def open(self, arguments: object) -> WorkerStream:
        del arguments
        return _DocumentStream(self._limits)


class _DocumentStream:
    """Each input is a request, each output its answer."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits

    def feed(self, item: object) -> Iterator[object]:
        limit_process(self._limits.memory_bytes, self._limits.cpu_seconds)
        yield self._answer(item)

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        pass

    def _answer(self, item: object) -> Description | TextPage | ImagePage | Blocks:
        match item:
            case Describe():
                return describe(item)
            case Prepare(media_type=kind) if kind == PDF:
                return pdf.prepare(item.path, item.number, item.raster_path, self._limits, text_layer=item.text_layer)
            case Prepare():
                return images.prepare(item.path, item.media_type, item.number, item.raster_path, self._limits)
            case Arrange():
                return in_order(item)
            case _:
                raise TypeError(type(item).__name__)


def describe(asked: Describe) -> Description:
    """What a document is. Raises UnsupportedFormat, DocumentDamaged, DocumentEncrypted."""
    with Path(asked.path).open("rb") as file:
        kind = sniff(file.read(HEAD_BYTES), asked.media_type)
    pages = pdf.count_pages(asked.path) if kind == PDF else images.count_pages(asked.path, kind, asked.most_pages)
    return Description(kind, pages)


def in_order(asked: Arrange) -> Blocks:
    """Lines in reading order, and without what is personal where that is asked for."""
    blocks = arrange(asked.lines)
    if asked.scrub:
        blocks = [scrub_block(block, asked.language, asked.names) for block in blocks]
    return tuple(tuple(block) for block in blocks if block)
