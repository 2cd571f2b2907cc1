"""``POST /api/v1/jobs`` as a multipart form: the recording goes to the data directory and waits there for its job.

A form's file is written as it comes, its fields may come before or after. The job's contract is the same as over gRPC; a JSON body goes
the way of every other method.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import IO

import grpc
from google.protobuf import json_format
from starlette.requests import Request
from starlette.responses import Response

from malha.api.jobs.v1 import jobs_pb2 as api
from malha.edge.calls import failure, metadata
from malha.edge.errors import InvalidField
from malha.edge.fields import choice_of
from malha.edge.form import Field, FileBegins, FileData, FormReader
from malha.edge.messages import ANY_LANGUAGE, ROLES
from malha.edge.settings import EdgeSettings
from malha.edge.uploads import FLAGS, FORM_BYTES, UploadDoor, announced_bytes, body_of, too_large
from malha.runtime import logs
from malha.runtime.errors import InvalidArgument, Unavailable
from malha.runtime.job_files import JobFiles
from malha.runtime.mesh import Mesh

log = logs.get("edge.jobs")

CREATE = "/malha.api.jobs.v1.JobService/CreateJob"
CREATE_NAME = "malha.api.jobs.v1.JobService.CreateJob"
ANSWER_SECONDS = 30.0
ROOM_BYTES = 16 * 1024 * 1024
"""The room is looked at again after so much more came."""
FIELDS = ("language", "model", "conversation_id", "roles", "enable_diarization", "words", "analyse")

Endpoint = Callable[[Request], Awaitable[Response]]


class JobUploads:
    """Receives recordings for jobs. ``other``: answers a body that is no form."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh, door: UploadDoor, files: JobFiles, other: Endpoint) -> None:
        self._settings = settings
        self._mesh = mesh
        self._door = door
        self._files = files
        self._other = other

    async def create(self, request: Request) -> Response:
        """The endpoint."""
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return await self._other(request)
        upload = _Upload(self._files, self._settings.max_upload_bytes)

        async def receive(token: str) -> Response:
            await asyncio.to_thread(self._files.check_room, announced_bytes(request))
            return await self._make(await upload.receive(request), token)

        try:
            return await self._door.answer(request, upload, receive)
        finally:
            upload.discard()

    async def _make(self, wanted: api.TranscribeJob, token: str) -> Response:
        method = self._mesh.channel("jobs").unary_unary(
            CREATE, request_serializer=api.CreateJobRequest.SerializeToString, response_deserializer=api.CreateJobResponse.FromString
        )
        try:
            made = await method(api.CreateJobRequest(transcribe=wanted), metadata=metadata(token), timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise failure(error) from None
        text = json_format.MessageToJson(made, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None)
        return Response(text, media_type="application/json")


class _Upload:
    """One form on its way to the disk."""

    def __init__(self, files: JobFiles, most_bytes: int) -> None:
        self.received = False
        """Whether all of the body has come."""
        self._files = files
        self._most_bytes = most_bytes
        self._fields: dict[str, str] = {}
        self._upload = ""
        self._file: IO[bytes] | None = None
        self._size = 0
        self._looked_at = 0

    async def receive(self, request: Request) -> api.TranscribeJob:
        """The job that the form asks for, its file on disk."""
        form, size = FormReader(request.headers.get("content-type", "")), 0
        async with contextlib.aclosing(body_of(request)) as body:
            async for data in body:
                size += len(data)
                if size > self._most_bytes + FORM_BYTES:
                    raise too_large(self._most_bytes)
                for part in form.feed(data):
                    await self._take(part)
        self.received = True
        form.finish()
        if self._file is None:
            raise InvalidArgument("the form has no part `file`", reason="MISSING_FILE", violations={"file": "is required"})
        if not self._size:
            raise InvalidArgument("the file is empty", reason="EMPTY_FILE", violations={"file": "is empty"})
        wanted = job_of(self._fields, self._upload)
        with _told():
            self._file.close()
            self._files.complete(self._upload)
        return wanted

    def discard(self) -> None:
        """Delete what no job took over."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # the last bytes do not fit: they are not wanted
                self._file.close()
            self._files.discard_upload(self._upload)

    async def _take(self, part: Field | FileBegins | FileData) -> None:
        match part:
            case Field():
                if part.name not in FIELDS:
                    raise InvalidField(part.name[:64], f"is not known: the form has file, {', '.join(FIELDS)}")
                self._fields[part.name] = part.value
            case FileBegins():
                with _told():
                    self._upload, self._file = self._files.create()
            case FileData():
                await self._write(part.content)

    async def _write(self, content: bytes) -> None:
        assert self._file is not None, "a file begins before its data"
        self._size += len(content)
        if self._size > self._most_bytes:
            raise too_large(self._most_bytes)
        with _told():
            self._file.write(content)
        if self._size - self._looked_at > ROOM_BYTES:
            self._looked_at = self._size
            await asyncio.to_thread(self._files.check_room, 0)


def job_of(fields: Mapping[str, str], upload: str) -> api.TranscribeJob:
    """What the form's fields ask for. Raises InvalidField."""
    language = fields.get("language", "")
    return api.TranscribeJob(
        upload_id=upload,
        conversation_id=fields.get("conversation_id", ""),
        languages=[] if language in ("", ANY_LANGUAGE) else [tag.strip() for tag in language.split(",")],
        model=fields.get("model", ""),
        roles=[choice_of("roles", role.strip(), ROLES) for role in fields.get("roles", "").split(",") if role.strip()],
        diarize=_flag(fields, "enable_diarization"),
        words=_flag(fields, "words", default="true"),
        analyse=_flag(fields, "analyse"),
    )


def _flag(fields: Mapping[str, str], name: str, default: str = "false") -> bool:
    return choice_of(name, fields.get(name, default).strip().lower(), FLAGS)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"this edge cannot keep the recording: {error.strerror}", reason="DISK_FULL", retry_seconds=30.0) from error
