"""Answers of language models, as they are made or whole, in conversations that the server keeps or without."""

import asyncio
import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import betterproto2

from malha.sdk._asking import AskingStream
from malha.sdk._call_settings import check_choice
from malha.sdk._connection import Connection
from malha.sdk._convert import seconds
from malha.sdk._gen.malha.api.chat import v1 as chat
from malha.sdk._stream import EventStream, all_of
from malha.sdk._uuid7 import uuid7
from malha.sdk.errors import DeadlineExceeded, FailedPrecondition, MalhaError, QuotaExceeded, ServerError, Unavailable

__all__ = ["ChatAnswer", "ChatDelta", "ChatMessage", "ChatModel", "ChatRole", "ChatStream", "Citation"]

ChatRole = Literal["user", "assistant"]
"""Who wrote a message."""

_AUTHORS: Mapping[str, chat.Author] = {"user": chat.Author.USER, "assistant": chat.Author.ASSISTANT}
_FAILURES: Mapping[str, type[MalhaError]] = {
    "BUDGET_EXHAUSTED": QuotaExceeded,
    "MODEL_BUSY": QuotaExceeded,
    "MODEL_RATE_LIMITED": QuotaExceeded,
    "MODEL_REFUSED": FailedPrecondition,
}


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """Something that was written earlier."""

    role: ChatRole
    text: str


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """More of the answer, to append."""

    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A piece of a document that was read for an answer."""

    document_id: str
    title: str
    quote: str
    score: float
    """How well it fits; comparable within one answer only."""


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """The whole answer, and what is known of it."""

    text: str
    alias: str
    """In force."""
    model: str
    """That answered, after any fallback."""
    engine: str
    """``openai``, ``anthropic`` or ``extractive``."""
    finish_reason: str
    """``stop``, ``length``, ``cancelled``, or ``error``: then ``text`` is what was said until then."""
    reason: str = ""
    """Why there is no answer, or only part of one, or why it could not be kept: UPPER_SNAKE_CASE."""
    degraded: bool = False
    """Whether a stand-in answered."""
    cached: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """In the currency of the server's models file; 0 where no price is set."""
    first_token_seconds: float = 0.0
    total_seconds: float = 0.0
    citations: tuple[Citation, ...] = ()
    message_id: str = ""
    """As stored in the conversation; empty without one."""
    retry_after_seconds: float | None = None
    """When to ask again, where the answer failed and a model's server said when."""


@dataclass(frozen=True, slots=True)
class ChatModel:
    """An alias of a language model."""

    alias: str
    """As given to ``alias=``."""
    model: str
    engine: str
    fallbacks: tuple[str, ...]
    """Who is asked where it fails, in order."""
    breaker: str
    """``closed`` (works), ``open`` (not asked) or ``half_open`` (being tried)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """What ``open`` says, and what was written before."""

    alias: str = ""
    conversation_id: str = ""
    knowledge_base: str = ""
    system: str = ""
    history: tuple[ChatMessage, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    language: str = ""
    timeout_seconds: float | None = None
    cache_seconds: float | None = None

    def to_messages(self, question: str, received: str = "", name: str = "") -> list[chat.ChatRequest]:
        """All requests of the stream. ``received``: what is there of the answer, which goes on right after it. ``name``: by which a server
        knows that the same is asked again. Raises InvalidRequest.
        """
        for message in self.history:
            check_choice("role", message.role, get_args(ChatRole))
        said = [chat.Message(author=chat.Author.SYSTEM, text=self.system, context=True)] if self.system else []
        said += [chat.Message(author=_AUTHORS[message.role], text=message.text, context=True) for message in self.history]
        said.append(chat.Message(author=chat.Author.USER, text=question, received=received, external_id=name))
        return [
            chat.ChatRequest(open=self._open()),
            *(chat.ChatRequest(message=message) for message in said),
            chat.ChatRequest(finish=chat.Finish()),
        ]

    def _open(self) -> chat.Open:
        parameters = chat.Parameters(
            temperature=self.temperature, max_tokens=self.max_tokens, top_p=self.top_p, seed=self.seed, stop=list(self.stop)
        )
        return chat.Open(
            alias=self.alias,
            conversation_id=self.conversation_id,
            knowledge_base=self.knowledge_base,
            parameters=parameters,
            response_schema="" if self.schema is None else json.dumps(self.schema),
            language=self.language,
            timeout=_duration(self.timeout_seconds),
            cache_ttl=_duration(self.cache_seconds),
        )


class ChatStream(AskingStream[ChatDelta | ChatAnswer]):
    """An answer as it is made, by ``Malha.chat``: ChatDelta after ChatDelta, at last the ChatAnswer. Leaving the loop, or the ``async with``
    block, stops the model.

    Where the server is lost midway, it or another one is asked for the rest, for up to 60 s without progress; the iteration just goes on. An
    answer to a schema is asked for again as long as nothing of it came.
    """

    _method = "/malha.api.chat.v1.ChatService/Chat"
    _cut_short = "the server ended the answer before it was whole"

    def __init__(
        self, connection: Connection, settings: ChatSettings, question: str, running: set[EventStream[Any]], *, resume: bool = True
    ) -> None:
        """``resume``: whether to survive losses. Raises InvalidRequest."""
        super().__init__(connection, running, resume=resume)
        settings.to_messages(question)  # what is wrong is told here, not in the iteration
        self._settings = settings
        self._question = question
        self._name = str(uuid7())
        self._begun_at: float | None = None
        self._in_force = chat.Opened()
        self._text: list[str] = []

    def _requests(self) -> list[chat.ChatRequest]:
        settings = replace(self._settings, timeout_seconds=self._left_seconds())
        return settings.to_messages(self._question, "".join(self._text), self._name)

    def _left_seconds(self) -> float | None:
        """Of the time that the answer may take, the losses included. Raises DeadlineExceeded."""
        timeout, now = self._settings.timeout_seconds, asyncio.get_running_loop().time()
        if timeout is None or self._begun_at is None:
            self._begun_at = now
            return timeout
        left = self._begun_at + timeout - now
        if left <= 0:
            raise DeadlineExceeded(f"the server was lost, and the answer did not come within {timeout:g} s", reason="ANSWER_TIMEOUT")
        return left

    def _can_go_on(self) -> bool:
        return self._settings.schema is None or not self._text

    def _translate(self, response: bytes) -> ChatDelta | ChatAnswer | None:
        _, event = betterproto2.which_one_of(chat.ChatResponse.parse(response), "event")
        match event:
            case chat.Opened():
                self._opened = True
                self._in_force = event
            case chat.Delta():
                self._setback = None
                self._text.append(event.text)
                return ChatDelta(event.text)
            case chat.MessageEnd():
                self._answered = True
                return self._answer(event)
            case chat.Closed():
                self._closed = True
            case _:
                pass
        return None

    def _answer(self, end: chat.MessageEnd) -> ChatAnswer:
        return ChatAnswer(
            text="".join(self._text),
            alias=self._in_force.alias,
            model=end.model,
            engine=end.engine or self._in_force.engine,
            finish_reason=end.finish_reason,
            reason=end.reason,
            degraded=end.degraded,
            cached=end.cached,
            prompt_tokens=end.prompt_tokens,
            completion_tokens=end.completion_tokens,
            cost=end.cost,
            first_token_seconds=seconds(end.first_token),
            total_seconds=seconds(end.total),
            citations=tuple(Citation(cited.document_id, cited.title, cited.quote, cited.score) for cited in end.citations),
            message_id=end.message_id,
            retry_after_seconds=None if end.retry_after is None else end.retry_after.total_seconds(),
        )


async def gather(stream: ChatStream) -> ChatAnswer:
    """The whole answer. Raises what the stream raises, and the error of an answer that is none or not whole."""
    answer: ChatAnswer | None = None
    async for event in all_of(stream):
        if isinstance(event, ChatAnswer):
            answer = event
    if answer is None:
        raise ServerError("the server gave no answer", reason="ENDED_EARLY")
    if answer.finish_reason in {"error", "cancelled"}:
        kind = _FAILURES.get(answer.reason, Unavailable)
        raise kind(
            "the model gave no answer, or only part of one",
            reason=answer.reason or "MODEL_UNAVAILABLE",
            retry_after_seconds=answer.retry_after_seconds,
        )
    return answer


async def models(connection: Connection) -> tuple[ChatModel, ...]:
    """The aliases, by name."""
    answer = await connection.unary("/malha.api.chat.v1.ChatService/ListModels", chat.ListModelsRequest(), chat.ListModelsResponse)
    return tuple(ChatModel(model.alias, model.model, model.engine, tuple(model.fallbacks), model.breaker) for model in answer.models)


def texts_of(given: str | Iterable[str]) -> tuple[str, ...]:
    """One text, or several."""
    return (given,) if isinstance(given, str) else tuple(given)


def _duration(given_seconds: float | None) -> dt.timedelta | None:
    return None if given_seconds is None else dt.timedelta(seconds=given_seconds)
