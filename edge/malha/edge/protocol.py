"""uvicorn's WebSocket protocol with what a live call needs beyond it.

- Binary messages that a read holds as a whole, which is what audio is, skip the general parser and ASGI's dictionaries: from the bytes
  read to the request handed on, a message takes 8 us of Python where it took 19.
- Reading pauses when a second message waits, not at each message: a pause and its end are two system calls.
- The last words of a call (an error, the close) are written even to a client that does not read, and the connection is cut if it still
  does not; uvicorn waits for such a client without end.
- A message over the limit is answered by an `error` event before the close.
"""

import asyncio
from collections import deque
from typing import Any, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from malha.edge.errors import FrameTooLarge, NotJson
from malha.edge.events import error_json
from malha.runtime.errors import MalhaError

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

EXTENSION = "malha.socket"
LINGER_SECONDS = 0.5
"""How long what a refused client still sends is read: closing at once would reset the connection, and the refusal could be lost."""

DUE = b""
"""Stands for the moment at which `Socket.hear` should wait no longer. (An empty message says as little.)"""

_WHOLE_BINARY = 0x80 | Opcode.BINARY
_MASKED = 0x80
_LENGTH_16_BIT = 126
_LENGTH_64_BIT = _MASKED + 127
_SHORTEST = 6
"""Bytes of an empty masked message."""


class Socket(Protocol):
    """What a session does with its connection."""

    async def hear(self, due: float = 0.0) -> bytes | str | None:
        """The next message, binary or text; None once the client is gone; DUE if ``due``, a time of the event loop, passes before.

        One task at a time. Cancelling it loses no message.
        """

    async def tell(self, text: bytes) -> None:
        """Send a text message, once the client has read enough of those before."""

    def tell_now(self, text: bytes) -> None:
        """Send a text message without waiting."""

    def end(self, code: int, text: bytes = b"") -> None:
        """Send a last text message and close."""


class _Inbox:
    """Messages for the one task that hears them: what uvicorn uses of `asyncio.Queue`, at half its price."""

    __slots__ = ("_loop", "_messages", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        return not self._messages

    def put_nowait(self, message: Any) -> None:
        self._messages.append(message)
        if self._waiter is not None:
            _wake(self._waiter)

    async def get(self, due: float = 0.0) -> Any:
        """The next message; DUE if the event loop's ``due`` passes before there is one."""
        while not self._messages:
            waiter = self._waiter = self._loop.create_future()
            if not due:
                await waiter
                continue
            timer = self._loop.call_at(due, _wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
            if not self._messages and self._loop.time() >= due:
                return DUE
        return self._messages.popleft()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection. The application finds it as a `Socket` in ``scope["extensions"]["malha.socket"]``.

    uvicorn puts ASGI messages into the inbox, this class the bare payload of binary messages.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._inbox = _Inbox(self.loop)
        self.queue = self._inbox  # type: ignore[assignment]  # it has the three methods that are used

    async def run_asgi(self) -> None:
        cast("dict[str, Any]", self.scope["extensions"])[EXTENSION] = self
        await super().run_asgi()

    def data_received(self, data: bytes) -> None:
        conn = self.conn
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
            if not self.read_paused and not inbox.empty():
                self.read_paused = True
                self.transport.pause_reading()
            inbox.put_nowait(apply_mask(data[mask + 4 : end], data[mask : mask + 4]))
            at = end
        return data[at:] if at else data

    async def hear(self, due: float = 0.0) -> bytes | str | None:
        message = await self._inbox.get(due)
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
        """No pong came: the client is gone, and what is still to be written would keep the connection open for minutes."""
        super().keepalive_timeout()
        self.transport.abort()
