"""Insight on a real gRPC server, with the database or without, its model at a real HTTP server that obeys the tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from fakes.openai_server import FakeOpenAI
from malha.audio.call_store import CallStore
from malha.audio.service import AudioStreamService
from malha.audio.settings import AudioSettings
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
from malha.insight.service import InsightService
from malha.insight.settings import InsightSettings
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import load_contracts
from malha.runtime.mesh import Mesh
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tokens import Tokens
from malha.transcribe.engine import TranscribeEngine
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.service import TranscribeService
from malha.transcribe.settings import TranscribeSettings

MODELS = """
currency = "USD"
default = "main"

[aliases.main]
deployment = "one"

[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
key_env = "TEST_MODEL_KEY"
"""


@dataclass(frozen=True)
class Place:
    """A server with Insight, as a client reaches it."""

    service: InsightService
    channel: grpc.aio.Channel


Serving = Callable[..., AbstractAsyncContextManager[Place]]


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(models=("tiny",), key="secret-key") as server:
        yield server


@pytest.fixture
def serving(settings: RuntimeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """Serve Insight, Chat where there is a ``model``, Audio and Transcribe with an ``engine``."""
    load_contracts()
    monkeypatch.setenv("TEST_MODEL_KEY", "secret-key")

    @asynccontextmanager
    async def serve(
        model: FakeOpenAI | None = None,
        store: tuple[Database, StoreSettings] | None = None,
        engine: TranscribeEngine | None = None,
        **given: Any,
    ) -> AsyncIterator[Place]:
        database = store[0] if store is not None else None
        mesh = Mesh(settings, lambda: "127.0.0.1:1")
        service = InsightService(database, lambda: mesh.channel("chat"), InsightSettings(_env_file=None, **given))
        kept = CallStore(*store) if store is not None else None
        audio = AudioStreamService(
            AudioSettings(_env_file=None), lambda: mesh.channel("transcribe"), kept, insight=lambda: mesh.channel("insight")
        )
        services: list[Any] = [service, audio, TranscribeService(engine or NullEngine(TranscribeSettings(_env_file=None)))]
        if model is not None:
            file = tmp_path / "models.toml"
            file.write_text(MODELS.replace("{url}", model.base_url))
            services.append(ChatService(ChatSettings(_env_file=None), tmp_path, database))
        tokens = Tokens(database) if database is not None else None
        server = Server(services, [], settings, Authenticator.from_settings(settings.api_tokens, settings.data_dir, tokens))
        for name in ("transcribe", "insight", "chat"):
            mesh.serve(name, server.in_process)
        port = await server.start()
        try:
            await server.wait_serving()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Place(service, channel)
        finally:
            await server.stop()
            await mesh.close()

    return serve
