"""``POST /v1/audio/transcriptions`` as OpenAI has it (https://platform.openai.com/docs/api-reference/audio/createTranscription), also below ``/api``.

So OpenAI's own clients transcribe here unchanged, and so does another Malha by its engine ``openai``.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import media_pb2
from malha.edge.calls import metadata
from malha.edge.errors import InvalidField
from malha.edge.fields import choice_of
from malha.edge.ids import new_session_id
from malha.edge.replies import json_response
from malha.edge.settings import EdgeSettings
from malha.edge.upload_door import UploadDoor
from malha.edge.upload_form import flag_of
from malha.edge.uploads import Asked, Upload
from malha.runtime.errors import Unavailable
from malha.runtime.mesh import Mesh

JSON, TEXT, VERBOSE = "json", "text", "verbose_json"
FORMATS: Final = {name: name for name in (JSON, TEXT, VERBOSE)}
GRANULARITIES: Final = {"segment": "segment", "word": "word"}
TIMES: Final = "timestamp_granularities[]"
OPENAI_MODELS: Final = frozenset({"", "whisper-1"})
"""What clients of OpenAI name because they must: the recogniser's default."""
LOST: Final = "Malha-Lost"
"""The header that tells how many utterances of an answer could not be recognised, where some could not."""
FIELDS: Final = ("model", "language", "prompt", "response_format", "temperature", "stream", TIMES)
"""``prompt`` and ``temperature`` change nothing: Malha decides them by what was said before, and by how sure a text is."""


class Transcriptions:
    """OpenAI's door to recognition."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh, door: UploadDoor) -> None:
        self._settings = settings
        self._mesh = mesh
        self._door = door

    async def transcribe(self, request: Request) -> Response:
        """The endpoint."""
        upload = Upload(self._mesh, self._settings, Asked(FIELDS, opening))

        async def receive(token: str) -> Response:
            transcript = (await upload.run(request, metadata(token, new_session_id()))).json()
            return answer_of(transcript, upload.fields)

        return await self._door.answer(request, upload.form, receive)


def opening(fields: Mapping[str, str]) -> api.Open:
    """What the form's fields ask for. Raises InvalidField, for the form of the answer too, before anything is transcribed."""
    verbose, granularities = _format(fields) == VERBOSE, _granularities(fields)
    if flag_of(fields, "stream"):
        raise InvalidField("stream", "is not supported here: live audio goes over /api/v1/asr/stream")
    language, model = fields.get("language", ""), fields.get("model", "")
    return api.Open(
        languages=[language] if language else [],
        format=media_pb2.AudioFormat(encoding=media_pb2.ENCODING_FILE),
        pace=api.PACE_BATCH,
        model="" if model in OPENAI_MODELS else model,
        interim=False,
        words=verbose and "word" in granularities,
        verbatim=True,
    )


def answer_of(transcript: Mapping[str, Any], fields: Mapping[str, str]) -> Response:
    """A transcript of ours in the form that was asked for, which has no place to say what was lost. Raises Unavailable where all was."""
    lost = [warning for warning in transcript["warnings"] if warning["segment_id"]]
    if lost and not transcript["segments"]:
        raise Unavailable(lost[0]["message"], reason=lost[0]["reason"])
    answer = _in_form(transcript, fields)
    if lost:
        answer.headers[LOST] = str(len(lost))
    return answer


def _in_form(transcript: Mapping[str, Any], fields: Mapping[str, str]) -> Response:
    form = _format(fields)
    if form == TEXT:
        return PlainTextResponse(transcript["text"] + "\n")
    if form == JSON:
        return json_response({"text": transcript["text"]})
    wanted = _granularities(fields) or {"segment"}
    told = {
        "task": "transcribe",
        "language": transcript["language"],
        "duration": transcript["duration_sec"],
        "text": transcript["text"],
    }
    if "segment" in wanted:
        told["segments"] = [_segment(number, segment) for number, segment in enumerate(transcript["segments"])]
    if "word" in wanted:
        told["words"] = [
            {"word": word["word"], "start": word["start_sec"], "end": word["end_sec"]}
            for segment in transcript["segments"]
            for word in segment["words"]
        ]
    return json_response(told)


def _segment(number: int, segment: Mapping[str, Any]) -> dict[str, Any]:
    """What Malha does not know of a segment is left out."""
    confidence = segment["confidence"]
    told = {"id": number, "start": segment["start_sec"], "end": segment["end_sec"], "text": segment["text"]}
    return told | ({"avg_logprob": math.log(confidence)} if confidence else {})


def _format(fields: Mapping[str, str]) -> str:
    return choice_of("response_format", fields.get("response_format") or JSON, FORMATS)


def _granularities(fields: Mapping[str, str]) -> set[str]:
    return {choice_of(TIMES, name.strip(), GRANULARITIES) for name in fields.get(TIMES, "").split(",") if name.strip()}
