"""What went wrong, in OpenAI's form (https://platform.openai.com/docs/guides/error-codes): its type by our status, our reason as its code."""

import math
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from malha.api.chat.v1 import chat_pb2 as api
from malha.edge.replies import json_response
from malha.edge.statuses import row
from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, MalhaError, ResourceExhausted, Unauthenticated, Unavailable

COMPATIBLE: Final = ("/v1/", "/api/v1/audio/transcriptions", "/api/v1/chat/completions", "/api/v1/embeddings", "/api/v1/models")
"""Where addresses begin that speak as OpenAI does."""
_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_KINDS: Final[dict[str, type[MalhaError]]] = {
    "MODEL_TIMEOUT": DeadlineExceeded,
    "MODEL_RATE_LIMITED": ResourceExhausted,
    "MODEL_BUSY": ResourceExhausted,
    "BUDGET_EXHAUSTED": ResourceExhausted,
    "MODEL_REFUSED": FailedPrecondition,
    "SCHEMA_UNSUPPORTED": FailedPrecondition,
}
"""By the reason of an answer that failed; all others mean that the model is away."""
_MESSAGES: Final = {
    "BUDGET_EXHAUSTED": "the budget for models is used up",
    "MODEL_BUSY": "too many wait for this model: try again",
    "MODEL_RATE_LIMITED": "the model's server has had enough for now: try again later",
    "MODEL_REFUSED": "the model's server refuses the request",
    "MODEL_TIMEOUT": "the model did not answer in time",
    "SCHEMA_UNSUPPORTED": "answers without a model are free text alone: set MALHA_CHAT_BASE_URL or a models.toml, or leave response_format out",
    "STREAM_BROKEN": "the model was lost in the midst of its answer, and no other could go on with it",
}
_LASTING: Final = frozenset({"BUDGET_EXHAUSTED", "MODEL_REFUSED", "SCHEMA_UNSUPPORTED"})
"""What is the same a second later."""
_AGAIN_SECONDS: Final = 1.0
"""Where nobody said when."""

Door = TypeVar("Door")


def is_compatible(path: str) -> bool:
    """Whether errors of this address are told in OpenAI's form."""
    return path.startswith(COMPATIBLE)


def compatible(endpoint: Callable[[Door, Request], Awaitable[Response]]) -> Callable[[Door, Request], Awaitable[Response]]:
    """Tells what an endpoint raises in OpenAI's form."""

    @wraps(endpoint)
    async def answer(door: Door, request: Request) -> Response:
        try:
            return await endpoint(door, request)
        except MalhaError as error:
            return openai_error(error)

    return answer


def openai_fields(error: MalhaError) -> dict[str, Any]:
    """The body of an error, and the event of one in a stream. ``retry_after_ms`` is Malha's own: a stream's headers are gone by then."""
    status = row(error).http
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    fields: dict[str, Any] = {"message": error.message, "type": kind, "param": next(iter(error.violations), None), "code": error.reason}
    if error.retry_seconds is not None:
        fields["retry_after_ms"] = round(error.retry_seconds * 1000)
    return {"error": fields}


def openai_error(error: MalhaError) -> Response:
    """An answer that tells an error."""
    headers = {}
    if error.retry_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_seconds)))  # whole seconds (RFC 9110 section 10.2.3)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return json_response(openai_fields(error), row(error).http, headers)


def failed(end: api.MessageEnd) -> MalhaError | None:
    """The error of an answer that is none, or not whole; None for one that is as it should be."""
    if end.finish_reason not in {"error", "cancelled"} or end.reason == "CONTENT_FILTERED":
        return None
    kind = _KINDS.get(end.reason, Unavailable)
    again = None if end.reason in _LASTING else _AGAIN_SECONDS
    if end.HasField("retry_after"):
        again = end.retry_after.ToNanoseconds() / 1e9
    message = _MESSAGES.get(end.reason, "no model could answer")
    return kind(message, reason=end.reason or "MODEL_UNAVAILABLE", retry_seconds=again)
