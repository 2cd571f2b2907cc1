"""A stream over one connection, whose last event is the server's ``closed``: all of Malha's but the live call, which resumes."""

from typing import Any, ClassVar

import grpc

from malha.sdk._connection import Connection
from malha.sdk._rpc import Rpc
from malha.sdk._status import error_from
from malha.sdk._stream import EventStream, EventT
from malha.sdk.errors import ServerError


class ClosingStream(EventStream[EventT]):
    """Who translates the server's events sets ``_closed`` with the last."""

    _method: ClassVar[str]
    """The gRPC method's path."""
    _cut_short: ClassVar[str]
    """What is said where the server ends without ``closed``."""

    def __init__(self, connection: Connection, running: set[EventStream[Any]]) -> None:
        super().__init__(running)
        self._connection = connection
        self._closed = False

    def _connect(self) -> Rpc:
        return self._connection.stream(self._method)

    def _explain(self, error: grpc.aio.AioRpcError | None) -> Exception | None:
        if error is not None:
            return error_from(error, self._connection.target)
        return None if self._closed else ServerError(self._cut_short, reason="ENDED_EARLY")
