"""A bidirectional grpc.aio call of serialised messages whose end is told as the server told it.

Where a write meets the end of the call, grpc.aio (https://github.com/grpc/grpc/issues/36066) replaces the server's status by INTERNAL "Internal
error from Core", and its ``read()`` then gives up the responses not yet read. Here responses are read to the last through the iterator,
which does not look at the status first, and the status is noted the moment it is set.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import grpc

T = TypeVar("T")

_REPLACED = "Internal error from Core"
_STATUS_WAITS_SECONDS = (0.0, 0.0, 0.01, 0.05, 0.2, 0.5)
"""The server's own status comes at most a few turns of the loop after the failed write; only a defect of gRPC itself comes without."""


class CallOver(Exception):
    """The call ended before this write; the reader knows why."""


def being_cancelled() -> bool:
    """Whether somebody cancelled this task. A read or write of a call that was cancelled raises CancelledError too, in a task that was not."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Rpc:
    """One call. ``write`` is for one task at a time, as is ``responses``."""

    def __init__(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        self._call = call
        self._noted: grpc.aio.AioRpcError | None = None
        self._given_up = False
        self._responses = self._read()
        call.add_done_callback(self._note)

    async def write(self, message: bytes) -> None:
        """Send one message. Cancelling it cancels the call. Raises CallOver."""
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise CallOver from error
        except asyncio.CancelledError:
            if not self._given_up or being_cancelled():
                raise
            raise CallOver from None

    async def half_close(self) -> None:
        """Tell the server that nothing follows. Does nothing where the call is over."""
        try:
            await self._call.done_writing()
        except grpc.aio.InternalError:
            pass  # the operation met the end of the call: the reader knows of it
        except asyncio.CancelledError:
            if not self._given_up or being_cancelled():
                raise

    def cancel(self) -> None:
        """End the call now."""
        self._given_up = True
        self._call.cancel()

    def responses(self) -> AsyncIterator[bytes]:
        """All responses not yet taken. Raises AioRpcError where the status is not OK, and CancelledError after ``cancel``."""
        return self._responses

    async def _read(self) -> AsyncIterator[bytes]:
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as error:
            true = await self._status(error)
            if true.code() is not grpc.StatusCode.OK:
                raise true from error

    async def _status(self, told: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        for wait in _STATUS_WAITS_SECONDS:
            if not _replaced(told):
                return told
            if self._noted is not None and not _replaced(self._noted):
                return self._noted
            await asyncio.sleep(wait)
            told = _status_of(self._call)
        return told

    def _note(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        self._noted = _status_of(call)


def _replaced(error: grpc.aio.AioRpcError) -> bool:
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == _REPLACED


def _status_of(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> grpc.aio.AioRpcError:
    """The status of a call that is done, as it is at this moment."""
    return grpc.aio.AioRpcError(
        _settled(call.code()), grpc.aio.Metadata(), _settled(call.trailing_metadata()), _settled(call.details()), ""
    )


def _settled(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for: a status must be read before the loop goes on."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("the call is not done")
