"""Chat as a client has it, over a real gRPC server, and what a test looks at behind it."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
from conftest import AUTHORIZED

from fakes.openai_server import FakeOpenAI
from malha.api.chat.v1 import chat_pb2, chat_pb2_grpc
from malha.chat.service import ChatService
from malha.runtime.status import from_rpc_error
from malha.store.database import Database
from malha.store.tokens import Tokens

MODELS = """
currency = "USD"
default = "main"

[aliases.main]
deployment = "one"

[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
"""


class Talk:
    """One stream of Chat, as a client has it."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.opened: chat_pb2.Opened | None = None

    async def open(self, **fields: Any) -> chat_pb2.Opened:
        await self._call.write(chat_pb2.ChatRequest(open=chat_pb2.Open(**fields)))
        self.opened = (await self.read()).opened
        return self.opened

    async def say(self, text: str, **fields: Any) -> None:
        await self._call.write(chat_pb2.ChatRequest(message=chat_pb2.Message(text=text, **fields)))

    async def cancel_answer(self) -> None:
        await self._call.write(chat_pb2.ChatRequest(cancel=chat_pb2.Cancel()))

    async def read(self) -> Any:
        """The next event; EOF. Raises a MalhaError."""
        try:
            return await asyncio.wait_for(self._call.read(), 60)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def answer(self) -> tuple[str, chat_pb2.MessageEnd]:
        """The text of the next answer and its end."""
        text = ""
        while True:
            event = await self.read()
            if event is grpc.aio.EOF:
                code = await self._call.code()
                raise from_rpc_error(
                    grpc.aio.AioRpcError(code, grpc.aio.Metadata(), await self._call.trailing_metadata(), await self._call.details())
                )
            if event.HasField("message_end"):
                return text, event.message_end
            text += event.delta.text

    async def ask(self, text: str, **fields: Any) -> tuple[str, chat_pb2.MessageEnd]:
        await self.say(text, **fields)
        return await self.answer()

    async def finish(self) -> chat_pb2.Closed:
        await self._call.write(chat_pb2.ChatRequest(finish=chat_pb2.Finish()))
        closed = (await self.read()).closed
        assert await self.read() is grpc.aio.EOF
        assert await self._call.code() is grpc.StatusCode.OK
        return closed

    def leave(self) -> None:
        """As a client that is lost."""
        self._call.cancel()


class Place:
    """A running ChatService and a way to it."""

    def __init__(
        self, service: ChatService, channel: grpc.aio.Channel, file: Path, database: Database | None, tokens: Tokens | None
    ) -> None:
        self.service = service
        self.file = file
        self.database = database
        self.tokens = tokens
        self.authorization = AUTHORIZED
        self.stub = chat_pb2_grpc.ChatServiceStub(channel)

    def talk(self, authorization: tuple[tuple[str, str], ...] | None = None) -> Talk:
        return Talk(self.stub.Chat(metadata=authorization or self.authorization))

    async def unary(self, method: str, request: Any, authorization: tuple[tuple[str, str], ...] | None = None) -> Any:
        try:
            return await getattr(self.stub, method)(request, metadata=authorization or self.authorization, timeout=60)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def tenant(self, name: str = "default") -> uuid.UUID:
        assert self.database is not None
        async with self.database.app_tx() as connection:
            return await connection.fetchval("SELECT malha_find_tenant($1)", name)

    async def run(self, statement: str, *values: Any, tenant: str = "default") -> list[Any]:
        """Rows, as the tenant."""
        assert self.database is not None
        async with self.database.tenant_tx(await self.tenant(tenant)) as connection:
            return await connection.fetch(statement, *values)


Serving = Callable[..., AbstractAsyncContextManager[Place]]


def filled(models: str, model: FakeOpenAI) -> str:
    """A models file for the fake server: every openai deployment has its key."""
    return models.replace('base_url = "{url}"', f'base_url = "{model.base_url}"\nkey_env = "TEST_MODEL_KEY"')
