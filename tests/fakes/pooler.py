"""A pooler of PostgreSQL connections in transaction mode, as PgBouncer is: each transaction of a client may meet another server connection.

It logs nobody in itself: a client's login is passed on, and its server connection then serves all clients. Messages as in the PostgreSQL
documentation, "Frontend/Backend Protocol".
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

PORT = 5432
_AUTHENTICATION, _READY, _TERMINATE = b"R", b"Z", b"X"
_ASKS_FOR_A_REPLY = {3, 5, 10, 11}
_ENDS_WITH_READY = {b"Q", b"S"}


@dataclass(eq=False)
class _Wire:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    coming: "asyncio.Task[tuple[bytes, bytes]]" = field(init=False)
    """The next message: it may be waited for again and again."""

    def listen(self) -> "asyncio.Task[tuple[bytes, bytes]]":
        self.coming = asyncio.create_task(self.message())
        return self.coming

    async def message(self) -> tuple[bytes, bytes]:
        """(type, the whole message)."""
        head = await self.reader.readexactly(5)
        return head[:1], head + await self.reader.readexactly(int.from_bytes(head[1:]) - 4)


@dataclass
class Pooler:
    """``transactions`` counts those passed on; ``moves`` those that met another connection than the client's last."""

    url: str
    """To what it stands before; then `url_through` leads through it."""
    folder: Path
    transactions: int = 0
    moves: int = 0
    _free: deque[_Wire] = field(default_factory=deque)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def url_through(self) -> str:
        parts = urlsplit(self.url)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit((parts.scheme, f"{login}@", parts.path, f"host={quote(str(self.folder), safe='/')}", ""))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Pooler"]:
        server = await asyncio.start_unix_server(self._accept, self.folder / f".s.PGSQL.{PORT}")
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for wire in self._free:
                wire.writer.transport.abort()
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        client = _Wire(reader, writer)
        try:
            await self._serve(client)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client is gone
        finally:
            writer.transport.abort()

    async def _serve(self, client: _Wire) -> None:
        last = await self._log_in(client)
        self._release(last)
        said = client.listen()
        try:
            while (await said)[0] != _TERMINATE:
                while not self._free:
                    self._freed.clear()
                    await self._freed.wait()
                server = self._free.popleft()
                self.transactions += 1
                self.moves += server is not last
                last = server
                try:
                    await self._transaction(client, server)
                except BaseException:
                    server.writer.transport.abort()
                    raise
                self._release(server)
                said = client.coming
        finally:
            client.coming.cancel()
            await asyncio.wait([client.coming])

    async def _log_in(self, client: _Wire) -> _Wire:
        length = await client.reader.readexactly(4)
        startup = length + await client.reader.readexactly(int.from_bytes(length) - 4)
        server = await self._connect()
        server.writer.write(startup)
        while True:
            kind, message = await server.message()
            client.writer.write(message)
            if kind == _READY:
                return server
            if kind == _AUTHENTICATION and int.from_bytes(message[5:9]) in _ASKS_FOR_A_REPLY:
                server.writer.write((await client.message())[1])

    async def _connect(self) -> _Wire:
        parts = urlsplit(self.url)
        host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
        if host.startswith("/"):
            return _Wire(*await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{parts.port or PORT}"))
        return _Wire(*await asyncio.open_connection(host, parts.port or PORT))

    async def _transaction(self, client: _Wire, server: _Wire) -> None:
        """Pass messages on, both ways, until the server is idle and owes no answer."""
        unanswered = 0
        server.listen()
        try:
            while True:
                await asyncio.wait([client.coming, server.coming], return_when=asyncio.FIRST_COMPLETED)
                if server.coming.done():
                    kind, message = server.coming.result()
                    client.writer.write(message)
                    unanswered -= kind == _READY
                    if kind == _READY and message[5:] == b"I" and not unanswered:
                        return
                    server.listen()
                else:
                    kind, message = client.coming.result()
                    server.writer.write(message)
                    unanswered += kind in _ENDS_WITH_READY
                    client.listen()
        except BaseException:
            server.coming.cancel()
            await asyncio.wait([server.coming])
            raise

    def _release(self, server: _Wire) -> None:
        self._free.append(server)
        self._freed.set()
