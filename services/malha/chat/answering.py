"""A question's way to its answer: scrubbed, with its history and what the knowledge base holds, from the cache or a model, and kept."""

import hashlib
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from malha.chat import metrics
from malha.chat.accounts import Account, Books, Hold
from malha.chat.attempt import Question
from malha.chat.calls import Call, CallContext, Outcome
from malha.chat.deployments import Models
from malha.chat.engine import OWN_SAMPLING, Ask, Delta, Sampling, Source, Turn
from malha.chat.errors import PromptTooLong
from malha.chat.exchange import Exchange, Exchanges
from malha.chat.knowledge.bases import KnowledgeBases
from malha.chat.prompts import PERSONA, QUOTING, prompt_tokens, tokens_of
from malha.chat.questions import said_in
from malha.chat.router import Answer, Router
from malha.chat.scrubbing import Scrubbers
from malha.chat.settings import ChatSettings
from malha.chat.status import Underway
from malha.chat.store import cache, history
from malha.runtime.errors import FailedPrecondition, MalhaError, NotFound
from malha.store.database import Database


@dataclass(frozen=True, slots=True)
class Chatting:
    """What one chat was opened with. ``conversation`` and ``knowledge_base`` need a database."""

    tenant: str
    tenant_id: uuid.UUID | None
    alias: str
    purpose: str = "chat"
    conversation: uuid.UUID | None = None
    knowledge_base: str = ""
    sampling: Sampling = OWN_SAMPLING
    max_tokens: int | None = None
    schema: Mapping[str, Any] | None = None
    prompt_version: str = ""
    timeout_seconds: float | None = None
    cache_ttl: timedelta | None = None
    session_id: uuid.UUID | None = None
    language: str = ""

    @property
    def context(self) -> CallContext:
        """Of its calls."""
        return CallContext(self.tenant_id, self.purpose, self.alias, self.prompt_version, self.conversation, self.session_id)

    @property
    def cacheable(self) -> bool:
        """Whether an answer may be given twice: nobody asked for another one each time."""
        return self.cache_ttl is not None and self.tenant_id is not None and not self.sampling.temperature


@dataclass(frozen=True, slots=True)
class Told:
    """The end of an answer."""

    answer: Answer
    sources: tuple[Source, ...] = ()
    cached: bool = False


class Answerer:
    """Answers the questions of all chats."""

    def __init__(
        self,
        settings: ChatSettings,
        models: Models,
        books: Books,
        bases: KnowledgeBases | None,
        scrubbers: Scrubbers,
        database: Database | None,
    ) -> None:
        self._settings = settings
        self._models = models
        self._router = Router(models)
        self._books = books
        self._bases = bases
        self._database = database
        self._scrubbers = scrubbers
        self.exchanges = Exchanges(self._tx, settings.chat_history_messages)
        self.underway = Underway()

    async def find_conversation(self, tenant_id: uuid.UUID | None, name: str) -> tuple[uuid.UUID, int]:
        """A conversation's id, and how many messages of it would be read. Raises NotFound, FailedPrecondition without a database."""
        async with self._tx(tenant_id) as connection:
            found = await history.find(connection, name)
            return found, await history.count(connection, found, self._settings.chat_history_messages)

    async def scrub(self, chat: Chatting, text: str) -> str:
        """What a user said, without personal data where the tenant does not keep it."""
        return await (await self._scrubbers.of(chat.tenant_id)).text(text, chat.language)

    async def scrub_answer(self, chat: Chatting, text: str) -> str:
        """An answer, or the beginning of one, likewise."""
        return await (await self._scrubbers.of(chat.tenant_id)).text(text, chat.language, prose=chat.schema is None)

    def check_fits(self, chat: Chatting, text: str) -> None:
        """Before a question is scrubbed, which takes seconds for the longest. Raises PromptTooLong for one that none of the models could read."""
        try:
            most = self._router.most_tokens(chat.alias, chat.purpose)
        except NotFound:  # of the alias: the answer says so
            return
        if tokens_of(text) >= most:
            raise PromptTooLong(f"the prompt does not fit the {most} tokens of the model")

    def is_history(self, text: str) -> bool:
        """Whether something said earlier could be told to a model at all."""
        return tokens_of(text) <= self._settings.chat_history_tokens

    def account(self, chat: Chatting) -> Account:
        """Of the calls for one answer."""
        return self._books.account(chat.context)

    async def answer(
        self, chat: Chatting, instructions: str, context: Sequence[Turn], question: str, exchange: Exchange, account: Account
    ) -> AsyncGenerator[Delta | Told, None]:
        """Deltas of what follows on the beginning that the exchange has, and then one Told. ``context`` and ``question`` are scrubbed.

        Raises as `Router.answer` does, and as the database does.
        """
        sources = await self._sources(chat, question)
        ask = Ask(
            question=question,
            instructions=instructions,
            begun=exchange.begun,
            history=self._fitting([*context, *exchange.before]),
            sources=sources,
            schema=chat.schema,
            language=chat.language,
            sampling=chat.sampling,
            cache_salt=_salt(chat.tenant),
        )
        key = self._key(chat, ask) if chat.cacheable else None
        if key is not None and (kept := await self._cached(chat, key, exchange.begun)) is not None:
            if rest := kept["text"][len(exchange.begun) :]:
                yield Delta(rest)
            yield Told(self._from_cache(chat, kept), ask.sources, cached=True)
            return
        text = ""
        asked = Question(chat.alias, chat.purpose, ask, chat.tenant, chat.max_tokens, chat.timeout_seconds)
        async with aclosing(self._router.answer(asked, account)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Delta):
                    text += piece.text
                    yield piece
                    continue
                if key is not None and not exchange.begun and piece.finish_reason == "stop" and not piece.degraded:
                    await self._put_into_cache(chat, key, text, piece)
                yield Told(piece, ask.sources)

    async def _sources(self, chat: Chatting, question: str) -> tuple[Source, ...]:
        """What the chat's knowledge base holds about a question."""
        if self._bases is None or not chat.knowledge_base:
            return ()
        return tuple(await self._bases.search(chat.tenant_id, chat.knowledge_base, said_in(question), self._settings.chat_sources))

    def _fitting(self, turns: Sequence[Turn]) -> tuple[Turn, ...]:
        """The newest turns that fit."""
        left, kept = self._settings.chat_history_tokens, list[Turn]()
        for turn in reversed(turns[-self._settings.chat_history_messages or len(turns) :]):
            left -= tokens_of(turn.text)
            if left < 0:
                break
            kept.append(turn)
        return tuple(reversed(kept))

    def _key(self, chat: Chatting, ask: Ask) -> bytes:
        """Of everything the answer depends on; Malha's own prompt is part of it."""
        first = self._router.first(chat.alias, chat.purpose, prompt_tokens(ask))
        parts = [
            str(chat.tenant_id),
            [first.name, first.settings.url, first.settings.model_name],
            [chat.prompt_version, chat.purpose, chat.max_tokens, hashlib.sha256((PERSONA + QUOTING).encode()).hexdigest()],
            [chat.sampling.temperature, chat.sampling.top_p, chat.sampling.seed, chat.sampling.stop],
            [ask.instructions, [[turn.role, turn.text] for turn in ask.history], ask.question, ask.schema],
            [[source.document_id, source.text] for source in ask.sources],
        ]
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()

    async def _cached(self, chat: Chatting, key: bytes, begun: str) -> Mapping[str, Any] | None:
        """The kept answer, where it begins so."""
        try:
            async with self._tx(chat.tenant_id) as connection:
                kept = await cache.get(connection, key)
        except MalhaError:
            kept = None
        if kept is not None and not kept["text"].startswith(begun):
            kept = None
        metrics.CACHE.labels("miss" if kept is None else "hit").inc()
        return kept

    async def _put_into_cache(self, chat: Chatting, key: bytes, text: str, answer: Answer) -> None:
        body = {"text": text, "deployment": answer.deployment, "model": answer.model, "engine": answer.engine}
        assert chat.cache_ttl is not None
        try:
            async with self._tx(chat.tenant_id) as connection:
                await cache.put(connection, key, body, chat.cache_ttl, chat.conversation, chat.session_id)
        except MalhaError:
            metrics.CACHE.labels("unkept").inc()

    def _from_cache(self, chat: Chatting, kept: Mapping[str, Any]) -> Answer:
        call = Call(kept["deployment"], kept["model"], Outcome.CACHED, "", 0, 0, 0.0, None, 0.0, cached=True)
        self._books.settle(chat.context, call, Hold())
        return Answer(kept["deployment"], kept["model"], kept["engine"], "stop")

    def _tx(self, tenant_id: uuid.UUID | None) -> Any:
        if self._database is None or tenant_id is None:
            raise FailedPrecondition(
                "this server keeps nothing: leave conversation_id and knowledge_base out, set MALHA_DATABASE_URL, or run `malha up`",
                reason="STORE_NOT_CONFIGURED",
            )
        return self._database.tenant_tx(tenant_id)


def _salt(tenant: str) -> str:
    """Keeps the prefix caches of tenants apart; no secret, and not the tenant's name."""
    return hashlib.sha256(f"malha:{tenant}".encode()).hexdigest()[:32]
