"""A real server with the services a test names, on a free port of this machine."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from malha.runtime.auth import Authenticator
from malha.runtime.contracts import load_contracts
from malha.runtime.quotas import Quotas
from malha.runtime.rpc import Service
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.runtime.stream import StreamLimits
from malha.store.tokens import Tokens


@dataclass(frozen=True)
class Served:
    """A server that serves."""

    server: Server
    port: int

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def served(
    services: Sequence[Service],
    settings: RuntimeSettings,
    tokens: Tokens | None = None,
    *,
    absent: Sequence[str] = (),
    limits: StreamLimits | None = None,
    quotas: Quotas | None = None,
) -> AsyncIterator[Served]:
    """``tokens``: those of a database, beside the settings'. ``absent``: services that answer UNIMPLEMENTED."""
    load_contracts()
    authenticator = Authenticator.from_settings(settings.api_tokens, settings.data_dir, tokens)
    server = Server(services, absent, settings, authenticator, limits, quotas=quotas)
    port = await server.start()
    try:
        await server.wait_serving()
        yield Served(server, port)
    finally:
        await server.stop()
