"""The address of live calls: which sockets are let in, watched and, when the edge stops, seen out."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import Receive, Scope, Send

from malha.edge import metrics
from malha.edge.calls import bearer
from malha.edge.errors import EdgeStopping
from malha.edge.limits import RateLimit
from malha.edge.pace import Pace
from malha.edge.protocol import EXTENSION, Socket
from malha.edge.replies import error_response
from malha.edge.session import LOST, End, Session
from malha.edge.settings import EdgeSettings
from malha.runtime import logs, tracing
from malha.runtime.errors import MalhaError, PermissionDenied, ResourceExhausted
from malha.runtime.logs import Event
from malha.runtime.mesh import Mesh

log = logs.get("edge.sockets")

SUBPROTOCOL = "malha"
BEARER_SUBPROTOCOL = "bearer."
UNAUTHORIZED = 4401
LOOK_SECONDS = 1.0
"""Between two looks at all sessions: how stalls are seen and messages counted."""
END_SECONDS = 2.0


class Sockets:
    """An ASGI application for WebSockets at one path."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh, limit: RateLimit) -> None:
        self._settings = settings
        self._mesh = mesh
        self._limit = limit
        self._sessions: dict[asyncio.Task[Any], Session] = {}
        self._stopping = False
        self._pace = Pace(lambda: len(self._sessions), settings.busy_sockets)

    def __len__(self) -> int:
        return len(self._sessions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not origin_allowed(headers, self._settings.allowed_origins):
            error = PermissionDenied("pages of this origin may not call: see MALHA_EDGE_ALLOWED_ORIGINS", reason="FOREIGN_ORIGIN")
            await error_response(error)(scope, receive, send)
            return
        await receive()  # websocket.connect
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in scope["subprotocols"] else None})
        socket: Socket = scope["extensions"][EXTENSION]
        token = bearer(headers.get("authorization", "")) or _subprotocol_token(scope["subprotocols"])
        address = (scope.get("client") or ("",))[0]
        try:
            self._admit(token, address)
        except MalhaError as error:
            log.info(Event.REQUEST_REFUSED, reason=error.reason)
            end = End.of(error)
            socket.end(end.code, end.text)
            self._count(end)
            return
        with tracing.server_span("malha.edge", "asr/stream", headers):
            channel = self._mesh.relay("audio") if self._settings.relay else self._mesh.channel("audio")
            end = await self._run(Session(socket, channel, token, self._settings.stall_seconds, self._pace))
        if end.code == UNAUTHORIZED:  # the token may have come with `start`
            self._limit.fail(address)

    def _admit(self, token: str, address: str) -> None:
        if self._stopping:
            raise EdgeStopping("this edge is stopping: connect again", retry_seconds=0.25)
        if len(self._sessions) >= self._settings.max_sockets:
            raise ResourceExhausted(
                "this edge has all the sockets it can serve", reason="TOO_MANY_SOCKETS", retry_seconds=1.0, quota="sockets"
            )
        self._limit.take(token, address)

    async def _run(self, session: Session) -> End:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._sessions[task] = session
        metrics.SOCKETS.inc()
        log.info(Event.SOCKET_OPENED)
        started, end = loop.time(), End(LOST)
        try:
            end = await session.run()
        finally:
            del self._sessions[task]
            metrics.SOCKETS.dec()
            self._count(end)
            self._measure([session])
            log.info(
                Event.SOCKET_CLOSED,
                code=end.code,
                reason=end.reason,
                seconds=round(loop.time() - started, 3),
                heard_bytes=session.heard.bytes,
            )
        return end

    async def watch(self) -> None:
        """Look at all sessions, once in a while, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = loop.time()
            for session in list(self._sessions.values()):
                session.look(now)
            self._measure(self._sessions.values())

    async def drain(self, seconds: float) -> bool:
        """Take no new sockets, tell the open ones to go and wait for them, then end the rest; whether all went by themselves."""
        self._stopping = True
        for session in self._sessions.values():
            session.go_away(seconds)
        drained = await self._wait(seconds)
        for session in self._sessions.values():
            session.fail(EdgeStopping("this edge has stopped: connect again", retry_seconds=0.25))
        await self._wait(END_SECONDS)
        return drained

    async def _wait(self, seconds: float) -> bool:
        if self._sessions:
            await asyncio.wait(set(self._sessions), timeout=seconds)
        return not self._sessions

    def _count(self, end: End) -> None:
        metrics.CLOSES.labels(str(end.code)).inc()

    def _measure(self, sessions: Iterable[Session]) -> None:
        for direction in ("heard", "told"):
            counts = [getattr(session, direction).uncounted() for session in sessions]
            metrics.MESSAGES.labels(direction).inc(sum(messages for messages, _ in counts))
            metrics.BYTES.labels(direction).inc(sum(size for _, size in counts))


def origin_allowed(headers: Mapping[str, str], allowed: Iterable[str]) -> bool:
    """Whether a page may open a socket: no page at all (no ``Origin``), one of this host, or of an origin that was allowed.

    Browsers apply no same-origin rule to WebSockets themselves (RFC 6455 section 10.2).
    """
    origin = headers.get("origin")
    if origin is None or origin in allowed:
        return True
    host = urlsplit(origin).netloc.lower()
    return bool(host) and host == headers.get("host", "").lower()


def _subprotocol_token(offered: Iterable[str]) -> str:
    """The token of ``Sec-WebSocket-Protocol: malha, bearer.TOKEN``: the one header a browser lets a page set."""
    tokens = [protocol.removeprefix(BEARER_SUBPROTOCOL) for protocol in offered if protocol.startswith(BEARER_SUBPROTOCOL)]
    return bearer(f"Bearer {tokens[0]}") if tokens else ""
