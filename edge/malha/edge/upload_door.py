"""The door for uploads: a bounded number at once, and those that are refused are told so while they still send."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from malha.edge.calls import Tokens, bearer
from malha.edge.chat_errors import is_compatible, openai_error
from malha.edge.replies import error_response
from malha.edge.settings import EdgeSettings
from malha.edge.upload_form import FORM_BYTES, UploadForm
from malha.runtime import logs
from malha.runtime.errors import MalhaError, ResourceExhausted
from malha.runtime.logs import Event

log = logs.get("edge.uploads")

LINGER_SECONDS = 2.0
"""How long a refused client may still send, and at most as much as one that is not refused."""


class UploadDoor:
    """Lets files in, whatever they are for."""

    def __init__(self, settings: EdgeSettings, tokens: Tokens) -> None:
        self._settings = settings
        self._tokens = tokens
        self._open = 0

    async def answer(self, request: Request, form: UploadForm, receive: Callable[[str], Awaitable[Response]]) -> Response:
        """What ``receive(token)`` answers, or why the upload is refused: as far as can be said, before its body is read."""
        self._open += 1
        try:
            return await receive(await self._admit(request, form))
        except MalhaError as error:
            log.info(Event.REQUEST_REFUSED, reason=error.reason)
            told = openai_error(error) if is_compatible(request.url.path) else error_response(error)
            return told if form.received else Refusal(told, self._settings.max_upload_bytes + FORM_BYTES)
        finally:
            self._open -= 1

    async def _admit(self, request: Request, form: UploadForm) -> str:
        if self._open > self._settings.max_uploads:
            raise ResourceExhausted(
                f"this edge receives all the {form.noun}s it can", reason="TOO_MANY_UPLOADS", retry_seconds=2.0, quota="uploads"
            )
        if announced_bytes(request) > self._settings.max_upload_bytes + FORM_BYTES:
            raise form.too_large()
        token = bearer(request.headers.get("authorization", ""))
        await self._tokens.check(token)
        return token


def announced_bytes(request: Request) -> int:
    """The body's length as its header says; 0 where it does not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


class Refusal(Response):
    """An error told while the client may still be sending: what comes is read for a moment and thrown away, then the connection is closed.

    Closed at once it would be reset, and the client might never see why.
    """

    def __init__(self, told: Response, most: int) -> None:
        self._most = most
        super().__init__(told.body, told.status_code, {**told.headers, "Connection": "close"})

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._linger(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _linger(self, receive: Receive) -> None:
        left = self._most
        while left > 0 and (message := await receive())["type"] != "http.disconnect" and message.get("more_body", False):
            left -= len(message.get("body", b""))
