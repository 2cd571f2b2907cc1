"""The chat doors in the OpenAPI document."""

from typing import Any, Final

from malha.edge.chat_request import AUTHORS, MOST_MESSAGES
from malha.edge.embeddings import ENCODINGS, MOST_TEXTS
from malha.edge.schemas import Schema

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer"}
_FLAG: Final[Schema] = {"type": "boolean"}
_SECONDS: Final[Schema] = {"type": "number"}
_USAGE: Final[Schema] = {
    "type": "object",
    "properties": {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT},
}
_TOLD: Final[dict[str, Schema]] = {
    "model": {**_TEXT, "description": "The model that answered, after any fallback."},
    "engine": _TEXT,
    "degraded": {**_FLAG, "description": "Whether a stand-in answered."},
    "cached": _FLAG,
    "reason": {**_TEXT, "description": "Why the answer is not whole, or could not be kept: UPPER_SNAKE_CASE."},
    "message_id": {**_TEXT, "description": "As stored in the conversation; empty without one."},
    "first_token_sec": _SECONDS,
    "total_sec": _SECONDS,
    "citations": {
        "type": "array",
        "items": {"type": "object", "properties": {"document_id": _TEXT, "title": _TEXT, "quote": _TEXT, "score": _SECONDS}},
    },
}
_MESSAGE: Final[Schema] = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"enum": list(AUTHORS)},
        "content": {
            "oneOf": [_TEXT, {"type": "array", "items": {"type": "object", "properties": {"type": {"const": "text"}, "text": _TEXT}}}]
        },
    },
}
_REQUEST: Final[Schema] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "model": {**_TEXT, "description": "An alias; empty: the default."},
        "messages": {"type": "array", "minItems": 1, "maxItems": MOST_MESSAGES, "items": _MESSAGE, "description": "The last is a user's."},
        "stream": {**_FLAG, "description": "Answer in server-sent events that end with `data: [DONE]`."},
        "stream_options": {"type": "object", "properties": {"include_usage": _FLAG}},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "max_tokens": _COUNT,
        "max_completion_tokens": _COUNT,
        "seed": _COUNT,
        "stop": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 4}]},
        "response_format": {"type": "object", "description": "`text`, `json_object`, or `json_schema` with `json_schema.schema`."},
        "conversation_id": {**_TEXT, "description": "The conversation whose history is used and kept. Malha's own."},
        "knowledge_base": {**_TEXT, "description": "The knowledge base to quote from. Malha's own."},
        "language": {**_TEXT, "description": "BCP 47 tag. Malha's own."},
    },
}
_COMPLETION: Final[Schema] = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "object": {"const": "chat.completion"},
        "created": _COUNT,
        "model": {**_TEXT, "description": "The alias in force."},
        "choices": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "index": _COUNT,
                    "message": {
                        "type": "object",
                        "properties": {"role": {"const": "assistant"}, "content": _TEXT, "refusal": {"type": "null"}},
                    },
                    "logprobs": {"type": "null"},
                    "finish_reason": {"enum": ["stop", "length", "content_filter"]},
                },
            },
        },
        "usage": _USAGE,
        "malha": {"type": "object", "properties": _TOLD},
    },
}
_EMBED: Final[Schema] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "model": {**_TEXT, "description": "The deployment that makes vectors; empty: the one there is."},
        "input": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MOST_TEXTS}]},
        "encoding_format": {"enum": list(ENCODINGS), "description": "Default: float."},
        "user": {**_TEXT, "description": "Not used."},
    },
}
_VECTORS: Final[Schema] = {
    "type": "object",
    "properties": {
        "object": {"const": "list"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "object": {"const": "embedding"},
                    "index": _COUNT,
                    "embedding": {"oneOf": [{"type": "array", "items": {"type": "number"}}, _TEXT]},
                },
            },
        },
        "model": {**_TEXT, "description": "The model that made them."},
        "usage": {"type": "object", "properties": {"prompt_tokens": _COUNT, "total_tokens": _COUNT}},
    },
}
_MODEL: Final[Schema] = {
    "type": "object",
    "properties": {
        "id": {**_TEXT, "description": "The alias."},
        "object": {"const": "model"},
        "created": _COUNT,
        "owned_by": _TEXT,
        "malha": {
            "type": "object",
            "properties": {"model": _TEXT, "engine": _TEXT, "fallbacks": {"type": "array", "items": _TEXT}, "breaker": _TEXT},
        },
    },
}
_OPENAI_ERROR: Final[Schema] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {**_TEXT, "description": "Malha's reason: UPPER_SNAKE_CASE, stable."},
                "retry_after_ms": {**_COUNT, "description": "Where it helps to ask again: when. Malha's own."},
            },
        }
    },
}
_CONTINUE: Final[Schema] = {
    "type": "object",
    "required": ["message"],
    "properties": {
        "message": _TEXT,
        "alias": {**_TEXT, "description": "The model's alias; empty: the default."},
        "knowledge_base": {**_TEXT, "description": "The knowledge base to quote from; empty: none."},
        "language": {**_TEXT, "description": "BCP 47 tag; empty: as the message is."},
        "complex": {**_FLAG, "description": "Whether to answer in a job. Default: for a message over 12,000 characters."},
    },
}
_ANSWER: Final[Schema] = {
    "type": "object",
    "properties": {"answer": _TEXT, "finish_reason": {"enum": ["stop", "length", "error"]}, "usage": _USAGE, **_TOLD},
}
_JOB: Final[Schema] = {"type": "object", "properties": {"job_id": _TEXT, "status": {"const": "running"}}}
_EVENTS: Final[Schema] = {
    **_TEXT,
    "description": "Events `delta` {text}, then `end` {finish_reason, usage, ...} or `error` {error}, then `data: [DONE]`.",
}
_CONVERSATION: Final = {"name": "conversation_id", "in": "path", "required": True, "schema": _TEXT}


def paths(error: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations, by path and verb. ``error``: the answer that tells an error in Malha's own form."""
    return {**_compatible("/api/v1", ""), **_compatible("/v1", "_openai"), **_conversations(error)}


def _compatible(base: str, suffix: str) -> dict[str, dict[str, Any]]:
    failure = {"default": {"description": "An error, in OpenAI's form.", **_content("application/json", _OPENAI_ERROR)}}
    answer = {"description": "The answer.", "content": {**_content("application/json", _COMPLETION)["content"], "text/event-stream": {}}}
    models = {"type": "object", "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}}}
    alias = {"name": "alias", "in": "path", "required": True, "schema": _TEXT}
    return {
        f"{base}/chat/completions": {
            "post": {
                "operationId": f"chat_completions{suffix}",
                "summary": "Answers messages, as OpenAI does.",
                "requestBody": {"required": True, **_content("application/json", _REQUEST)},
                "responses": {"200": answer, **failure},
            }
        },
        f"{base}/embeddings": {
            "post": {
                "operationId": f"embeddings{suffix}",
                "summary": "Turns texts into vectors, as OpenAI does.",
                "requestBody": {"required": True, **_content("application/json", _EMBED)},
                "responses": {"200": {"description": "The vectors.", **_content("application/json", _VECTORS)}, **failure},
            }
        },
        f"{base}/models": {
            "get": {
                "operationId": f"models{suffix}",
                "summary": "Lists the aliases of models, as OpenAI does.",
                "responses": {"200": {"description": "The aliases.", **_content("application/json", models)}, **failure},
            }
        },
        f"{base}/models/{{alias}}": {
            "get": {
                "operationId": f"model{suffix}",
                "summary": "One alias.",
                "parameters": [alias],
                "responses": {"200": {"description": "The alias.", **_content("application/json", _MODEL)}, **failure},
            }
        },
    }


def _conversations(error: dict[str, Any]) -> dict[str, dict[str, Any]]:
    body = {"required": True, **_content("application/json", _CONTINUE)}
    answered = {
        "200": {"description": "The answer.", **_content("application/json", _ANSWER)},
        "202": {"description": "A job answers; GET .../status tells how it stands.", **_content("application/json", _JOB)},
        "default": error,
    }
    streamed = {"200": {"description": "The answer as it is made.", **_content("text/event-stream", _EVENTS)}, "default": error}
    return {
        f"/api/v1/conversations/{{conversation_id}}/{name}": {
            "post": {
                "operationId": operation,
                "summary": summary,
                "parameters": [_CONVERSATION],
                "requestBody": body,
                "responses": responses,
            }
        }
        for name, operation, summary, responses in (
            ("continue", "continue_conversation", "Answers the next message of a conversation; both are kept.", answered),
            ("continue-stream", "stream_conversation", "The same, as server-sent events.", streamed),
        )
    }


def _content(media_type: str, schema: Schema) -> dict[str, Any]:
    return {"content": {media_type: {"schema": schema}}}
