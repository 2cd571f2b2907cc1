"""Many bidirectional calls in one gRPC stream: the client's side of runtime/relay.py."""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
import contextlib
from collections.abc import Callable
from itertools import count
from typing import Any

import grpc

from malha.api.relay.v1 import relay_pb2 as api
from malha.runtime import tracing
from malha.runtime.carried import Status
from malha.runtime.relay import METHOD, Carrier, End

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_WRITE_ERRORS = (grpc.aio.InternalError, grpc.aio.AioRpcError, asyncio.InvalidStateError)


class RelayCall:
    """A call in a relay: what `malha.edge` uses of ``grpc.aio.StreamStreamCall``, with messages as bytes."""

    def __init__(self, link: _Link, number: int, end: End) -> None:
        self._link = link
        self._number = number
        self._status: Status | None = None
        self.end = end

    async def wait_for_connection(self) -> None:
        """Wait until the relay is connected. Raises grpc.aio.AioRpcError if it cannot be."""
        await self._link.connected()

    async def write(self, message: bytes) -> None:
        """Send a message once there is room for it. Raises asyncio.InvalidStateError once the call is over."""
        if not await self.end.send(message):
            raise asyncio.InvalidStateError("the call is over")

    async def read(self) -> Any:
        """The next message, EOF after the last. Raises grpc.aio.AioRpcError if the call failed."""
        message = await self.end.receive()
        if message is not None:
            return message
        if self._status is not None and self._status.code is not grpc.StatusCode.OK:
            raise self._status.error()
        return grpc.aio.EOF

    def cancel(self) -> None:
        """Give the call up, unless it is over."""
        if self._status is None:
            self._link.cancel(self._number)
            self.over(Status(grpc.StatusCode.CANCELLED, "the call was given up"))

    def over(self, status: Status) -> None:
        """The call has ended."""
        self._status = status
        self.end.end()


class _Link:
    """One relay's stream and its calls, until it breaks."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.broken = False
        self._stream: Any = channel.stream_stream(METHOD, response_deserializer=api.RelayResponse.FromString)()
        self._carrier = Carrier(api.RelayRequest, self._send)
        self._calls: dict[int, RelayCall] = {}
        self._numbers = count(1)
        self._sending = asyncio.create_task(self._carrier.run(), name="relay-send")
        self._receiving = asyncio.create_task(self._receive(), name="relay-receive")

    def begin(self, method: str, metadata: tuple[tuple[str, str], ...]) -> RelayCall:
        """Begin a call."""
        number = next(self._numbers)
        frame = self._carrier.frame(number)
        frame.begin.method = method
        frame.begin.metadata.update(metadata)
        call = self._calls[number] = RelayCall(self, number, End(self._carrier, number))
        return call

    def cancel(self, number: int) -> None:
        """Tell the server that a call was given up."""
        del self._calls[number]
        self._carrier.frame(number).cancel.SetInParent()

    async def connected(self) -> None:
        """Wait for the stream. Raises grpc.aio.AioRpcError."""
        await self._stream.wait_for_connection()

    async def close(self) -> None:
        """End the stream and every call in it."""
        self._receiving.cancel()
        await asyncio.gather(self._sending, self._receiving, return_exceptions=True)

    async def _send(self, batch: bytes) -> None:
        with contextlib.suppress(*_WRITE_ERRORS):  # the receiver sees the end too, and tells the calls
            await self._stream.write(batch)

    async def _receive(self) -> None:
        status = Status(grpc.StatusCode.UNAVAILABLE, "the relay to the server broke")
        try:
            while (response := await self._stream.read()) is not grpc.aio.EOF:
                for frame in response.frames:
                    self._take(frame)
        except grpc.aio.AioRpcError as error:
            status = Status(error.code(), error.details() or "")
        finally:
            self.broken = True
            self._sending.cancel()
            self._stream.cancel()
            for call in self._calls.values():
                call.over(status)
            self._calls.clear()

    def _take(self, frame: api.Frame) -> None:
        call, kind = self._calls.get(frame.call), frame.WhichOneof("frame")
        if call is None:
            return
        if kind == "message":
            call.end.on_message(frame.message)
        elif kind == "credit":
            call.end.on_credit(frame.credit)
        elif kind == "status":
            del self._calls[frame.call]
            told = frame.status
            call.over(Status(_CODES.get(told.code, grpc.StatusCode.UNKNOWN), told.message, told.details))


class RelayChannel:
    """Bidirectional calls to one server, all in one stream. It is made when first used, and again after it broke."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._link: _Link | None = None

    def stream_stream(self, method: str) -> Callable[..., RelayCall]:
        """What makes calls of a bidirectional method."""

        def start(*, metadata: tuple[tuple[str, str], ...] = ()) -> RelayCall:
            return self._current().begin(method, (*metadata, *tracing.propagated()))

        return start

    async def close(self) -> None:
        """End every call."""
        if self._link is not None:
            await self._link.close()

    def _current(self) -> _Link:
        if self._link is None or self._link.broken:
            self._link = _Link(self._channel)
        return self._link
