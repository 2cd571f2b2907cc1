"""The documents' door in the OpenAPI document."""

from typing import Any, Final

from malha.edge.form import FILE
from malha.edge.ocr_pages import SOURCES
from malha.edge.schemas import Schema

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer"}
_FLAG: Final[Schema] = {"type": "boolean"}
_NUMBER: Final[Schema] = {"type": "number"}
_FORM: Final[Schema] = {
    "type": "object",
    "required": [FILE],
    "properties": {
        FILE: {"type": "string", "format": "binary", "description": "PNG, JPEG, TIFF or PDF."},
        "languages": {**_TEXT, "description": "BCP 47 tags of the text with commas, such as `pt,en`; empty: any that the engine reads."},
        "media_type": {**_TEXT, "description": "What the document has to be; empty: told by its first bytes."},
        "max_pages": {**_COUNT, "minimum": 1, "description": "Read the first so many pages only."},
        "ignore_text_layer": {**_FLAG, "description": "Recognise all pages of a PDF, also those that carry their text."},
        "scrub": {**_FLAG, "description": "Whether personal data is masked. Default: as the tenant has it for calls."},
    },
}
_BOX: Final[Schema] = {"type": "object", "properties": dict.fromkeys(("left", "top", "width", "height"), _NUMBER)}
_LINE: Final[Schema] = {"type": "object", "properties": {"text": _TEXT, "confidence": _NUMBER, "box": _BOX}}
_BLOCK: Final[Schema] = {"type": "object", "properties": {"lines": {"type": "array", "items": _LINE}}}
_PAGE: Final[Schema] = {
    "type": "object",
    "properties": {
        "number": _COUNT,
        "text": {**_TEXT, "description": "A line each, an empty line between blocks."},
        "confidence": _NUMBER,
        "width": {**_COUNT, "description": "Of the upright page, in the pixels that boxes are in."},
        "height": _COUNT,
        "rotation": {"enum": [0, 90, 180, 270], "description": "Degrees clockwise by which the page was turned to stand upright."},
        "source": {"enum": list(SOURCES.values())},
        "blocks": {"type": "array", "items": _BLOCK},
    },
}
_FAILED: Final[Schema] = {"type": "object", "properties": {"number": _COUNT, "reason": _TEXT, "message": _TEXT}}
_DOCUMENT: Final[Schema] = {
    "type": "object",
    "properties": {
        "text": {**_TEXT, "description": "All pages, a form feed between them."},
        "media_type": _TEXT,
        "page_count": _COUNT,
        "pages_to_read": _COUNT,
        "engine": _TEXT,
        "model": _TEXT,
        "scrubbed": _FLAG,
        "pages": {"type": "array", "items": _PAGE},
        "failed": {"type": "array", "items": _FAILED},
    },
}


def paths(error: Schema) -> dict[str, dict[str, Any]]:
    """The address by its path; ``error``: the answer where something is wrong."""
    answer = {
        "application/json": {"schema": _DOCUMENT},
        "text/plain": {"schema": _TEXT},
        "application/x-ndjson": {
            "schema": {**_TEXT, "description": "Events `opened`, `document`, `page`, `failed`, `closed`, `error`, a line each."}
        },
    }
    return {
        "/api/v1/ocr": {
            "post": {
                "operationId": "read_document",
                "summary": "Reads a document; `Accept` says in which form.",
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}},
                "responses": {"200": {"description": "Its text.", "content": answer}, "default": error},
            }
        }
    }
