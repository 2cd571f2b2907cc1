"""OpenAI's door to recognition in the OpenAPI document."""

from typing import Any, Final

from malha.edge.form import FILE
from malha.edge.schemas import Schema
from malha.edge.transcriptions import FORMATS, GRANULARITIES, LOST, TIMES

_TEXT: Final[Schema] = {"type": "string"}
_SECONDS: Final[Schema] = {"type": "number"}
_FORM: Final[Schema] = {
    "type": "object",
    "required": [FILE],
    "properties": {
        FILE: {"type": "string", "format": "binary", "description": "WAV, FLAC, MP3, Ogg, WebM or MP4."},
        "model": {**_TEXT, "description": "The recogniser's model; empty or `whisper-1`: its default."},
        "language": {**_TEXT, "description": "BCP 47 tag; empty: detected, or the engine's only language."},
        "response_format": {"enum": list(FORMATS), "description": "Default: json."},
        TIMES: {"type": "array", "items": {"enum": list(GRANULARITIES)}, "description": "Of verbose_json. Default: segment."},
        "prompt": {**_TEXT, "description": "Not used."},
        "temperature": {**_SECONDS, "description": "Not used."},
    },
}
_SEGMENT: Final[Schema] = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "start": _SECONDS, "end": _SECONDS, "text": _TEXT, "avg_logprob": _SECONDS},
}
_WORD: Final[Schema] = {"type": "object", "properties": {"word": _TEXT, "start": _SECONDS, "end": _SECONDS}}
_TRANSCRIPTION: Final[Schema] = {
    "type": "object",
    "description": "`json` has the text alone.",
    "required": ["text"],
    "properties": {
        "task": {"const": "transcribe"},
        "language": {"type": ["string", "null"], "description": "BCP 47 tag."},
        "duration": _SECONDS,
        "text": _TEXT,
        "segments": {"type": "array", "items": _SEGMENT},
        "words": {"type": "array", "items": _WORD},
    },
}


def paths() -> dict[str, dict[str, Any]]:
    """The operation, by path and verb."""
    answer = {
        "description": "The transcript.",
        "headers": {LOST: {"schema": {"type": "integer"}, "description": "How many utterances could not be recognised; not there: none."}},
        "content": {"application/json": {"schema": _TRANSCRIPTION}, "text/plain": {"schema": _TEXT}},
    }
    failure = {"description": "An error, in OpenAI's form.", "content": {"application/json": {}}}
    return {
        f"{base}/audio/transcriptions": {
            "post": {
                "operationId": f"transcriptions{suffix}",
                "summary": "Transcribes a recording, as OpenAI does.",
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}},
                "responses": {"200": answer, "default": failure},
            }
        }
        for base, suffix in (("/v1", "_openai"), ("/api/v1", ""))
    }
