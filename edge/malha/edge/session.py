"""One WebSocket and its call: audio and controls to Audio, events back.

Two tasks: the listener alone reads the socket and writes the call, the speaker alone reads the call and writes the socket. A call that is
behind is thereby a socket that is not read. Whichever sees the end first says how it ends.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import grpc

from malha.api.audio.v1 import audio_pb2 as api
from malha.edge.calls import audio_call, metadata
from malha.edge.errors import CallBehind, ReaderSlow, UnexpectedBinary
from malha.edge.events import error_json, event_json, go_away_json, resumed_json, warning_json
from malha.edge.framing import Framer
from malha.edge.ids import new_session_id
from malha.edge.messages import Opening, read_message, read_opening
from malha.edge.pace import Pace
from malha.edge.protocol import DUE, Socket
from malha.edge.resuming import ResumableCall
from malha.edge.statuses import row
from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, Internal, MalhaError
from malha.runtime.logs import Event
from malha.runtime.relay_client import RelayChannel

log = logs.get("edge.session")

OPENING_SECONDS = 30.0
FINISH_SECONDS = 30.0
"""How long a call whose client said `stop` and left may still take."""
CLOSED = 1000
LOST = 1006


@dataclass(frozen=True, slots=True)
class End:
    """How a session ends: the close code, and the `error` event that goes before it."""

    code: int
    reason: str = ""
    text: bytes = b""

    @classmethod
    def of(cls, error: MalhaError) -> "End":
        return cls(row(error).close, error.reason, error_json(error))


class Progress:
    """What one direction has carried, and since when it stands still: looked at from outside once in a while, so that a message costs no timer."""

    __slots__ = ("_counted", "_seen", "_since", "busy", "bytes", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0
        self.busy = False
        """Whether a message is being handed on right now."""
        self._seen = 0
        self._since = 0.0
        self._counted = (0, 0)

    def stalled_seconds(self, now: float) -> float:
        """How long, as far as earlier looks can tell, the same message has been in hand."""
        if not self.busy or self.messages != self._seen or not self._since:
            self._seen, self._since = self.messages, now
        return now - self._since

    def uncounted(self) -> tuple[int, int]:
        """Messages and bytes since this was last asked."""
        before, self._counted = self._counted, (self.messages, self.bytes)
        return self.messages - before[0], self.bytes - before[1]


class Session:
    """Serves one accepted WebSocket.

    ``token`` is the one its upgrade came with, or empty; ``pace`` is that of all sockets.
    """

    def __init__(self, socket: Socket, channel: grpc.aio.Channel | RelayChannel, token: str, stall_seconds: float, pace: Pace) -> None:
        self.heard = Progress()
        self.told = Progress()
        self._socket = socket
        self._channel = channel
        self._token = token
        self._stall_seconds = stall_seconds
        self._pace = pace
        self._ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    async def run(self) -> End:
        """Serve until the call or the client is gone; how it ended. 1006 means that the client was lost."""
        try:
            opening = await self._opening()
            end = await self._serve(opening) if opening else End(LOST)
        except MalhaError as error:
            end = End.of(error)
        if end.code != LOST:
            self._socket.end(end.code, end.text)
        return end

    def look(self, now: float) -> None:
        """End the session if one direction stands still for too long."""
        if self.heard.stalled_seconds(now) > self._stall_seconds:
            self.fail(CallBehind("the call's server does not keep up with its audio: call again", retry_seconds=1.0))
        elif self.told.stalled_seconds(now) > self._stall_seconds:
            self.fail(ReaderSlow("events are not read: call again, and read them as they come", retry_seconds=0.1))

    def fail(self, error: MalhaError) -> None:
        """End the session with an error."""
        self._end(End.of(error))

    def go_away(self, seconds: float) -> None:
        """Tell the client that this edge stops."""
        self._socket.tell_now(go_away_json(seconds))

    def _end(self, end: End) -> None:
        if not self._ended.done():
            self._ended.set_result(end)

    async def _opening(self) -> Opening | None:
        """The first message; None if the client left instead."""
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                message = await self._socket.hear()
        except TimeoutError:
            raise DeadlineExceeded(f"no `start` within {OPENING_SECONDS:g} s", reason="OPEN_TIMEOUT") from None
        if message is None:
            return None
        if isinstance(message, bytes):
            raise UnexpectedBinary("audio came before `start`: send the configuration, as text, first")
        return read_opening(message)

    async def _serve(self, opening: Opening) -> End:
        """Open the call and carry it until one side ends. A call that is still open then is cancelled: its client is lost to the server."""
        identity = metadata(opening.token or self._token, opening.session_id or new_session_id())
        for name in opening.unknown:
            self._socket.tell_now(warning_json("UNKNOWN_FIELD", f"{name} is not known and has no effect"))
        call = ResumableCall(lambda: audio_call(self._channel, identity), opening.framer, self._on_resumed)
        sides = [asyncio.create_task(self._side(side), name="edge-session") for side in (self._listen(call, opening), self._speak(call))]
        try:
            return await self._ended
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            await call.close()

    async def _side(self, work: Coroutine[Any, Any, End | None]) -> None:
        """Run one direction; what it returns or raises ends the session, None leaves that to the other."""
        try:
            end = await work
        except MalhaError as error:
            end = End.of(error)
        except Exception as error:
            log.error(Event.RPC_DEFECT, cause=error)
            end = End.of(Internal("a defect of Malha; its log has the place"))
        if end is not None:
            self._end(end)

    async def _listen(self, call: ResumableCall, opening: Opening) -> End | None:
        """Client to server. None: the call is over, and the speaker tells why, after the events before it."""
        self.heard.busy = True
        await call.open(opening.request)
        self.heard.busy = False
        stopped = await self._carry(call, opening.framer)
        if stopped is None:
            return None
        if stopped:
            await self._after_stop()
        return End(LOST)

    async def _carry(self, call: ResumableCall, framer: Framer) -> bool | None:
        """Hand on audio and controls: True after `stop`, False if the client left without, None once the call takes no more.

        The hot path: ten times a second for each call.
        """
        heard, hear, write, pace, joined = self.heard, self._socket.hear, call.write, self._pace, 0.0
        gathered = -1
        while True:
            if pace.piece_seconds != joined:
                joined = pace.piece_seconds
                framer.join_to(joined, pace.stagger())
            if framer.piece_bytes != gathered:
                gathered = framer.piece_bytes
                self._socket.gather(gathered, joined, pace.wake)
            message = await hear(framer.waiting)
            if message is None:
                return False
            heard.bytes += len(message)
            said = read_message(message) if isinstance(message, str) else None
            heard.busy = True
            for piece in framer.add(message) if isinstance(message, bytes) and message is not DUE else framer.flush():
                if not await write(piece):
                    return None
                heard.messages += 1
            if said is not None:
                if not await call.say(said):
                    return None
                heard.messages += 1
            heard.busy = False
            if said is not None and said.HasField("finish"):
                return True

    async def _after_stop(self) -> None:
        """Nothing more is heard; a client that leaves now still has its call finished."""
        message = await self._socket.hear()
        if message is not None:
            self._socket.tell_now(warning_json("AFTER_STOP", "what comes after `stop` is not heard"))
        while message is not None:
            message = await self._socket.hear()
        await asyncio.sleep(FINISH_SECONDS)

    async def _speak(self, call: ResumableCall) -> End:
        """Server to client."""
        while (response := await call.read()) is not None:
            await self._tell(response)
        return End(CLOSED)

    def _on_resumed(self, opened: api.Opened, lost_seconds: float) -> None:
        self._socket.tell_now(resumed_json(opened, lost_seconds))

    async def _tell(self, response: api.StreamResponse) -> None:
        told, text = self.told, event_json(response)
        if text:
            told.busy = True
            await self._socket.tell(text)
            told.busy = False
            told.messages += 1
            told.bytes += len(text)
