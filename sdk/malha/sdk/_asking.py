"""A question, asked again where its stream is lost.

The server keeps nothing for that: the same is asked with what was received of the answer, and any server goes on right after it. So the reader
task, which knows both, asks again (``_read``); what was told stays told, and nothing is told twice.
"""

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import betterproto2
import grpc

from malha.sdk._closing import ClosingStream
from malha.sdk._connection import Connection
from malha.sdk._resumption import Setback, may_resume, was_cut
from malha.sdk._rpc import CallOver, Rpc
from malha.sdk._status import error_from
from malha.sdk._stream import EventStream, EventT
from malha.sdk._wire import serialised
from malha.sdk.errors import MalhaError, ServerError, Unavailable

_ATTEMPT_SECONDS = 20.0
"""For a server to say that it goes on: longer than its database takes to come back."""


class AskingStream(ClosingStream[EventT]):
    """Who translates the server's events sets ``_opened`` with the first, ``_answered`` with the answer's end, and ``_setback`` to None with
    each piece of the answer.
    """

    def __init__(self, connection: Connection, running: set[EventStream[Any]], *, resume: bool) -> None:
        super().__init__(connection, running)
        self._resumes = resume
        self._reached = False
        """Whether there was a server to be asked: one that never was there is not waited for."""
        self._opened = False
        self._answered = False
        self._setback: Setback | None = None

    @abstractmethod
    def _requests(self) -> Sequence[betterproto2.Message]:
        """The question, with what was received of its answer so far. Raises MalhaError where it is too late to ask."""

    @abstractmethod
    def _can_go_on(self) -> bool:
        """Whether an answer can be gone on with from where it is."""

    async def _produce(self) -> None:
        if self._rpc is not None:
            await self._ask(self._rpc, self._requests())

    async def _ask(self, rpc: Rpc, requests: Sequence[betterproto2.Message]) -> None:
        for request in requests:
            await rpc.write(serialised(request))
            self._reached = True
        await rpc.half_close()

    async def _read(self, rpc: Rpc) -> Exception | None:
        while (error := await super()._read(rpc)) is not None:
            if not isinstance(error, MalhaError) or not self._may_ask_again(error):
                return error
            self._setback = self._setback or Setback()
            try:
                rpc = self._rpc = await self._setback.over(self._attempt, error)
            except MalhaError as last:
                return last
        return None

    def _explain(self, error: grpc.aio.AioRpcError | None) -> Exception | None:
        return None if self._answered else super()._explain(error)

    def _may_ask_again(self, error: MalhaError) -> bool:
        lost = may_resume(error) if self._opened else self._reached and was_cut(error)
        return lost and self._resumes and self._can_go_on()

    async def _attempt(self) -> Rpc:
        """Ask on a new connection, and wait until the server has opened the answer. Raises MalhaError."""
        requests = self._requests()
        rpc = self._connect()
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                with contextlib.suppress(CallOver):  # the status tells why
                    await self._ask(rpc, requests)
                response = await anext(rpc.responses(), None)
            if response is None:
                raise ServerError(self._cut_short, reason="ENDED_EARLY")
            await self._take(response)
        except BaseException as failure:
            rpc.cancel()
            if isinstance(failure, grpc.aio.AioRpcError):
                raise error_from(failure, self._connection.target) from failure
            if isinstance(failure, TimeoutError):
                raise Unavailable(f"the server did not answer within {_ATTEMPT_SECONDS:g} s") from failure
            raise
        return rpc
