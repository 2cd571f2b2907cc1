"""uvicorn's HTTP protocol, with a bound on how long a connection may take to ask for something."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
"""From the connection to the end of its first request's headers."""


class HttpProtocol(H11Protocol):
    """One HTTP connection. uvicorn itself would keep one that never asks for as long as the client likes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._expect_head)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self.cycle is None and self.transport.get_protocol() is self:  # no request, and no WebSocket either
            self.timeout_keep_alive_handler()
