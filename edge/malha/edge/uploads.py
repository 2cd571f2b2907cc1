"""``POST /api/v1/asr``: a recording as a multipart form, its transcript as JSON.

Fields that come before the file let the file go straight into the call, touching neither disk nor memory. Where the file comes first,
its fields may still follow, so it waits in a temporary file; ``curl -F file=@call.wav`` is that case too.
"""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import IO

from starlette.requests import Request
from starlette.responses import Response

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import media_pb2
from malha.edge.calls import Metadata, metadata
from malha.edge.form import Field, FileBegins, FileData, Part
from malha.edge.ids import new_session_id
from malha.edge.recording import Recording
from malha.edge.replies import json_response
from malha.edge.settings import EdgeSettings
from malha.edge.transcript import Transcript
from malha.edge.upload_door import UploadDoor
from malha.edge.upload_form import PIECE_BYTES, UploadForm, disk_checked, flag_of, languages_of, roles_of, unless_gone, waiting_file
from malha.runtime.errors import InvalidArgument
from malha.runtime.mesh import Mesh

FIELDS = ("language", "model", "enable_denoise", "enable_diarization", "enable_alignment", "words", "roles")


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

        return await self._door.answer(request, upload.form, receive)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a form may hold beside its file, and the call it asks for."""

    names: tuple[str, ...]
    opening: Callable[[Mapping[str, str]], api.Open]
    """Raises InvalidField. A field that is given several times, its name ending with ``[]``, is a list with commas."""


class Upload:
    """One form: read it, feed the call, wait for the transcript."""

    def __init__(self, mesh: Mesh, settings: EdgeSettings, asked: Asked) -> None:
        self.form = UploadForm(asked.names, settings.max_upload_bytes)
        self.fields: dict[str, str] = {}
        self._asked = asked
        self._mesh = mesh
        self._identity: Metadata = ()
        self._seconds = settings.transcription_seconds
        self._recording: Recording | None = None
        self._waiting: IO[bytes] | None = None

    async def run(self, request: Request, identity: Metadata) -> Transcript:
        self._identity = identity
        async with AsyncExitStack() as stack:
            async with contextlib.aclosing(self.form.parts(request)) as parts:
                async for part in parts:
                    await self._take(part, stack)
            return await self._finish(request, stack)

    async def _take(self, part: Part, stack: AsyncExitStack) -> None:
        match part:
            case Field():
                self._take_field(part)
            case FileBegins() if self.fields:
                self._recording = await stack.enter_async_context(self._open())
            case FileBegins():
                self._waiting = stack.enter_context(waiting_file())
            case FileData():
                await self._take_data(part.content)

    def _take_field(self, field: Field) -> None:
        earlier = self.fields.get(field.name, "")
        if self._recording is not None and field.value != earlier:
            raise InvalidArgument("put all fields before the file, or all behind it", reason="FIELD_AFTER_FILE")
        self.fields[field.name] = f"{earlier},{field.value}" if field.name.endswith("[]") and earlier else field.value

    async def _take_data(self, content: bytes) -> None:
        if self._recording is not None:
            await self._recording.feed(content)
        elif self._waiting is not None:
            with disk_checked("recording"):
                self._waiting.write(content)

    async def _finish(self, request: Request, stack: AsyncExitStack) -> Transcript:
        if self._recording is None:
            self._recording = await stack.enter_async_context(self._open())
        if self._waiting is not None:
            self._waiting.seek(0)
            while piece := self._waiting.read(PIECE_BYTES):
                await self._recording.feed(piece)
        return await unless_gone(request, self._recording.finish(self._seconds))

    def _open(self) -> Recording:
        return Recording(self._mesh.channel("audio"), self._identity, self._asked.opening(self.fields))


def opening(fields: Mapping[str, str]) -> api.Open:
    """What the form's fields ask for. Raises InvalidField."""
    return api.Open(
        languages=languages_of(fields),
        format=media_pb2.AudioFormat(encoding=media_pb2.ENCODING_FILE),
        channels=[api.Channel(role=role) for role in roles_of(fields)],
        pace=api.PACE_BATCH,
        denoise=flag_of(fields, "enable_denoise"),
        diarize=flag_of(fields, "enable_diarization"),
        model=fields.get("model", ""),
        interim=False,
        words=flag_of(fields, "words", default="true"),
        align=flag_of(fields, "enable_alignment"),
    )


RECORDING = Asked(FIELDS, opening)
"""``POST /api/v1/asr``."""
