"""Calls without an HTTP/2 stream of their own: what `inprocess` and `relay` have in common.

The handlers are those a socket is served with. They see a `Context`, which has what runtime/rpc.py and runtime/stream.py use of
``grpc.aio.ServicerContext``; messages come from and go to whatever carries the call.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from malha.runtime.status import DETAILS_KEY

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ended. ``details`` is a serialized google.rpc.Status, if there is one."""

    code: grpc.StatusCode
    message: str = ""
    details: bytes = b""

    @property
    def trailing(self) -> grpc.aio.Metadata:
        """The metadata that comes with the status."""
        return grpc.aio.Metadata((DETAILS_KEY, self.details)) if self.details else grpc.aio.Metadata()

    def error(self) -> grpc.aio.AioRpcError:
        """What a client is told of a call that failed."""
        return grpc.aio.AioRpcError(self.code, grpc.aio.Metadata(), self.trailing, self.message)


class Source(Protocol):
    """Where messages come from."""

    async def get(self) -> Any | None:
        """The next message; None after the last."""


class Sink(Protocol):
    """Where messages go."""

    async def put(self, message: Any) -> bool:
        """Hand a message over, once there is room; False if nobody takes it any more."""

    def put_now(self, message: Any) -> bool:
        """Hand a message over, or drop it if nobody takes it any more; False if one must wait for room."""


class Context:
    """What a handler sees of a call. ``peer`` is that of the connection which carries it; none within a process."""

    def __init__(self, metadata: Metadata, requests: Source, responses: Sink, peer: str = "") -> None:
        self.status = Status(grpc.StatusCode.OK)
        self._metadata = metadata
        self._peer = peer
        self._requests = requests
        self._responses = responses

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def peer(self) -> str:
        return self._peer

    async def read(self) -> Any:
        message = await self._requests.get()
        return grpc.aio.EOF if message is None else message

    async def write(self, message: Message) -> None:
        await self._responses.put(message)

    def write_now(self, message: Message) -> bool:
        """Write without waiting; False if there is no room."""
        return self._responses.put_now(message)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        status = next((value for key, value in trailing_metadata if key == DETAILS_KEY and isinstance(value, bytes)), b"")
        self.status = Status(code, details, status)
        raise grpc.aio.AbortError

    def ended(self, task: asyncio.Task[Any]) -> Status:
        """The status of a call whose handler ran in ``task`` and is done."""
        if task.cancelled():
            self.status = Status(grpc.StatusCode.CANCELLED, "the call was given up")
        elif task.exception() is not None and not isinstance(task.exception(), grpc.aio.AbortError):
            self.status = Status(grpc.StatusCode.UNKNOWN, "the handler failed")
        return self.status


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a generic handler is asked for a method with."""

    method: str
    invocation_metadata: Metadata


def find(handlers: Sequence[grpc.GenericRpcHandler[Any, Any]], method: str, metadata: Metadata) -> Any | None:
    """The handler of a method; None if there is none."""
    asked: Any = _Asked(method, metadata)
    return next((found for each in handlers if (found := each.service(asked)) is not None), None)


def wake(waiter: asyncio.Future[None] | None) -> None:
    """Let go whoever waits, if anybody does."""
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
