"""What Ocr tells of a document, as JSON and as text."""

from collections.abc import Iterable
from typing import Any

import orjson

from malha.api.ocr.v1 import ocr_pb2 as api
from malha.runtime.errors import InvalidArgument

Json = dict[str, Any]

PAGE_BREAK = "\f"
SOURCES = {api.SOURCE_TEXT_LAYER: "text_layer", api.SOURCE_RECOGNITION: "recognition"}


class DocumentText:
    """A document, gathered from the events of its stream."""

    def __init__(self) -> None:
        self.complete = False
        self._opened = api.Opened()
        self._document = api.Document()
        self._pages: list[api.Page] = []
        self._failed: list[api.Failed] = []

    def add(self, event: api.RecognizeResponse) -> None:
        """Take in the next event."""
        match event.WhichOneof("event"):
            case "opened":
                self._opened = event.opened
            case "document":
                self._document = event.document
            case "page":
                self._pages.append(event.page)
            case "failed":
                self._failed.append(event.failed)
            case "closed":
                self.complete = True
            case _:
                pass  # of a later version

    def check(self) -> None:
        """Raises InvalidArgument, for what its first page failed for, where none could be read."""
        if self._failed and not self._pages:
            first = self._failed[0]
            raise InvalidArgument(f"page {first.number}: {first.message}", reason=first.reason)

    @property
    def text(self) -> str:
        """All pages: a form feed between them, an empty line between blocks."""
        return PAGE_BREAK.join(f"{page_text(page)}\n" for page in self._pages)

    def json(self) -> Json:
        """The answer of ``POST /api/v1/ocr``."""
        return {
            "text": self.text,
            **_document_fields(self._document),
            **_opened_fields(self._opened),
            "pages": [page_fields(page) for page in self._pages],
            "failed": [_failed_fields(failed) for failed in self._failed],
        }


def event_json(event: api.RecognizeResponse) -> bytes:
    """One line of NDJSON; an event of a later version is an empty object."""
    kind = event.WhichOneof("event")
    fields: Json = {}
    match kind:
        case "opened":
            fields = _opened_fields(event.opened)
        case "document":
            fields = _document_fields(event.document)
        case "page":
            fields = page_fields(event.page)
        case "failed":
            fields = _failed_fields(event.failed)
        case "closed":
            fields = {"pages": event.closed.pages, "failed": event.closed.failed}
        case _:
            pass
    return orjson.dumps({"event": kind, **fields} if kind else {}, option=orjson.OPT_APPEND_NEWLINE)


def page_text(page: api.Page) -> str:
    """A page's text: a line each, an empty line between blocks."""
    return "\n\n".join("\n".join(line.text for line in block.lines) for block in page.blocks)


def page_fields(page: api.Page) -> Json:
    """A page as JSON."""
    return {
        "number": page.number,
        "text": page_text(page),
        "confidence": round(page.confidence, 4),
        "width": page.width,
        "height": page.height,
        "rotation": page.rotation,
        "source": SOURCES.get(page.source, ""),
        "blocks": [{"lines": list(_line_fields(block.lines))} for block in page.blocks],
    }


def _line_fields(lines: Iterable[api.Line]) -> Iterable[Json]:
    for line in lines:
        box = {name: round(getattr(line.box, name), 1) for name in ("left", "top", "width", "height")}
        yield {"text": line.text, "confidence": round(line.confidence, 4), "box": box}


def _opened_fields(opened: api.Opened) -> Json:
    return {"engine": opened.engine.name, "model": opened.engine.model, "scrubbed": opened.scrub}


def _document_fields(document: api.Document) -> Json:
    return {"media_type": document.media_type, "page_count": document.pages, "pages_to_read": document.pages_to_read}


def _failed_fields(failed: api.Failed) -> Json:
    return {"number": failed.number, "reason": failed.reason, "message": failed.message}
