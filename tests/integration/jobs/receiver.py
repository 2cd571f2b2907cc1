"""A server that webhooks are posted to: a socket of its own, no library of ours."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Receiver:
    """Answers with ``status``, and keeps what came: (headers by lower-case name, body)."""

    status: int = 200
    extra: str = ""
    """More lines of the answer's head."""
    body: bytes = b"{}"
    port: int = 0
    connections: int = 0
    posted: asyncio.Queue[tuple[dict[str, str], bytes]] = field(default_factory=asyncio.Queue)

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Receiver"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:] if line)}
            content = await reader.readexactly(int(headers.get("content-length", 0)))
            self.posted.put_nowait((headers, content))
            writer.write(f"HTTP/1.1 {self.status} X\r\n{self.extra}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
