"""A real edge before a real ChatService, whose model is a server that obeys the tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import httpx
from conftest import OTHER_TOKEN, TOKEN
from integration.edge.conftest import RunningEdge, running_edge

from fakes.openai_server import FakeOpenAI
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
from malha.conversation.service import ConversationService
from malha.conversation.settings import ConversationSettings
from malha.jobs.service import JobService
from malha.jobs.settings import JobSettings
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import load_contracts
from malha.runtime.job_files import JobFilesSettings
from malha.runtime.outbound import OutboundSettings
from malha.runtime.rpc import Service
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tokens import Tokens

MODELS = """
default = "main"
last_resort = {last_resort}

[aliases.main]
deployment = "one"

[aliases."maker/small"]
deployment = "one"

[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
"""
VECTORS = """
[deployments.vectors]
engine = "openai"
base_url = "{url}"
model = "embedder"
embeddings = true
"""


@dataclass
class ChatEdge:
    """What tests talk to, and the model behind it."""

    edge: RunningEdge
    model: FakeOpenAI
    client: httpx.AsyncClient
    theirs: httpx.AsyncClient

    @property
    def openai_url(self) -> str:
        return f"{self.edge.url}/v1"


@asynccontextmanager
async def chat_edge(
    folder: Path,
    model: FakeOpenAI,
    *,
    last_resort: bool = False,
    vectors: bool = False,
    store: tuple[Database, StoreSettings] | None = None,
    **edge_settings: int,
) -> AsyncIterator[ChatEdge]:
    """``vectors``: a model makes them. ``store``: conversations are kept there, and jobs answer."""
    load_contracts()
    file = folder / "models.toml"
    models = f'embeddings = "vectors"{MODELS}{VECTORS}' if vectors else MODELS
    file.write_text(models.format(url=model.base_url, last_resort=str(last_resort).lower()))
    tokens = (f"default:{TOKEN}", f"other:{OTHER_TOKEN}")
    settings = RuntimeSettings(_env_file=None, data_dir=folder, grpc_port=0, admin_port=0, api_tokens=tokens, drain_seconds=2)
    database = None if store is None else store[0]
    servers: list[Server] = []
    services: list[Service] = [ChatService(ChatSettings(_env_file=None, models_file=file), folder, database)]
    if store is not None:
        services += _kept(*store, folder, servers)
    authenticator = Authenticator.from_settings(tokens, folder, Tokens(database) if database is not None else None)
    server = Server(services, [], settings, authenticator)
    servers.append(server)
    port = await server.start()
    try:
        await server.wait_serving()
        async with (
            running_edge(folder, f"127.0.0.1:{port}", TOKEN, grpc_port=port, **edge_settings) as edge,
            edge.client() as client,
            edge.client(token=OTHER_TOKEN) as theirs,
        ):
            yield ChatEdge(edge, model, client, theirs)
    finally:
        await server.stop()


def _kept(database: Database, stored: StoreSettings, folder: Path, servers: Sequence[Server]) -> list[Service]:
    jobs = JobSettings(_env_file=None, job_backoff_seconds=0.1, job_attempts=2)
    return [
        ConversationService(database, ConversationSettings(_env_file=None)),
        JobService(
            database,
            stored,
            folder,
            lambda: cast("grpc.aio.Channel", servers[0].in_process),
            jobs,
            JobFilesSettings(_env_file=None),
            OutboundSettings(_env_file=None),
        ),
    ]
