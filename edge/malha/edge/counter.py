"""The counter dialect, `/ws`: desktop applications at shop and pharmacy counters, with a microphone and a list of recommendations.

It is the native door (`malha.edge.sockets`) behind an interpreter. Who is let in, limits, resuming, draining and errors are that door's; only
the words differ, and what such a client does not say: how its audio is encoded, and that a call it leaves is over.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from malha.edge.calls import Tokens, bearer
from malha.edge.counter_messages import (
    DEFAULT_ENCODING,
    MAGIC_BYTES,
    STOP,
    Handshake,
    encoding_of,
    read_command,
    read_handshake,
    recommend_json,
    recommendation,
    reply_json,
)
from malha.edge.errors import ReaderSlow, UnexpectedBinary
from malha.edge.events import Json, error_json, warning_json
from malha.edge.protocol import EXTENSION, Socket, Wake
from malha.runtime.errors import DeadlineExceeded, InvalidArgument, UnsupportedFormat

HANDSHAKE_SECONDS = 10.0
DETECT_SECONDS = 10.0
"""How long the first audio is waited for; then the call begins with the encoding that needs no telling. With the handshake and the question
about its token it must stay below the native door's `OPENING_SECONDS`."""
ANSWER_SECONDS = 10.0
GATHER_SECONDS = 0.005
"""How long a recommendation waits for others of its interaction: a client may take each message for the whole of it."""
UNWAITED_BYTES = 64 * 1024
"""So much may be told without waiting for the client to read."""


class Counter:
    """An ASGI application for WebSockets that speak the dialect, in front of that of the native door."""

    def __init__(self, sockets: ASGIApp, tokens: Tokens) -> None:
        self._sockets = sockets
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        carried = bearer(dict(scope["headers"]).get(b"authorization", b"").decode("latin-1"))
        socket = CounterSocket(scope["extensions"][EXTENSION], lambda key: self._tokens.check(key or carried))
        await self._sockets({**scope, "extensions": {**scope["extensions"], EXTENSION: socket}}, receive, send)


class CounterSocket:
    """A client of the dialect, as the native door's `Socket`. ``check`` raises for a key that nobody knows."""

    def __init__(self, socket: Socket, check: Callable[[str], Awaitable[None]]) -> None:
        self._socket = socket
        self._check = check
        self._recommendations = _Recommendations(socket)
        self._waiting: deque[bytes | str] = deque()
        """What came before the call was begun, in order."""
        self._begun = False
        self._assumed = False
        """Whether the call was begun before there was audio."""
        self._transcripts = False
        self._stopped = False
        self._gone = False

    async def hear(self, held: int = 0) -> bytes | str | None:
        """As the native door hears it. A client that leaves ends its call: nobody comes back to it."""
        if not self._begun:
            return await self._begin()
        if self._waiting:
            return self._waiting.popleft()
        while not self._gone:
            message = await self._socket.hear(held)
            if isinstance(message, bytes):
                if self._assumed and message:
                    self._check_assumed(message)
                return message
            if message is not None and not await self._ends(message):
                continue
            self._gone = message is None
            if not (self._gone and self._stopped):
                self._stopped = True
                return STOP
        return None

    def gather(self, size: int, seconds: float, wake: Wake) -> None:
        self._socket.gather(size, seconds, wake)

    async def tell(self, text: bytes) -> None:
        event: Json = orjson.loads(text)
        if event["event"] == "insight":
            await self._recommendations.add(event["interaction_id"], recommendation(event))
        elif reply := reply_json(event, transcripts=self._transcripts):
            await self._socket.tell(reply)

    def tell_now(self, text: bytes) -> None:
        if reply := reply_json(orjson.loads(text), transcripts=self._transcripts):
            self._socket.tell_now(reply)

    def end(self, code: int, text: bytes = b"") -> None:
        self._recommendations.tell()
        self._socket.end(code, reply_json(orjson.loads(text), transcripts=False) if text else b"")

    async def _begin(self) -> str | None:
        """The handshake as `start`; None if the client left before there was anything to hear."""
        handshake = await self._handshake()
        if handshake is None:
            return None
        self._transcripts = handshake.transcripts
        if not handshake.encoding:
            await self._check(handshake.key)
        for name in handshake.unknown:
            self.tell_now(warning_json("UNKNOWN_FIELD", f"{name} is not known and has no effect"))
        encoding = handshake.encoding or await self._detect()
        if encoding is None:
            return None
        self._begun = True
        return handshake.start(encoding)

    async def _handshake(self) -> Handshake | None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                message = await self._socket.hear()
        except TimeoutError:
            raise DeadlineExceeded(f"no handshake within {HANDSHAKE_SECONDS:g} s", reason="OPEN_TIMEOUT") from None
        if isinstance(message, bytes):
            raise UnexpectedBinary("audio came before the handshake: send the key, as text, first")
        return None if message is None else read_handshake(message)

    async def _detect(self) -> str | None:
        """How the audio is encoded, as far as it shows; None if the client left before there was any."""
        head = b""
        try:
            async with asyncio.timeout(DETECT_SECONDS):
                while not (encoding := encoding_of(head)):
                    message = await self._socket.hear()
                    if message is None:
                        return None
                    if not message:
                        continue
                    if isinstance(message, bytes):
                        head += message[:MAGIC_BYTES]
                        self._waiting.append(message)
                    elif await self._ends(message):
                        self._stopped = True
                        self._waiting.append(STOP)
                        return DEFAULT_ENCODING
                return encoding
        except TimeoutError:
            self._assumed = not head
            return DEFAULT_ENCODING

    def _check_assumed(self, first: bytes) -> None:
        self._assumed = False
        if encoding_of(first[:MAGIC_BYTES]) not in ("", DEFAULT_ENCODING):
            raise UnsupportedFormat(
                f"audio that is not {DEFAULT_ENCODING} must begin within {DETECT_SECONDS:g} s, or the handshake must name its `encoding`"
            )

    async def _ends(self, text: str) -> bool:
        """Obey a command; whether it ends the call. One that nobody knows is answered, and the call goes on."""
        try:
            answer = read_command(text)
        except InvalidArgument as error:
            answer = reply_json(orjson.loads(error_json(error)), transcripts=False)
        if answer is None:
            return True
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._socket.tell(answer)
        except TimeoutError:
            raise ReaderSlow("answers are not read: call again, and read them as they come", retry_seconds=0.1) from None
        return False


class _Recommendations:
    """Puts the recommendations of one interaction that come almost together into one message."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._interaction_id = ""
        self._items: list[Json] = []
        self._timer: asyncio.TimerHandle | None = None
        self._unwaited = 0

    async def add(self, interaction_id: str, item: Json) -> None:
        """Tell it, with what comes right after it."""
        if self._items and interaction_id != self._interaction_id:
            self.tell()
        if self._unwaited > UNWAITED_BYTES:
            self.tell()
            self._unwaited = 0
            await self._socket.tell(recommend_json(interaction_id, [item]))
            return
        self._interaction_id = interaction_id
        self._items.append(item)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self.tell)

    def tell(self) -> None:
        """Tell what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._items:
            items, self._items = self._items, []
            text = recommend_json(self._interaction_id, items)
            self._unwaited += len(text)
            self._socket.tell_now(text)
