"""uvicorn's HTTP protocol, with a bound on how long a connection may take to ask for something, the first time and each further one."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
"""From the connection, or the end of an answer, to the end of the next request's headers."""


class HttpProtocol(H11Protocol):
    """One HTTP connection. uvicorn itself would keep one that never asks, or asks byte by byte, for as long as the client likes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()

    def on_response_complete(self) -> None:
        self._await_head()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None and self.cycle.response_started:
            self.transport.close()  # it has its answer; uvicorn would begin another and fail
        else:
            super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._expect_head)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()

    def _expect_head(self) -> None:
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self.transport.get_protocol() is self:  # no request, and no WebSocket either
            self.timeout_keep_alive_handler()
