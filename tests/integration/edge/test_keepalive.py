"""Clients that do not answer pings: one that still sends is there, one that is silent is gone."""

import asyncio

import orjson
import pytest
from integration.edge.conftest import START, EdgeFor, RunningEdge

from fakes.audio_server import FakeServer
from malha.bench.websocket import Opcode, Reader, Target, frame, handshake

PING_SECONDS = 0.3
pytestmark = pytest.mark.asyncio(loop_scope="module")


class MuteClient:
    """Sends frames and answers none."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, edge: RunningEdge) -> "MuteClient":
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        request, accept = handshake(Target.parse(edge.url.replace("http", "ws") + "/api/v1/asr/stream"), f"Bearer {edge.token}")
        writer.write(request)
        assert not list(Reader(accept).feed(await reader.readuntil(b"\r\n\r\n")))
        writer.write(frame(Opcode.TEXT, orjson.dumps(START)))
        return cls(reader, writer)

    def send(self) -> None:
        self._writer.write(frame(Opcode.BINARY, bytes(3200)))

    async def gone(self, seconds: float) -> bool:
        """Whether the edge cuts the connection within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while await self._reader.read(4096):
                    pass
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self._writer.close()


async def test_who_sends_is_there_and_who_is_silent_is_gone(fake: FakeServer, edge_for: EdgeFor) -> None:
    async with edge_for(fake.target, ping_seconds=PING_SECONDS) as edge:
        client = await MuteClient.start(edge)
        try:
            for _ in range(8):
                client.send()
                assert not await client.gone(PING_SECONDS / 2), "it sends, so it is there"
            assert await client.gone(10 * PING_SECONDS)
        finally:
            client.close()
