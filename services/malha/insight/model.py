"""Whether there is a model to ask: what Chat says of its aliases, kept for a few seconds."""

import time
from collections.abc import Callable
from typing import Final

import grpc

from malha.api.chat.v1 import chat_pb2, chat_pb2_grpc

KEEP_SECONDS: Final = 15.0
ANSWER_SECONDS: Final = 1.0
EXTRACTIVE: Final = "extractive"
"""Chat's embedded engine: it quotes, and can answer nothing the rule engine could not."""

Metadata = tuple[tuple[str, str], ...]


class Models:
    """What Chat serves."""

    def __init__(self, chat: Callable[[], grpc.aio.Channel], alias: str) -> None:
        self._chat = chat
        self._alias = alias
        self._known: tuple[float, dict[str, str]] = (0.0, {})
        """When it was asked, and engines by alias; the default first."""

    async def serving(self, alias: str, metadata: Metadata) -> bool:
        """Whether a model stands behind an alias (empty: the configured one, else Chat's default)."""
        engines = await self._engines(metadata)
        wanted = alias or self._alias or next(iter(engines), "")
        return engines.get(wanted, EXTRACTIVE) != EXTRACTIVE

    async def _engines(self, metadata: Metadata) -> dict[str, str]:
        asked, engines = self._known
        if time.monotonic() - asked < KEEP_SECONDS and asked:
            return engines
        try:
            stub = chat_pb2_grpc.ChatServiceStub(self._chat())
            answer = await stub.ListModels(chat_pb2.ListModelsRequest(), metadata=metadata, timeout=ANSWER_SECONDS)
        except grpc.RpcError:  # no Chat, or none just now: the rule engine does what it can
            engines = {}
        else:
            engines = {model.alias: model.engine for model in answer.models}
        self._known = time.monotonic(), engines
        return engines
