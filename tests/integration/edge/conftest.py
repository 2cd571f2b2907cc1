"""A real edge (uvicorn, sockets, HTTP) on a free port, before the real services or before a server that can be told to misbehave."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from conftest import OTHER_TOKEN, TOKEN, RunningServer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from fakes.audio_server import TOKEN as FAKE_TOKEN
from fakes.audio_server import FakeServer, polite, serving
from malha.edge.server import EdgeServer
from malha.edge.settings import EdgeSettings
from malha.runtime.settings import RuntimeSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

START = {"event": "start", "encoding": "pcm16", "sample_rate": 16_000, "language": "en", "conversation_id": "c1"}


@dataclass
class RunningEdge:
    """Where an edge listens, and the token that it takes."""

    port: int
    token: str
    server: EdgeServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def socket(self, **options: Any) -> connect:
        """A WebSocket client, without the library's own limits and pings."""
        return connect(
            f"ws://127.0.0.1:{self.port}/api/v1/asr/stream", **{"max_size": None, "ping_interval": None, "compression": None, **options}
        )

    def client(self, *, token: str | None = None, **options: Any) -> httpx.AsyncClient:
        given = self.token if token is None else token
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {given}"} if given else {}, timeout=20, trust_env=False, **options
        )


class Talk:
    """A client's side of a call."""

    def __init__(self, socket: ClientConnection, token: str) -> None:
        self.socket = socket
        self.token = token
        self.events: list[dict[str, Any]] = []

    async def start(self, **fields: Any) -> dict[str, Any]:
        await self.say(**{**START, "token": self.token, **fields})
        return await self.event("session_started")

    async def say(self, **message: Any) -> None:
        await self.socket.send(orjson.dumps(message).decode())

    async def next(self) -> dict[str, Any]:
        event = orjson.loads(await self.socket.recv())
        self.events.append(event)
        return event

    async def event(self, name: str) -> dict[str, Any]:
        """The next event of that name; an `error` in its place fails."""
        while True:
            event = await self.next()
            if event["event"] == name:
                return event
            assert event["event"] != "error", event

    async def rest(self) -> tuple[list[dict[str, Any]], int]:
        """All further events, and the close code."""
        before = len(self.events)
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            return self.events[before:], self.socket.close_code or 0

    async def refused(self) -> tuple[dict[str, Any], int]:
        """The error that ends the call, and the close code."""
        events, code = await self.rest()
        assert events, f"closed with {code} and without a word"
        assert events[-1]["event"] == "error", events
        return events[-1], code


EdgeFor = Callable[..., AbstractAsyncContextManager[RunningEdge]]


@asynccontextmanager
async def running_edge(
    folder: Path, target: str, token: str = FAKE_TOKEN, *, grpc_port: int = 1, insecure: bool = False, **settings: Any
) -> AsyncIterator[RunningEdge]:
    """An edge before the gRPC server at ``target``; capabilities without a target of their own are at ``grpc_port``."""
    targets = dict.fromkeys(("audio_target", "transcribe_target", "synthesize_target"), target)
    runtime = RuntimeSettings(_env_file=None, data_dir=folder, grpc_port=grpc_port, insecure=insecure, **targets)
    server = EdgeServer(EdgeSettings(_env_file=None, **{"port": 0, "admin_port": 0, "drain_seconds": 0.2, **settings}), runtime)
    edge = RunningEdge(await server.start(), token, server)
    try:
        yield edge
    finally:
        await server.stop()


@pytest.fixture
def edge_for(tmp_path: Path) -> EdgeFor:
    """Runs an edge with settings of its own: ``async with edge_for(target, token, max_sockets=1) as edge``."""
    return partial(running_edge, tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEdge]:
    """Before the real services, with the null recogniser and espeak's voices. One for all tests of a file, which run on its event loop."""
    folder = tmp_path_factory.mktemp("edge")
    tokens = (f"default:{TOKEN}", f"other:{OTHER_TOKEN}")
    settings = RuntimeSettings(_env_file=None, data_dir=folder, grpc_port=0, admin_port=0, api_tokens=tokens, drain_seconds=2)
    async with (
        RunningServer(settings, NullEngine(TranscribeSettings(_env_file=None)), speech=True) as services,
        running_edge(folder, services.target, TOKEN, grpc_port=services.port) as running,
    ):
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _fake_and_edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[FakeServer, RunningEdge]]:
    async with serving() as fake, running_edge(tmp_path_factory.mktemp("fake"), fake.target) as running:
        yield fake, running


@pytest.fixture
def fake(_fake_and_edge: tuple[FakeServer, RunningEdge]) -> FakeServer:
    """A gRPC server that behaves as the test says (``fake.behaviour``), politely at first."""
    fake, _ = _fake_and_edge
    fake.behaviour = polite
    fake.calls.clear()
    fake.spoken.clear()
    fake.arrived.clear()
    return fake


@pytest.fixture
def fake_edge(_fake_and_edge: tuple[FakeServer, RunningEdge]) -> RunningEdge:
    """The edge before `fake`."""
    return _fake_and_edge[1]


@asynccontextmanager
async def talk(edge: RunningEdge, **options: Any) -> AsyncIterator[Talk]:
    """An open socket."""
    async with edge.socket(**options) as socket:
        yield Talk(socket, edge.token)
