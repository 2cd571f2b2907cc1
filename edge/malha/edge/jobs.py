"""``POST /api/v1/jobs`` as a multipart form: the recording goes to the data directory and waits there for its job.

A form's file is written as it comes, its fields may come before or after. The job's contract is the same as over gRPC; a JSON body goes
the way of every other method.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import IO

import grpc
from google.protobuf import json_format
from starlette.requests import Request
from starlette.responses import Response

from malha.api.jobs.v1 import jobs_pb2 as api
from malha.edge.calls import failure, metadata
from malha.edge.form import Field, FileBegins, FileData, Part
from malha.edge.settings import EdgeSettings
from malha.edge.upload_door import UploadDoor, announced_bytes
from malha.edge.upload_form import UploadForm, disk_checked, flag_of, languages_of, roles_of
from malha.runtime.job_files import JobFiles
from malha.runtime.mesh import Mesh

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
            return await self._door.answer(request, upload.form, receive)
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
        self.form = UploadForm(FIELDS, most_bytes)
        self._files = files
        self._fields: dict[str, str] = {}
        self._upload = ""
        self._file: IO[bytes] | None = None
        self._size = 0
        self._looked_at = 0

    async def receive(self, request: Request) -> api.TranscribeJob:
        """The job that the form asks for, its file on disk."""
        async with contextlib.aclosing(self.form.parts(request)) as parts:
            async for part in parts:
                await self._take(part)
        assert self._file is not None, "a form without a file is refused"
        wanted = job_of(self._fields, self._upload)
        with disk_checked("recording"):
            self._file.close()
            self._files.complete(self._upload)
        return wanted

    def discard(self) -> None:
        """Delete what no job took over."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # the last bytes do not fit: they are not wanted
                self._file.close()
            self._files.discard_upload(self._upload)

    async def _take(self, part: Part) -> None:
        match part:
            case Field():
                self._fields[part.name] = part.value
            case FileBegins():
                with disk_checked("recording"):
                    self._upload, self._file = self._files.create()
            case FileData():
                await self._write(part.content)

    async def _write(self, content: bytes) -> None:
        assert self._file is not None, "a file begins before its data"
        self._size += len(content)
        with disk_checked("recording"):
            self._file.write(content)
        if self._size - self._looked_at > ROOM_BYTES:
            self._looked_at = self._size
            await asyncio.to_thread(self._files.check_room, 0)


def job_of(fields: Mapping[str, str], upload: str) -> api.TranscribeJob:
    """What the form's fields ask for. Raises InvalidField."""
    return api.TranscribeJob(
        upload_id=upload,
        conversation_id=fields.get("conversation_id", ""),
        languages=languages_of(fields),
        model=fields.get("model", ""),
        roles=roles_of(fields),
        diarize=flag_of(fields, "enable_diarization"),
        words=flag_of(fields, "words", default="true"),
        analyse=flag_of(fields, "analyse"),
    )
