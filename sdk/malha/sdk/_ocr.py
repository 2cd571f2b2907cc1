"""The client's part that reads documents."""

from collections.abc import Sequence
from typing import Any

from malha.sdk._connection import Connection
from malha.sdk._source import head_of
from malha.sdk._stream import EventStream
from malha.sdk.ocr import DocumentSettings, DocumentSource, PageStream


class Reading:
    """Pages of documents, as they are read or all of them."""

    _connection: Connection
    _streams: set[EventStream[Any]]

    def read(
        self,
        document: DocumentSource,
        *,
        languages: str | Sequence[str] = (),
        media_type: str = "",
        max_pages: int | None = None,
        ignore_text_layer: bool = False,
        scrub: bool | None = None,
    ) -> PageStream:
        """A document's text: ``document = await malha.read("invoice.pdf")``, or ``async for page in malha.read(...)`` as pages are read.

        Args:
            document: PNG, JPEG, TIFF or PDF: a path, bytes, an open binary file, or its pieces.
            languages: BCP 47 tags of the text, the likeliest first; none: any that the engine reads.
            media_type: What it has to be, such as ``application/pdf``; none: told by its first bytes.
            max_pages: Read the first so many pages only.
            ignore_text_layer: Recognise every page of a PDF by its looks, also where it carries its text.
            scrub: Whether personal data is masked; none: as your tenant has it for calls.

        A page that cannot be read is a Page with ``failure``. Raises OSError where a file cannot be read; the iteration raises MalhaError.
        """
        head_of(document)
        settings = DocumentSettings(
            languages=(languages,) if isinstance(languages, str) else tuple(languages),
            media_type=media_type,
            max_pages=max_pages,
            ignore_text_layer=ignore_text_layer,
            scrub=scrub,
        )
        return PageStream(self._connection, settings, document, self._streams)
