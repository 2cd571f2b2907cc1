"""A call over as many connections as it takes.

Audio and controls are kept before they are written. While no connection stands they are only kept; after a resume they are written again from
where the server asks, so a write that fails loses nothing. The reader task takes up a lost call (``_read``); when the server says that it is
about to stop, a task beside it does so while the old connection still works. Whatever connection an event comes by, its number tells whether it
was told before.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import grpc

from malha.sdk import events
from malha.sdk._call_settings import CallSettings
from malha.sdk._connection import Connection
from malha.sdk._convert import event_from
from malha.sdk._gen.malha.api.audio import v1 as audio
from malha.sdk._kept import Kept
from malha.sdk._resumption import ResumePoint, Setback, may_resume
from malha.sdk._rpc import CallOver, Rpc, being_cancelled
from malha.sdk._status import error_from
from malha.sdk._stream import EventStream
from malha.sdk._uuid7 import uuid7
from malha.sdk.errors import Aborted, MalhaError, ServerError, SessionLost, Unavailable

_METHOD = "/malha.api.audio.v1.AudioStreamService/Stream"
_ATTEMPT_SECONDS = 20.0
"""For a server to answer `resume`: longer than its database takes to come back, shorter than the call is kept."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A connection on which the server took the call up."""

    rpc: Rpc
    opened: events.Opened


class ResumingStream(EventStream[events.Event]):
    """The connections of a call, what is sent over them, and how far the server is."""

    def __init__(
        self, connection: Connection, settings: CallSettings, running: set[EventStream[Any]], *, resume: bool, point: ResumePoint | None
    ) -> None:
        """``point`` is where the application goes on with a call it had; None: a new call. ``resume``: whether to survive losses."""
        super().__init__(running)
        call_format = settings.format
        self._connection = connection
        self._settings = settings
        self._point = point
        self._resumes = resume and call_format.encoding != "file"
        self._session_id = str(uuid7()) if point is None else point.session_id
        self._last_seq = 0 if point is None else point.after_seq
        self._received_through = 0
        self._kept = Kept(call_format, fresh=point is None)
        self._opened: events.Opened | None = None
        self._token = ""
        """Empty where the call cannot be resumed."""
        self._answered = asyncio.Event()
        self._closed = False
        self._writing = asyncio.Lock()
        self._current: Rpc | None = None
        """Where what was kept is written already, and what comes next goes. None while there is no connection."""
        self._connected = asyncio.Event()
        self._setback: Setback | None = None
        self._attempting = asyncio.Lock()
        self._unanswered_at: float | None = None
        """When it was given up to wait for the answer to a `resume`."""
        self._moving: asyncio.Task[None] | None = None
        self._moved: _Taken | None = None

    def _connect(self) -> Rpc:
        return self._connection.stream(_METHOD, (("malha-session", self._session_id),))

    def _begins(self, opened: events.Opened) -> None:
        """Take what a connection begins with. Of a call that had ended there is no new token: the one that was shown is good for its events."""
        self._opened = opened
        self._token = opened.resume_token or self._token or ("" if self._point is None else self._point.token)

    # What is sent, with `_writing` held.

    async def _begin(self) -> None:
        """Open the call, or take it up where the application asked, and wait until the server has answered."""
        if self._point is None:
            await self._write(self._settings.to_message())
        else:
            if self._point.unsaved is not None:
                self._kept.restore(self._point.unsaved)
            await self._write(self._kept.resume_request(self._point.token, self._last_seq))
        await self._answered.wait()
        if self._rpc is not None and self._opened is not None:
            await self._write_kept(self._rpc, self._opened.resume_from)

    async def _send_finish(self) -> None:
        await self._send_kept(self._kept.finish())
        if self._current is not None:
            await self._current.half_close()

    async def _send_kept(self, request: bytes) -> None:
        """Send what is kept already: if it is lost it is sent again. Raises CallOver where that will not be."""
        if self._left or self._over:
            raise CallOver
        try:
            if self._current is not None:
                await self._current.write(request)
            elif not self._may_resume():
                raise CallOver
        except CallOver:
            self._disconnect()
            if self._left or not self._may_resume():
                raise

    async def _write_kept(self, rpc: Rpc, position: int) -> None:
        """Write all that was kept from ``position`` on; what comes next goes by ``rpc`` too."""
        with contextlib.suppress(CallOver):  # lost again: the reader takes the call up again, or knows why not
            for request in self._kept.since(position):
                await rpc.write(request)
            if self._kept.finished:
                await rpc.half_close()
            if rpc is self._rpc:
                self._current = rpc
                self._connected.set()

    def _disconnect(self) -> None:
        self._current = None
        self._connected.clear()

    # What is received, in the reader task.

    async def _read(self, rpc: Rpc) -> Exception | None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                error = await self._read_connection(rpc)
                lost_at = loop.time()
                self._disconnect()
                if error is None:
                    return None
                taken = await self._take_up(error)
                if isinstance(taken, MalhaError):
                    return taken
                rpc = self._go_on(taken, loop.time() - lost_at)
        finally:
            await self._stop_moving()

    async def _read_connection(self, rpc: Rpc) -> MalhaError | None:
        """How a connection ended; None: with all told."""
        try:
            await self._read_all(rpc)
        except grpc.aio.AioRpcError as status:
            return self._explain(status)
        except asyncio.CancelledError:
            if self._moved is None or being_cancelled():
                raise
            return Unavailable("the call moved to another connection")
        return self._explain(None)

    def _explain(self, error: grpc.aio.AioRpcError | None) -> MalhaError | None:
        if self._closed:
            return None
        if error is None:
            if self._point is not None and self._opened is not None and not self._opened.resume_token:
                return None  # the application went on with a call that had ended, and had all of it
            return ServerError("the server ended the call before it was closed", reason="ENDED_EARLY")
        return error_from(error, self._connection.target)

    def _translate(self, response: bytes) -> events.Event | None:
        message = audio.StreamResponse.parse(response)
        if message.seq:
            if message.seq <= self._last_seq:
                return None
            self._last_seq = message.seq
            self._setback = None
        event = event_from(message)
        match event:
            case events.Opened():
                self._kept.begin_at(event.resume_from)
                self._begins(event)
                self._session_id = event.session_id or self._session_id
                self._answered.set()
            case events.Ack():
                self._kept.forget(event)
                if event.received_through > self._received_through:
                    self._received_through = event.received_through
                    self._setback = None
            case events.GoAway() if self._may_resume() and (self._moving is None or self._moving.done()):
                self._moving = self._spawn(self._move())
            case events.Closed():
                self._closed = True
            case _:
                pass
        return event

    # How a call that was lost is taken up.

    def _may_resume(self) -> bool:
        """Audio that was dropped makes a gap in a live call; a recording is rather sent again whole."""
        return self._token != "" and self._resumes and (self._settings.pace == "live" or self._kept.audio.complete)

    async def _take_up(self, error: MalhaError) -> _Taken | MalhaError:
        """The next connection after one that ended with ``error``; where there is none, the error to raise."""
        if not self._may_resume():
            return self._ended(error)
        if self._moving is not None:
            async with self._attempting:  # one that is under way is waited for: it may have taken the call up already
                self._moving.cancel()
            await asyncio.wait((self._moving,))
            self._moving = None
        if self._moved is not None:
            taken, self._moved = self._moved, None
            return taken
        if not may_resume(error) and not (error.reason == "SESSION_MOVED" and self._moved_by_us()):
            return self._ended(error)
        self._setback = self._setback or Setback()
        try:
            return await self._setback.over(self._attempt, error)
        except MalhaError as last:
            return self._lost(last, resumable=False)

    def _moved_by_us(self) -> bool:
        """Whether the call was probably taken from its connection by a `resume` of ours whose answer was lost. True once for each."""
        unanswered_at, self._unanswered_at = self._unanswered_at, None
        return unanswered_at is not None and asyncio.get_running_loop().time() - unanswered_at < _ATTEMPT_SECONDS

    async def _move(self) -> None:
        """Take the call up elsewhere while its connection still works. Where that fails, the end of the connection is a loss like any other."""
        leaving = self._rpc
        with contextlib.suppress(MalhaError):
            self._moved = await Setback().over(self._attempt, Unavailable("the server is about to stop"))
            if leaving is not None:
                leaving.cancel()

    async def _stop_moving(self) -> None:
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.wait((self._moving,))
        if self._moved is not None:
            self._moved.rpc.cancel()

    async def _attempt(self) -> _Taken:
        """Resume on a new connection. Raises MalhaError."""
        async with self._attempting:
            return await self._resume_by(self._connect())

    async def _resume_by(self, rpc: Rpc) -> _Taken:
        asked = False
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                with contextlib.suppress(CallOver):  # the status tells why
                    await rpc.write(self._kept.resume_request(self._token, self._last_seq))
                    asked = True
                response = await anext(rpc.responses(), None)
            return _Taken(rpc, _opened_in(response))
        except (grpc.aio.AioRpcError, TimeoutError) as failure:
            rpc.cancel()
            if isinstance(failure, grpc.aio.AioRpcError):
                error = error_from(failure, self._connection.target)
            else:
                error = Unavailable(f"the server did not answer within {_ATTEMPT_SECONDS:g} s")
            if asked and not error.reason:
                self._unanswered_at = asyncio.get_running_loop().time()
            raise error from failure
        except BaseException:
            rpc.cancel()
            raise

    def _go_on(self, taken: _Taken, lost_seconds: float) -> Rpc:
        opened = taken.opened
        self._rpc = taken.rpc
        self._begins(opened)
        sent_from = max(opened.resume_from, self._kept.audio.held_from)
        self._events.put_nowait(events.Resumed(self._session_id, lost_seconds, opened.resume_from, sent_from))
        self._spawn(self._catch_up(taken.rpc, opened.resume_from))
        return taken.rpc

    async def _catch_up(self, rpc: Rpc, position: int) -> None:
        async with self._writing:
            await self._write_kept(rpc, position)

    # How it ends.

    def _ended(self, error: MalhaError) -> MalhaError:
        """The error to raise for the end of a call that is not taken up."""
        if self._opened is None or not (may_resume(error) or isinstance(error, Aborted)):
            return error
        return self._lost(error, resumable=may_resume(error))

    def _lost(self, error: MalhaError, *, resumable: bool) -> SessionLost:
        lost = SessionLost(
            f"the connection of the call was lost: {error.message}",
            session_id=self._session_id,
            last_seq=self._last_seq,
            unsaved=self._kept.audio.snapshot(),
            resumable=resumable,
            resume_token=self._token,
            reason=error.reason,
            retry_after_seconds=error.retry_after_seconds,
        )
        lost.__cause__ = error
        return lost


def _opened_in(response: bytes | None) -> events.Opened:
    """What must be the first response. Raises ServerError."""
    try:
        event = None if response is None else event_from(audio.StreamResponse.parse(response))
    except Exception as defect:
        raise ServerError("the server sent what is not a message of its contract", reason="MALFORMED_RESPONSE") from defect
    if not isinstance(event, events.Opened):
        raise ServerError("the server ended the call before it was taken up", reason="ENDED_EARLY")
    return event
