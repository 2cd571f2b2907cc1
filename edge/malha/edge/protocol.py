"""uvicorn's WebSocket protocol with what a live call needs beyond it.

- Binary messages that a read holds as a whole, which is what audio is, skip the general parser and ASGI's dictionaries: from the bytes
  read to the request handed on, a message takes 8 us of Python where it took 19.
- The session is woken once enough audio for the mesh is there, not for each message.
- Reading pauses when a message waits for a session that is not listening, not at each message: a pause and its end are two system calls.
- The last words of a call (an error, the close) are written even to a client that does not read, and the connection is cut if it still
  does not; uvicorn waits for such a client without end.
- A message over the limit is answered by an `error` event before the close.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from malha.edge.errors import FrameTooLarge, NotJson
from malha.edge.events import error_json
from malha.edge.pace import wake
from malha.runtime.errors import MalhaError

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

EXTENSION = "malha.socket"
LINGER_SECONDS = 0.5
"""How long what a refused client still sends is read: closing at once would reset the connection, and the refusal could be lost."""

DUE = b""
"""Stands for the end of the time that audio may be gathered. (An empty message says as little.)"""

Wake = Callable[[asyncio.Future[None]], None]
"""Completes a future, now or soon."""

_WHOLE_BINARY = 0x80 | Opcode.BINARY
_MASKED = 0x80
_LENGTH_16_BIT = 126
_LENGTH_64_BIT = _MASKED + 127
_SHORTEST = 6
"""Bytes of an empty masked message."""


class Socket(Protocol):
    """What a session does with its connection."""

    async def hear(self, held: int = 0) -> bytes | str | None:
        """The next message, binary or text; None once the client is gone; DUE when gathering has taken long enough.

        ``held`` tells how many bytes the caller has gathered itself. One task at a time. Cancelling it loses no message.
        """

    def gather(self, size: int, seconds: float, wake: Wake) -> None:
        """From now on, let `hear` wait until ``size`` bytes of audio are there, or for so many seconds after the first."""

    async def tell(self, text: bytes) -> None:
        """Send a text message, once the client has read enough of those before."""

    def tell_now(self, text: bytes) -> None:
        """Send a text message without waiting."""

    def end(self, code: int, text: bytes = b"") -> None:
        """Send a last text message and close."""


class _Inbox:
    """Messages for the one task that hears them: what uvicorn uses of `asyncio.Queue`, and audio is gathered before that task is woken."""

    __slots__ = ("_due", "_enough", "_held", "_loop", "_messages", "_seconds", "_timer", "_waiter", "_wake")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = False
        self._held = 0
        self.gather(0, 0.0, wake)

    def gather(self, size: int, seconds: float, wake: Wake) -> None:
        self._enough, self._seconds, self._wake = size, seconds, wake

    def empty(self) -> bool:
        return not self._messages

    @property
    def waits(self) -> bool:
        """Whether messages are there and nobody has asked for more."""
        return self._waiter is None and bool(self._messages)

    def put_nowait(self, message: Any) -> None:
        self._messages.append(message)
        if self._waiter is None:
            return
        if type(message) is bytes:
            self._held += len(message)
            if self._held < self._enough:
                self._limit()
                return
        self._tell()

    async def get(self, held: int = 0) -> Any:
        """The next message; DUE where gathering has taken long enough and there is no more."""
        if not held:
            self._due = False  # nothing is gathered: a stop, say, has sent it on
        if not self._messages and not self._due:
            self._held = held
            waiter = self._waiter = self._loop.create_future()
            if held:
                self._limit()
            try:
                await waiter
            finally:
                self._waiter = None
        if self._messages:
            return self._messages.popleft()
        self._due = False
        return DUE

    def _limit(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._is_due)

    def _is_due(self) -> None:
        self._timer = None
        if self._waiter is not None:
            self._due = True
            self._tell()

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._wake(waiter)


class SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection. The application finds it as a `Socket` in ``scope["extensions"]["malha.socket"]``.

    uvicorn puts ASGI messages into the inbox, this class the bare payload of binary messages.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._inbox = _Inbox(self.loop)
        self._heard_at = 0.0
        self.queue = self._inbox  # type: ignore[assignment]  # it has the three methods that are used

    async def run_asgi(self) -> None:
        cast("dict[str, Any]", self.scope["extensions"])[EXTENSION] = self
        await super().run_asgi()

    def data_received(self, data: bytes) -> None:
        conn, self._heard_at = self.conn, self.loop.time()
        if conn.parser_exc is not None:
            return  # refused; only read so that the refusal arrives
        if conn.state is State.OPEN and not conn.reader.buffer and conn.current_size is None and not self.close_sent:
            data = self._take_whole_messages(data)
        if data:
            super().data_received(data)

    def _take_whole_messages(self, data: bytes) -> bytes:
        """Queue the whole unfragmented binary messages at the front of ``data`` (RFC 6455 section 5.2); what is left for the parser."""
        at, size, inbox = 0, len(data), self._inbox
        while size - at >= _SHORTEST and data[at] == _WHOLE_BINARY:
            length, mask = data[at + 1] - _MASKED, at + 2
            if length == _LENGTH_16_BIT:
                length, mask = data[at + 2] << 8 | data[at + 3], at + 4
            end = mask + 4 + length
            if end > size or not 0 <= length <= self.config.ws_max_size or data[at + 1] == _LENGTH_64_BIT:
                break
            if not self.read_paused and inbox.waits:
                self.read_paused = True
                self.transport.pause_reading()
            inbox.put_nowait(apply_mask(data[mask + 4 : end], data[mask : mask + 4]))
            at = end
        return data[at:] if at else data

    def gather(self, size: int, seconds: float, wake: Wake) -> None:
        self._inbox.gather(size, seconds, wake)

    async def hear(self, held: int = 0) -> bytes | str | None:
        message = await self._inbox.get(held)
        if self.read_paused and self._inbox.empty():
            self.read_paused = False
            self.transport.resume_reading()
        if type(message) is bytes:
            return message
        text: str | None = message.get("text")
        return message.get("bytes") if text is None else text

    async def tell(self, text: bytes) -> None:
        if not self.writable.is_set():
            await self.writable.wait()
        self.tell_now(text)

    def tell_now(self, text: bytes) -> None:
        if self._may_write():
            self.conn.send_text(text)
            self.transport.write(b"".join(self.conn.data_to_send()))

    def end(self, code: int, text: bytes = b"") -> None:
        if not self._may_write():
            return
        if text:
            self.conn.send_text(text)
        self.conn.send_close(code)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def _may_write(self) -> bool:
        return self.conn.state is State.OPEN and not (self.close_sent or self.disconnected or self.transport.is_closing())

    def handle_parser_exception(self) -> None:
        """The parser or uvicorn has refused a message; its close frame waits to be written."""
        refused = self.conn.close_sent
        code = int(CloseCode.PROTOCOL_ERROR) if refused is None else refused.code
        error = self._refusal(code)
        if error is not None:
            self.transport.write(Frame(Opcode.TEXT, error_json(error)).serialize(mask=False))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _refusal(self, code: int) -> MalhaError | None:
        if code == CloseCode.MESSAGE_TOO_BIG:
            return FrameTooLarge(f"a message is over {self.config.ws_max_size} bytes: send audio in pieces, best of 100 ms")
        if code == CloseCode.INVALID_DATA:
            return NotJson("a text message is not UTF-8; audio goes in binary messages")
        return None

    def shutdown(self) -> None:
        """The server stops: as uvicorn does it, but not waiting for a client that does not read."""
        super().shutdown()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """No pong came. A client that sends, or whose pong waits behind audio that is not read yet, is there; another one is gone,
        and what is still to be written to it would keep the connection open for minutes.
        """
        if self.read_paused or self._heard_at > self.ping_sent_at:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self.transport.abort()
