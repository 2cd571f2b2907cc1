"""JSON bodies of bounded size."""

import asyncio
from typing import Any

from starlette.requests import Request

from malha.edge.errors import BodyTooLarge
from malha.edge.fields import json_object
from malha.runtime.errors import DeadlineExceeded

BODY_SECONDS = 30.0


async def json_body(request: Request, limit: int) -> dict[str, Any]:
    """The body as a JSON object; an empty one is an empty object. Raises BodyTooLarge as soon as that is known, and NotJson."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for data in request.stream():
                body += data
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise DeadlineExceeded(f"the body took longer than {BODY_SECONDS:g} s", reason="UPLOAD_STALLED") from None
    return json_object(bytes(body)) if body else {}


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is over {limit} bytes", quota="max_body_bytes")
