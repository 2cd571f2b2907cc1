"""``POST /api/v1/ocr``: a document as a multipart form, its text as JSON, as plain text, or page by page as lines of JSON (NDJSON)."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Coroutine
from typing import IO, Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from malha.api.ocr.v1 import ocr_pb2 as api
from malha.edge.calls import Bidi, Metadata, metadata
from malha.edge.errors import InvalidField, ServiceAway
from malha.edge.events import error_fields
from malha.edge.fields import choice_of
from malha.edge.form import Field, FileBegins, FileData, FormReader
from malha.edge.ocr_pages import DocumentText, event_json
from malha.edge.replies import json_response
from malha.edge.settings import EdgeSettings
from malha.edge.uploads import FLAGS, FORM_BYTES, MEMORY_BYTES, PIECE_BYTES, UploadDoor, body_of, too_large
from malha.runtime.errors import DeadlineExceeded, InvalidArgument, MalhaError, Unavailable
from malha.runtime.mesh import Mesh

RECOGNIZE = "/malha.api.ocr.v1.OcrService/Recognize"
FIELDS = ("languages", "media_type", "max_pages", "ignore_text_layer", "scrub")
JSON, TEXT, LINES = "application/json", "text/plain", "application/x-ndjson"
Value = TypeVar("Value")


class DocumentUploads:
    """Receives documents and has them read."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh, door: UploadDoor) -> None:
        self._settings = settings
        self._mesh = mesh
        self._door = door

    async def read(self, request: Request) -> Response:
        """The endpoint. Its status is decided by the document's being one that can be read; of one page alone by that page."""
        upload = _Upload(self._settings)

        async def receive(token: str) -> Response:
            identity, media_type = metadata(token), wanted(request.headers.get("accept", ""))
            async with contextlib.AsyncExitStack() as stack:
                file = stack.enter_context(_temporary())
                opening = await upload.receive(request, file)
                reading = self._reading(identity, opening, file)
                stack.push_async_callback(reading.close)
                if media_type == LINES:
                    await _unless_gone(request, reading.begin())
                    return StreamingResponse(reading.lines(stack.pop_all()), media_type=LINES)
                document = await _unless_gone(request, reading.whole())
                return PlainTextResponse(document.text) if media_type == TEXT else json_response(document.json())

        return await self._door.answer(request, upload, receive)

    def _reading(self, identity: Metadata, opening: api.Open, file: IO[bytes]) -> "_Reading":
        call = self._mesh.channel("ocr").stream_stream(RECOGNIZE)(metadata=identity)
        return _Reading(Bidi(call, api.RecognizeResponse), opening, file, self._settings.document_seconds)


def wanted(accept: str) -> str:
    """The media type of the answer: the first of the header that is offered, JSON where none is (RFC 9110 section 12.5.1, without weights)."""
    named = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return next((name for name in named if name in {JSON, TEXT, LINES}), JSON)


class _Upload:
    """One form: its file goes to disk, for its fields may follow it."""

    def __init__(self, settings: EdgeSettings) -> None:
        self.received = False
        """Whether all of the body has come."""
        self._most_bytes = settings.max_upload_bytes
        self._fields: dict[str, str] = {}
        self._size: int | None = None

    async def receive(self, request: Request, file: IO[bytes]) -> api.Open:
        """Fill the file; what the fields ask for."""
        form, size = FormReader(request.headers.get("content-type", "")), 0
        async with contextlib.aclosing(body_of(request)) as body:
            async for data in body:
                size += len(data)
                if size > self._most_bytes + FORM_BYTES:
                    raise too_large(self._most_bytes)
                for part in form.feed(data):
                    self._take(part, file)
        self.received = True
        form.finish()
        if self._size is None:
            raise InvalidArgument("the form has no part `file`", reason="MISSING_FILE", violations={"file": "is required"})
        if not self._size:
            raise InvalidArgument("the file is empty", reason="EMPTY_FILE", violations={"file": "is empty"})
        file.seek(0)
        return opening(self._fields)

    def _take(self, part: Field | FileBegins | FileData, file: IO[bytes]) -> None:
        match part:
            case Field():
                if part.name not in FIELDS:
                    raise InvalidField(part.name[:64], f"is not known: the form has file, {', '.join(FIELDS)}")
                self._fields[part.name] = part.value
            case FileBegins():
                self._size = 0
            case FileData():
                self._size = (self._size or 0) + len(part.content)
                try:
                    file.write(part.content)
                except OSError as error:
                    raise Unavailable(
                        f"this edge cannot keep the document: {error.strerror}", reason="DISK_FULL", retry_seconds=30.0
                    ) from error


def opening(fields: dict[str, str]) -> api.Open:
    """What the form's fields ask for. Raises InvalidField."""
    asked = api.Open(
        languages=[tag.strip() for tag in fields.get("languages", "").split(",") if tag.strip()],
        media_type=fields.get("media_type", "").strip(),
        ignore_text_layer=choice_of("ignore_text_layer", fields.get("ignore_text_layer", "").strip().lower(), FLAGS),
    )
    if pages := fields.get("max_pages", "").strip():
        if not (pages.isdecimal() and 0 < int(pages[:10]) < 2**31):
            raise InvalidField("max_pages", "must be a whole number from 1")
        asked.max_pages = int(pages)
    if scrub := fields.get("scrub", "").strip().lower():
        asked.scrub = choice_of("scrub", scrub, FLAGS)
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


def _temporary() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(MEMORY_BYTES)


def _ended() -> ServiceAway:
    return ServiceAway("the service ended in the middle of the document: try again")


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Value]) -> Value:
    """Wait for ``work``, but not for longer than the client does. Raises ClientDisconnect."""
    working = asyncio.create_task(work, name="edge-document-work")
    gone = asyncio.create_task(_gone(request), name="edge-document-gone")
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
