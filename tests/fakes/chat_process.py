"""``malha serve chat`` as a process before a model that obeys the tests, to be killed and started again.

Its own port is another one each time, since any program may take one that is free for a while; clients reach it by a wire that stays.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fakes.openai_server import FakeOpenAI
from fakes.wire import Wire

MODELS = """
default = "main"
last_resort = false

[aliases.main]
deployment = "one"

[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
"""
START_SECONDS = 180


class ChatProcess:
    """The server; ``database_url`` empty: it keeps nothing."""

    def __init__(self, folder: Path, model: FakeOpenAI, token: str, database_url: str = "") -> None:
        self._wire = Wire(1)
        file = folder / "models.toml"
        file.write_text(MODELS.format(url=model.base_url))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MALHA_")}
        self._environment = {
            **kept,
            "MALHA_DATA_DIR": str(folder / "data"),
            "MALHA_API_TOKENS": f"default:{token}",
            "MALHA_MODELS_FILE": str(file),
            "MALHA_DATABASE_URL": database_url,
            "MALHA_DRAIN_SECONDS": "0.2",
            "MALHA_LOG_LEVEL": "ERROR",
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def target(self) -> str:
        return self._wire.target

    @property
    def port(self) -> int:
        return int(self.target.rpartition(":")[2])

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ChatProcess"]:
        """Serving when it begins; gone at the end."""
        async with self._wire.laid():
            try:
                await self.start()
                yield self
            finally:
                await self.end(signal.SIGKILL)

    async def start(self) -> None:
        """Until it serves."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._wire.port = free.getsockname()[1]
        arguments = ("-m", "malha.cli.main", "serve", "chat", "--port", str(self._wire.port), "--admin-port", "0")
        self._process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=self._environment)
        async with asyncio.timeout(START_SECONDS), grpc.aio.insecure_channel(self.target) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="malha.api.chat.v1.ChatService")
            while True:
                assert self._process.returncode is None, "it ended by itself"
                try:
                    if (await health.Check(request, wait_for_ready=True, timeout=1)).status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.aio.AioRpcError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals) -> None:
        """By a signal, until it is gone. Does nothing where it is."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()

    async def replace(self, number: signal.Signals) -> None:
        """End it, and start another in its place."""
        await self.end(number)
        await self.start()
