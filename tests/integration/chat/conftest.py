"""Chat on a real gRPC server, its models at a real HTTP server that obeys the tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from integration.chat.chatting import MODELS, Place, Serving, filled

from fakes.openai_server import FakeOpenAI
from fakes.serving import served
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
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
    monkeypatch.setenv("TEST_MODEL_KEY", "secret-key")

    @asynccontextmanager
    async def serve(
        model: FakeOpenAI, models: str = MODELS, database: Database | None = None, given: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Place]:
        file = tmp_path / "models.toml"
        file.write_text(filled(models, model))
        service = ChatService(ChatSettings(_env_file=None, **(given or {})), tmp_path, database)
        tokens = Tokens(database) if database is not None else None
        async with served([service], settings, tokens) as server, grpc.aio.insecure_channel(server.target) as channel:
            yield Place(service, channel, file, database, tokens)

    return serve
