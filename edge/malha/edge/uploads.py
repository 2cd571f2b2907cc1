"""``POST /api/v1/asr``: a recording as a multipart form, its transcript as JSON.

Fields that come before the file let the file go straight into the call, touching neither disk nor memory. Where the file comes first,
its fields may still follow, so it waits in a temporary file; ``curl -F file=@call.wav`` is that case too.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import IO, Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import media_pb2
from malha.edge.calls import Metadata, Tokens, bearer, metadata
from malha.edge.chat_errors import is_compatible, openai_error
from malha.edge.errors import BodyTooLarge, InvalidField
from malha.edge.fields import choice_of
from malha.edge.form import Field, FileBegins, FileData, FormReader
from malha.edge.ids import new_session_id
from malha.edge.messages import ANY_LANGUAGE, ROLES
from malha.edge.recording import Recording
from malha.edge.replies import error_response, json_response
from malha.edge.settings import EdgeSettings
from malha.edge.transcript import Transcript
from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, InvalidArgument, MalhaError, ResourceExhausted, Unavailable
from malha.runtime.logs import Event
from malha.runtime.mesh import Mesh

log = logs.get("edge.uploads")

FORM_BYTES = 256 * 1024
"""What a form may hold beside its file."""
MEMORY_BYTES = 1024 * 1024
"""A waiting file larger than this lies on disk."""
PIECE_BYTES = 256 * 1024
BODY_SECONDS = 30.0
"""How long the next bytes of a body may take."""
LINGER_SECONDS = 2.0
"""How long a refused client may still send, and at most as much as one that is not refused."""
FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False, "": False}
FIELDS = ("language", "model", "enable_denoise", "enable_diarization", "enable_alignment", "words", "roles")


class Incoming(Protocol):
    """An upload as the door sees it."""

    @property
    def received(self) -> bool:
        """Whether all of the body has come."""


class UploadDoor:
    """Lets recordings in, a bounded number at once, whatever they are for; and tells those that are refused while they still send."""

    def __init__(self, settings: EdgeSettings, tokens: Tokens) -> None:
        self._settings = settings
        self._tokens = tokens
        self._open = 0

    async def answer(self, request: Request, upload: Incoming, receive: Callable[[str], Awaitable[Response]]) -> Response:
        """What ``receive(token)`` answers, or why the upload is refused: as far as can be said, before its body is read."""
        self._open += 1
        try:
            return await receive(await self._admit(request))
        except MalhaError as error:
            log.info(Event.REQUEST_REFUSED, reason=error.reason)
            told = openai_error(error) if is_compatible(request.url.path) else error_response(error)
            return told if upload.received else Refusal(told, self._settings.max_upload_bytes + FORM_BYTES)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is left to read it
        finally:
            self._open -= 1

    async def _admit(self, request: Request) -> str:
        if self._open > self._settings.max_uploads:
            raise ResourceExhausted(
                "this edge receives all the recordings it can", reason="TOO_MANY_UPLOADS", retry_seconds=2.0, quota="uploads"
            )
        if announced_bytes(request) > self._settings.max_upload_bytes + FORM_BYTES:
            raise too_large(self._settings.max_upload_bytes)
        token = bearer(request.headers.get("authorization", ""))
        await self._tokens.check(token)
        return token


class Uploads:
    """Receives recordings and transcribes them."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh, door: UploadDoor) -> None:
        self._settings = settings
        self._mesh = mesh
        self._door = door

    async def transcribe(self, request: Request) -> Response:
        """The endpoint."""
        upload = Upload(self._mesh, self._settings, RECORDING)

        async def receive(token: str) -> Response:
            return json_response((await upload.run(request, metadata(token, new_session_id()))).json())

        return await self._door.answer(request, upload, receive)


@dataclass(frozen=True, slots=True)
class Form:
    """What a form may hold beside its file, and the call it asks for."""

    names: tuple[str, ...]
    opening: Callable[[Mapping[str, str]], api.Open]
    """Raises InvalidField. A field that is given several times, its name ending with ``[]``, is a list with commas."""


class Upload:
    """One form: read it, feed the call, wait for the transcript."""

    def __init__(self, mesh: Mesh, settings: EdgeSettings, form: Form) -> None:
        self.received = False
        """Whether all of the body has come."""
        self.fields: dict[str, str] = {}
        self._form = form
        self._mesh = mesh
        self._identity: Metadata = ()
        self._settings = settings
        self._size = 0
        self._recording: Recording | None = None
        self._waiting: IO[bytes] | None = None

    async def run(self, request: Request, identity: Metadata) -> Transcript:
        self._identity = identity
        async with AsyncExitStack() as stack:
            form, size = FormReader(request.headers.get("content-type", "")), 0
            async with contextlib.aclosing(body_of(request)) as body:
                async for data in body:
                    size += len(data)
                    if size > self._settings.max_upload_bytes + FORM_BYTES:
                        raise too_large(self._settings.max_upload_bytes)
                    for part in form.feed(data):
                        await self._take(part, stack)
            self.received = True
            form.finish()
            return await self._finish(request, stack)

    async def _take(self, part: Field | FileBegins | FileData, stack: AsyncExitStack) -> None:
        match part:
            case Field():
                self._take_field(part)
            case FileBegins() if self.fields:
                self._recording = await stack.enter_async_context(self._open())
            case FileBegins():
                self._waiting = stack.enter_context(_temporary())
            case FileData():
                await self._take_data(part.content)

    def _take_field(self, field: Field) -> None:
        if field.name not in self._form.names:
            raise InvalidField(field.name[:64], f"is not known: the form has file, {', '.join(self._form.names)}")
        earlier = self.fields.get(field.name, "")
        if self._recording is not None and field.value != earlier:
            raise InvalidArgument("put all fields before the file, or all behind it", reason="FIELD_AFTER_FILE")
        self.fields[field.name] = f"{earlier},{field.value}" if field.name.endswith("[]") and earlier else field.value

    async def _take_data(self, content: bytes) -> None:
        self._size += len(content)
        if self._size > self._settings.max_upload_bytes:
            raise too_large(self._settings.max_upload_bytes)
        if self._recording is not None:
            await self._recording.feed(content)
        elif self._waiting is not None:
            try:
                self._waiting.write(content)
            except OSError as error:
                raise Unavailable(
                    f"this edge cannot keep the recording: {error.strerror}", reason="DISK_FULL", retry_seconds=30.0
                ) from error

    async def _finish(self, request: Request, stack: AsyncExitStack) -> Transcript:
        if self._recording is None and self._waiting is None:
            raise InvalidArgument("the form has no part `file`", reason="MISSING_FILE", violations={"file": "is required"})
        if not self._size:
            raise InvalidArgument("the file is empty", reason="EMPTY_FILE", violations={"file": "is empty"})
        if self._recording is None:
            self._recording = await stack.enter_async_context(self._open())
        if self._waiting is not None:
            self._waiting.seek(0)
            while piece := self._waiting.read(PIECE_BYTES):
                await self._recording.feed(piece)
        return await _unless_gone(request, self._recording.finish(self._settings.transcription_seconds))

    def _open(self) -> Recording:
        return Recording(self._mesh.channel("audio"), self._identity, self._form.opening(self.fields))


def opening(fields: Mapping[str, str]) -> api.Open:
    """What the form's fields ask for. Raises InvalidField."""
    language = fields.get("language", "")
    roles = [choice_of("roles", role.strip(), ROLES) for role in fields.get("roles", "").split(",") if role.strip()]
    return api.Open(
        languages=[] if language in ("", ANY_LANGUAGE) else [tag.strip() for tag in language.split(",")],
        format=media_pb2.AudioFormat(encoding=media_pb2.ENCODING_FILE),
        channels=[api.Channel(role=role) for role in roles],
        pace=api.PACE_BATCH,
        denoise=_flag(fields, "enable_denoise"),
        diarize=_flag(fields, "enable_diarization"),
        model=fields.get("model", ""),
        interim=False,
        words=_flag(fields, "words", default="true"),
        align=_flag(fields, "enable_alignment"),
    )


RECORDING = Form(FIELDS, opening)
"""``POST /api/v1/asr``."""


def _flag(fields: Mapping[str, str], name: str, default: str = "false") -> bool:
    return choice_of(name, fields.get(name, default).strip().lower(), FLAGS)


async def body_of(request: Request) -> AsyncGenerator[bytes]:
    """The body as it comes. Raises ClientDisconnect, and DeadlineExceeded for one that stands still."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                data = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise DeadlineExceeded(f"no more of the body came for {BODY_SECONDS:g} s", reason="UPLOAD_STALLED") from None
        yield data


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Transcript]) -> Transcript:
    """Wait for the transcript, but not for longer than the client does."""
    finish = asyncio.create_task(work, name="edge-upload-finish")
    gone = asyncio.create_task(_gone(request), name="edge-upload-gone")
    try:
        await asyncio.wait({finish, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not finish.done():
            raise ClientDisconnect
        return finish.result()
    finally:
        for task in (finish, gone):
            task.cancel()
        await asyncio.gather(finish, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _temporary() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(MEMORY_BYTES)


def announced_bytes(request: Request) -> int:
    """The body's length as its header says; 0 where it does not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


def too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the recording is over {limit} bytes", quota="max_upload_bytes")


class Refusal(Response):
    """An error told while the client may still be sending: what comes is read for a moment and thrown away, then the connection is closed.

    Closed at once it would be reset, and the client might never see why.
    """

    def __init__(self, told: Response, most: int) -> None:
        self._most = most
        super().__init__(told.body, told.status_code, {**told.headers, "Connection": "close"})

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._linger(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _linger(self, receive: Receive) -> None:
        left = self._most
        while left > 0 and (message := await receive())["type"] != "http.disconnect" and message.get("more_body", False):
            left -= len(message.get("body", b""))
