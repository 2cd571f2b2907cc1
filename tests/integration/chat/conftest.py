"""Chat on a real gRPC server, its models at a real HTTP server that obeys the tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from integration.chat.chatting import MODELS, Place, Serving, filled

from fakes.openai_server import FakeOpenAI
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import load_contracts
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.tokens import Tokens


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(models=("tiny", "large", "embedder"), key="secret-key") as server:
        yield server


@pytest.fixture
def serving(settings: RuntimeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """Serve Chat with a models file (``{url}`` in it is the fake server's), with or without a database."""
    load_contracts()
    monkeypatch.setenv("TEST_MODEL_KEY", "secret-key")

    @asynccontextmanager
    async def serve(
        model: FakeOpenAI, models: str = MODELS, database: Database | None = None, given: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Place]:
        file = tmp_path / "models.toml"
        file.write_text(filled(models, model))
        service = ChatService(ChatSettings(_env_file=None, **(given or {})), tmp_path, database)
        tokens = Tokens(database) if database is not None else None
        server = Server([service], [], settings, Authenticator.from_settings(settings.api_tokens, settings.data_dir, tokens))
        port = await server.start()
        try:
            await server.wait_serving()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Place(service, channel, file, database, tokens)
        finally:
            await server.stop()

    return serve
