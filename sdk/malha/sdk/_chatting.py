"""The client's part that talks with language models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from malha.sdk import chat as answers
from malha.sdk._connection import Connection
from malha.sdk._knowing import Knowing
from malha.sdk._stream import EventStream
from malha.sdk.chat import ChatAnswer, ChatMessage, ChatModel, ChatSettings, ChatStream


class Chatting(Knowing):
    """Answers, as they are made or whole, and what they may quote from."""

    _connection: Connection
    _streams: set[EventStream[Any]]

    def chat(
        self,
        message: str,
        *,
        alias: str = "",
        conversation_id: str = "",
        knowledge_base: str = "",
        system: str = "",
        history: Iterable[ChatMessage] = (),
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
        language: str = "",
        timeout_seconds: float | None = None,
        cache_seconds: float | None = None,
        resume: bool = True,
    ) -> ChatStream:
        """An answer as a model makes it: ``async for event in malha.chat("Qual é o prazo?")``; ChatDelta events, at last the ChatAnswer.

        Args:
            message: What is asked.
            alias: Of the model (see ``chat_models``); none: the server's default.
            conversation_id: The conversation whose history the model reads, and in which question and answer are kept.
            knowledge_base: What the answer may quote from.
            system: Instructions to the model, in place of the server's own.
            history: What was written before, where there is no conversation.
            temperature: 0 to 2; none: the model's.
            max_tokens: Of the answer; none: the alias's.
            top_p: 0 to 1; none: the model's.
            seed: For answers that can be repeated, where the model can.
            stop: Texts at which the answer ends, at most 4.
            schema: A JSON schema the answer must satisfy; it then comes whole.
            language: BCP 47 tag; none: as the message is.
            timeout_seconds: How long the answer may take; none: the alias's.
            cache_seconds: How long the same question may be answered from the cache; none: never.
            resume: Whether the answer goes on by itself after its server was lost (see ChatStream). False: Unavailable at once.

        Leaving the loop stops the model. Raises InvalidRequest; the iteration raises MalhaError. An answer that broke off, since the model was
        lost, is a ChatAnswer with ``finish_reason`` ``error``.
        """
        settings = ChatSettings(
            alias=alias,
            conversation_id=conversation_id,
            knowledge_base=knowledge_base,
            system=system,
            history=tuple(history),
            temperature=temperature,
            max_tokens=max_tokens,
            top_p=top_p,
            seed=seed,
            stop=answers.texts_of(stop),
            schema=schema,
            language=language,
            timeout_seconds=timeout_seconds,
            cache_seconds=cache_seconds,
        )
        return ChatStream(self._connection, settings, message, self._streams, resume=resume)

    async def complete(
        self,
        message: str,
        *,
        alias: str = "",
        conversation_id: str = "",
        knowledge_base: str = "",
        system: str = "",
        history: Iterable[ChatMessage] = (),
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
        language: str = "",
        timeout_seconds: float | None = None,
        cache_seconds: float | None = None,
        resume: bool = True,
    ) -> ChatAnswer:
        """The whole answer. The arguments are those of ``chat``. Raises MalhaError, also for an answer that broke off."""
        stream = self.chat(
            message,
            alias=alias,
            conversation_id=conversation_id,
            knowledge_base=knowledge_base,
            system=system,
            history=history,
            temperature=temperature,
            max_tokens=max_tokens,
            top_p=top_p,
            seed=seed,
            stop=stop,
            schema=schema,
            language=language,
            timeout_seconds=timeout_seconds,
            cache_seconds=cache_seconds,
            resume=resume,
        )
        async with stream:
            return await answers.gather(stream)

    async def chat_models(self) -> tuple[ChatModel, ...]:
        """The aliases of language models, by name. Raises MalhaError."""
        return await answers.models(self._connection)
