"""``POST /api/v1/ocr``: a document as a multipart form, its text as JSON, as plain text, or page by page as lines of JSON (NDJSON)."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import IO, Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from malha.api.ocr.v1 import ocr_pb2 as api
from malha.edge.calls import Bidi, Metadata, metadata
from malha.edge.errors import InvalidField, ServiceAway
from malha.edge.events import error_fields
from malha.edge.form import Field, FileData
from malha.edge.ocr_pages import DocumentText, event_json
from malha.edge.replies import json_response
from malha.edge.settings import EdgeSettings
from malha.edge.upload_door import UploadDoor
from malha.edge.upload_form import PIECE_BYTES, UploadForm, disk_checked, flag_of, unless_gone, waiting_file
from malha.runtime.errors import DeadlineExceeded, MalhaError
from malha.runtime.mesh import Mesh

RECOGNIZE = "/malha.api.ocr.v1.OcrService/Recognize"
FIELDS = ("languages", "media_type", "max_pages", "ignore_text_layer", "scrub")
JSON, TEXT, LINES = "application/json", "text/plain", "application/x-ndjson"


class DocumentUploads:
    """Receives documents and has them read."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh, door: UploadDoor) -> None:
        self._settings = settings
        self._mesh = mesh
        self._door = door

    async def read(self, request: Request) -> Response:
        """The endpoint. Its status is decided by the document's being one that can be read; of one page alone by that page."""
        form = UploadForm(FIELDS, self._settings.max_upload_bytes, "document")

        async def receive(token: str) -> Response:
            identity, media_type = metadata(token), wanted(request.headers.get("accept", ""))
            async with contextlib.AsyncExitStack() as stack:
                file = stack.enter_context(waiting_file())
                opening = await _received(request, form, file)
                reading = self._reading(identity, opening, file)
                stack.push_async_callback(reading.close)
                if media_type == LINES:
                    await unless_gone(request, reading.begin())
                    return StreamingResponse(reading.lines(stack.pop_all()), media_type=LINES)
                document = await unless_gone(request, reading.whole())
                return PlainTextResponse(document.text) if media_type == TEXT else json_response(document.json())

        return await self._door.answer(request, form, receive)

    def _reading(self, identity: Metadata, opening: api.Open, file: IO[bytes]) -> "_Reading":
        call = self._mesh.channel("ocr").stream_stream(RECOGNIZE)(metadata=identity)
        return _Reading(Bidi(call, api.RecognizeResponse), opening, file, self._settings.document_seconds)


def wanted(accept: str) -> str:
    """The media type of the answer: the first of the header that is offered, JSON where none is (RFC 9110 section 12.5.1, without weights)."""
    named = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return next((name for name in named if name in {JSON, TEXT, LINES}), JSON)


async def _received(request: Request, form: UploadForm, file: IO[bytes]) -> api.Open:
    """Fill the file, for fields may follow it; what the fields ask for."""
    fields: dict[str, str] = {}
    async with contextlib.aclosing(form.parts(request)) as parts:
        async for part in parts:
            match part:
                case Field():
                    fields[part.name] = part.value
                case FileData():
                    with disk_checked("document"):
                        file.write(part.content)
                case _:
                    pass
    file.seek(0)
    return opening(fields)


def opening(fields: dict[str, str]) -> api.Open:
    """What the form's fields ask for. Raises InvalidField."""
    asked = api.Open(
        languages=[tag.strip() for tag in fields.get("languages", "").split(",") if tag.strip()],
        media_type=fields.get("media_type", "").strip(),
        ignore_text_layer=flag_of(fields, "ignore_text_layer"),
    )
    if pages := fields.get("max_pages", "").strip():
        if not (pages.isdecimal() and 0 < int(pages) < 2**31):
            raise InvalidField("max_pages", "must be a whole number from 1")
        asked.max_pages = int(pages)
    if fields.get("scrub", "").strip():
        asked.scrub = flag_of(fields, "scrub")
    return asked


class _Reading:
    """A stream of Ocr: a task sends the document while pages come back."""

    def __init__(self, call: Bidi, opening: api.Open, file: IO[bytes], seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._begun: list[api.RecognizeResponse] = []
        self._sender = asyncio.create_task(self._send(opening, file), name="edge-document")

    async def begin(self) -> None:
        """Wait until the document is known to be one that can be read. Raises what it is refused for."""
        while not self._begun or not self._begun[-1].HasField("document"):
            event = await self._next()
            if event is None:
                raise _ended()
            self._begun.append(event)

    async def whole(self) -> DocumentText:
        """All of it. Raises what the document is refused for; where no page could be read, what the first failed for."""
        document = DocumentText()
        while (event := await self._next()) is not None:
            document.add(event)
        if not document.complete:
            raise _ended()
        document.check()
        return document

    async def lines(self, held: contextlib.AsyncExitStack) -> AsyncGenerator[bytes]:
        """Each event as a line of JSON, after `begin`. ``held`` is let go of at the end; what goes wrong now is the last line."""
        async with held:
            try:
                for event in self._begun:
                    yield event_json(event)
                while (told := await self._next()) is not None:
                    yield event_json(told)
            except MalhaError as error:
                yield orjson.dumps({"event": "error", **error_fields(error)}, option=orjson.OPT_APPEND_NEWLINE)

    async def close(self) -> None:
        self._sender.cancel()
        self._call.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)

    async def _next(self) -> Any | None:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._call.read()
        except TimeoutError:
            raise DeadlineExceeded(f"nothing of the document was read for {self._seconds:g} s", reason="READING_TIMEOUT") from None

    async def _send(self, opening: api.Open, file: IO[bytes]) -> None:
        with contextlib.suppress(MalhaError):  # the reader tells it
            await self._call.open(api.RecognizeRequest(open=opening))
            while piece := file.read(PIECE_BYTES):
                if not await self._call.write(api.RecognizeRequest(data=api.Data(content=piece)).SerializeToString()):
                    return
            await self._call.write(api.RecognizeRequest(finish=api.Finish()).SerializeToString())


def _ended() -> ServiceAway:
    return ServiceAway("the service ended in the middle of the document: try again")
