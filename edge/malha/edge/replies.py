"""Answers over HTTP: JSON, and errors in one form."""

import math
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from malha.edge.events import error_fields
from malha.edge.statuses import row
from malha.runtime.errors import Internal, InvalidArgument, MalhaError, Unauthenticated

GONE = 499
"""The status of an answer nobody waits for."""


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def error_response(error: MalhaError, headers: Mapping[str, str] | None = None) -> Response:
    """``{"error": {code, reason, message, retryable, retry_after_ms?, violations?}}`` with the status of the table."""
    told = dict(headers or {})
    if error.retry_seconds is not None:
        told["Retry-After"] = str(max(1, math.ceil(error.retry_seconds)))  # whole seconds (RFC 9110 section 10.2.3)
    if isinstance(error, Unauthenticated):
        told["WWW-Authenticate"] = "Bearer"
    return json_response({"error": error_fields(error)}, row(error).http, told)


async def on_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for everything an endpoint raises."""
    if isinstance(error, MalhaError):
        return error_response(error)
    if isinstance(error, HTTPException):
        headers = {"Allow": _methods_at(request)} if error.status_code == 405 else error.headers
        return error_response(_http_error(error), headers)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=GONE)
    return error_response(Internal("a defect of Malha; its log has the place"))


def _methods_at(request: Request) -> str:
    """All that an address takes: it has a route for each, and Starlette names the first one's alone."""
    routes = (route for route in request.app.routes if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


def _http_error(error: HTTPException) -> MalhaError:
    if error.status_code == 405:
        return InvalidArgument("this address does not take this method", reason="METHOD_NOT_ALLOWED")
    return InvalidArgument(error.detail)
