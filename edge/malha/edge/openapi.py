"""``GET /api/v1/openapi.json``: OpenAPI 3.1 of every REST address, from the contracts and, for the hand-written ones, from here."""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from malha.edge import chat_openapi, ocr_openapi, transcriptions_openapi
from malha.edge.calls import Tokens, bearer
from malha.edge.contracts import Binding, bindings, comments
from malha.edge.form import FILE
from malha.edge.schemas import Schema, Schemas
from malha.edge.speech import FORMATS, MEDIA_TYPES
from malha.runtime.version import VERSION

_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "reason", "message", "retryable"],
            "properties": {
                "code": {"type": "string", "description": "The gRPC status code's name."},
                "reason": {"type": "string", "description": "UPPER_SNAKE_CASE, stable."},
                "message": {"type": "string", "description": "For a person."},
                "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
                "retry_after_ms": {"type": "integer"},
                "violations": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "By field, what is wrong with it.",
                },
            },
        }
    },
}
_ERROR_ANSWER = {"description": "An error.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_SECONDS: Schema = {"type": "number"}
_UNKNOWN_NUMBER: Schema = {"type": ["number", "null"]}
_UNKNOWN_TEXT: Schema = {"type": ["string", "null"]}

_RECORDING: Schema = {
    "type": "object",
    "required": [FILE],
    "properties": {
        FILE: {
            "type": "string",
            "format": "binary",
            "description": "WAV, FLAC, MP3, Ogg, WebM or MP4. Fields before it spare a temporary file.",
        },
        "language": {
            **_TEXT,
            "description": "BCP 47 tag, or several with commas; `auto` or empty: detected, or the engine's only language.",
        },
        "model": {**_TEXT, "description": "The recogniser's model, such as `whisper/medium`; empty: its default."},
        "enable_denoise": _FLAG,
        "enable_diarization": _FLAG,
        "enable_alignment": {**_FLAG, "description": "Whether words are timed by aligning their text with the audio. Means `words`."},
        "words": {**_FLAG, "description": "Whether segments carry words with times. Default true."},
        "roles": {**_TEXT, "description": "Who speaks on each channel, such as `agent,customer`."},
    },
}
_JOB_RECORDING: Schema = {
    "type": "object",
    "required": [FILE],
    "properties": {
        **{name: schema for name, schema in _RECORDING["properties"].items() if name != "enable_alignment"},
        FILE: {"type": "string", "format": "binary", "description": "WAV, FLAC, MP3, Ogg, WebM or MP4."},
        "conversation_id": {**_TEXT, "description": "The conversation it belongs to; made where it does not exist."},
        "analyse": {**_FLAG, "description": "Whether to have the conversation analysed too."},
    },
}
_WORD: Schema = {
    "type": "object",
    "properties": {"word": _TEXT, "start_sec": _SECONDS, "end_sec": _SECONDS, "confidence": _UNKNOWN_NUMBER, "speaker": _UNKNOWN_TEXT},
}
_SEGMENT: Schema = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "revision": {"type": "integer"},
        "channel": {"type": "integer"},
        "role": {"enum": ["agent", "customer", "unknown"]},
        "start_sec": _SECONDS,
        "end_sec": _SECONDS,
        "text": _TEXT,
        "confidence": _UNKNOWN_NUMBER,
        "speaker": _UNKNOWN_TEXT,
        "language": _UNKNOWN_TEXT,
        "words": {"type": "array", "items": _WORD},
        "engine": {**_TEXT, "description": "Who recognised it; only where several engines recognise one call."},
        "model": {**_TEXT, "description": "Of that engine."},
    },
}
_CHANNEL: Schema = {
    "type": "object",
    "properties": {
        "channel": {"type": "integer"},
        "role": {"enum": ["agent", "customer", "unknown"]},
        "talk_sec": _SECONDS,
        "segments": {"type": "integer"},
        "dtmf_digits": {"type": "integer"},
    },
}
_TRANSCRIPT: Schema = {
    "type": "object",
    "properties": {
        "text": {**_TEXT, "description": "All segments, in order of their start."},
        "language": _UNKNOWN_TEXT,
        "duration_sec": _SECONDS,
        "engine": _TEXT,
        "model": _TEXT,
        "segments": {"type": "array", "items": _SEGMENT},
        "channels": {"type": "array", "items": _CHANNEL},
        "warnings": {"type": "array", "items": {"type": "object", "properties": {"reason": _TEXT, "message": _TEXT, "segment_id": _TEXT}}},
    },
}
_SPEECH: Schema = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": _TEXT,
        "language": {**_TEXT, "description": "BCP 47 tag. Required where no voice is given."},
        "voice": {**_TEXT, "description": "As listed by GET /api/v1/voices."},
        "format": {"enum": list(FORMATS), "default": "wav"},
        "speed": {"type": "number", "minimum": 0.5, "maximum": 2, "default": 1},
        "sample_rate": {"type": "integer", "description": "Default: the engine's own."},
    },
}
_HEALTH: Schema = {
    "type": "object",
    "properties": {
        "status": {"enum": ["serving", "not_serving"]},
        "version": _TEXT,
        "capabilities": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"status": {"enum": ["serving", "not_serving", "absent", "unreachable"]}, "engine": _UNKNOWN_TEXT},
            },
        },
    },
}


def endpoint(tokens: Tokens, *, local: bool) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint; where the edge listens beyond this machine it asks for a token."""

    async def openapi(request: Request) -> Response:
        if not local:
            await tokens.check(bearer(request.headers.get("authorization", "")))
        return Response(_document_json(), media_type="application/json")

    return openapi


@cache
def _document_json() -> bytes:
    return orjson.dumps(document())


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    schemas, paths = Schemas(), dict[str, dict[str, Any]]()
    for binding in bindings():
        paths.setdefault(binding.path, {})[binding.verb.lower()] = _operation(binding, schemas)
    paths["/api/v1/jobs"]["post"]["requestBody"]["content"] |= _content("multipart/form-data", _JOB_RECORDING)["content"]
    paths |= _hand_written() | chat_openapi.paths(_ERROR_ANSWER) | ocr_openapi.paths(_ERROR_ANSWER) | transcriptions_openapi.paths()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Malha",
            "version": VERSION,
            "description": "Live calls into text, speakers and advice. Live audio goes over the WebSocket /api/v1/asr/stream (shop counters: /ws) or over gRPC.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**schemas.all, "Error": _ERROR, "RecordingTranscript": _TRANSCRIPT},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(binding: Binding, schemas: Schemas) -> dict[str, Any]:
    method, fields = binding.method, {field.name: field for field in binding.method.input_type.fields}
    described = {"summary": comments()[method.full_name]} if method.full_name in comments() else {}
    operation: dict[str, Any] = {
        "operationId": f"{method.containing_service.name}_{method.name}{'_alias' if binding.alias else ''}",
        "tags": [method.containing_service.name],
        **described,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": schemas.field(fields.pop(name))}
            for name in binding.variables
            if name in fields
        ],
        "responses": _answers("The answer.", "application/json", schemas.message(method.output_type)),
    }
    if binding.body == "*":
        operation["requestBody"] = _content("application/json", schemas.message(method.input_type))
        return operation
    if binding.body:
        operation["requestBody"] = _content("application/json", schemas.field(fields.pop(binding.body)))
    operation["parameters"] += [{"name": field.name, "in": "query", "schema": schemas.field(field)} for field in fields.values()]
    return operation


def _hand_written() -> dict[str, dict[str, Any]]:
    transcript = {"$ref": "#/components/schemas/RecordingTranscript"}
    speech = _answers("Speech, as it is made.", "audio/wav", {"type": "string", "format": "binary"})
    audio = speech["200"]["content"]
    audio |= {kind.partition(";")[0]: audio["audio/wav"] for kind in MEDIA_TYPES.values()}
    health = {code: {"description": text, "content": {"application/json": {"schema": _HEALTH}}} for code, text in _HEALTH_CODES.items()}
    return {
        "/api/v1/asr": {
            "post": {
                "operationId": "transcribe_recording",
                "summary": "Transcribes a recording.",
                "requestBody": _content("multipart/form-data", _RECORDING),
                "responses": _answers("The transcript.", "application/json", transcript),
            }
        },
        "/api/v1/tts": {
            "post": {
                "operationId": "speak",
                "summary": "Speaks a text.",
                "requestBody": _content("application/json", _SPEECH),
                "responses": speech,
            }
        },
        "/api/v1/health": {"get": {"operationId": "health", "summary": "Says what is serving.", "security": [], "responses": health}},
    }


_HEALTH_CODES = {"200": "Calls can be served.", "503": "No call can be served."}


def _content(media_type: str, schema: Schema) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema}}}


def _answers(text: str, media_type: str, schema: Schema) -> dict[str, Any]:
    return {"200": {"description": text, "content": {media_type: {"schema": schema}}}, "default": _ERROR_ANSWER}
