"""Whether there is a model to ask: what Chat says of its aliases, kept for a few seconds."""

import time
from collections.abc import Callable
from typing import Final

import grpc

from malha.api.chat.v1 import chat_pb2, chat_pb2_grpc
from malha.runtime.errors import NotFound

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
        """Whether a model stands behind an alias (empty: the configured one, else Chat's default).

        Raises NotFound for an alias that a caller names and Chat does not have; while Chat is away nobody can tell.
        """
        engines = await self._engines(metadata)
        if alias and engines and alias not in engines:
            engines = await self._engines(metadata, anew=True)
            if engines and alias not in engines:
                raise NotFound(f"there is no model of this name: there are {', '.join(engines)}", reason="MODEL_NOT_FOUND")
        wanted = alias or self._alias or next(iter(engines), "")
        return engines.get(wanted, EXTRACTIVE) != EXTRACTIVE

    async def _engines(self, metadata: Metadata, *, anew: bool = False) -> dict[str, str]:
        asked, engines = self._known
        if time.monotonic() - asked < KEEP_SECONDS and asked and not anew:
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
