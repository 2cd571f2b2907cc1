"""One channel to one server: metadata, unary calls with a deadline and retries, bidirectional calls without either."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import betterproto2
import grpc

from malha.sdk._rpc import Rpc, being_cancelled
from malha.sdk._settings import Settings
from malha.sdk._status import error_from
from malha.sdk._wire import serialised
from malha.sdk.errors import AlreadyClosed

ResponseT = TypeVar("ResponseT", bound=betterproto2.Message)
Metadata = Sequence[tuple[str, str]]

_RETRY_WAITS_SECONDS = (0.05, 0.05, 0.25)
_CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),  # a call on hold may have nothing to send
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 3_000),  # so long may connecting take; at 50, a server that needed 0.3 s was never reached
    ("grpc.max_reconnect_backoff_ms", 250),  # the default goes to minutes
    ("grpc.http2.bdp_probe", 0),
)


class Connection:
    """The channel is made at the first use, in the loop that uses it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def target(self) -> str:
        return self._settings.target

    async def unary(self, method: str, request: betterproto2.Message, response: type[ResponseT], *, idempotent: bool = True) -> ResponseT:
        """One call; ``idempotent``: it may be sent again where the server was away. Raises MalhaError."""
        call = self._open().unary_unary(method, None, None)
        content = serialised(request)
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
        waits = iter(_RETRY_WAITS_SECONDS if idempotent else ())
        while True:
            left = deadline - asyncio.get_running_loop().time()
            try:
                return response.parse(await call(content, timeout=left, metadata=self._metadata()))
            except grpc.aio.AioRpcError as error:
                wait = next(waits, None)
                if error.code() is not grpc.StatusCode.UNAVAILABLE or wait is None or wait > left:
                    raise error_from(error, self.target) from error
            except asyncio.CancelledError:
                if not self._closed or being_cancelled():
                    raise
                raise AlreadyClosed("the client was closed before the answer came") from None
            await asyncio.sleep(wait)

    def stream(self, method: str, metadata: Metadata = ()) -> Rpc:
        """Begin a bidirectional call of serialised messages. Never retried: a retry could replay ``open``."""
        call = self._open().stream_stream(method, None, None)
        return Rpc(call(None, metadata=(*self._metadata(), *metadata)))

    async def close(self) -> None:
        """Close the channel; calls in flight end."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close(None)

    def _open(self) -> grpc.aio.Channel:
        if self._closed:
            raise AlreadyClosed("the client is closed")
        loop = asyncio.get_running_loop()
        if self._channel is None:
            self._channel, self._loop = self._connect(), loop
        if self._loop is not loop:
            raise RuntimeError("the client belongs to another event loop, that of its first call: make one for each loop")
        return self._channel

    def _connect(self) -> grpc.aio.Channel:
        settings = self._settings
        options = [*_CHANNEL_OPTIONS, *([("grpc.enable_http_proxy", 0)] if settings.loopback else [])]
        if settings.tls:
            credentials = grpc.ssl_channel_credentials(settings.root_certificates)
            return grpc.aio.secure_channel(settings.target, credentials, options)
        return grpc.aio.insecure_channel(settings.target, options)

    def _metadata(self) -> Metadata:
        return (("authorization", f"Bearer {self._settings.token}"),)
