"""A question and its answer as a conversation keeps them: once each, however often the answer's stream was lost.

The newest stream that answers a question takes it over in the store; what another still has of the answer, on any server, is not kept any more.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from malha.chat.engine import Role, Turn
from malha.chat.store import history
from malha.runtime.errors import InvalidArgument
from malha.store.roles import Connection

KEEP_SECONDS: Final = 10.0
"""How long keeping an answer may take."""

Scrub = Callable[[str], Awaitable[str]]
Transaction = Callable[[uuid.UUID | None], AbstractAsyncContextManager[Connection]]


class ReceivedDiffers(InvalidArgument):
    """The answer is whole, and does not begin with what the client says it received: read it in the conversation, or ask without `received`."""

    default_reason = "RECEIVED_DIFFERS"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question that is being answered. Without a conversation nothing of it is kept."""

    tenant_id: uuid.UUID | None = None
    conversation: uuid.UUID | None = None
    question_id: uuid.UUID | None = None
    answering: uuid.UUID = field(default_factory=uuid.uuid4)
    """This answering of it, among all that there were."""
    before: tuple[Turn, ...] = ()
    """The conversation up to it, the oldest first."""
    begun: str = ""
    """The beginning of its answer: what the client has of it, and what is kept beyond that."""
    whole: uuid.UUID | None = None
    """The kept answer, where ``begun`` is all of it: no model need be asked."""
    cut: bool = False
    """Whether that came to its limit of tokens."""


class Exchanges:
    """Begins and keeps the exchanges of all chats."""

    def __init__(self, transaction: Transaction, most_messages: int) -> None:
        """``transaction``: of a tenant. ``most_messages`` of a conversation are read."""
        self._transaction = transaction
        self._most = most_messages
        self._keeping: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Wait for what is being kept."""
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=KEEP_SECONDS)

    async def begin(self, tenant_id: uuid.UUID | None, conversation: uuid.UUID | None, question: str, received: str, name: str) -> Exchange:
        """Keep a question as the conversation's newest message, unless it is there already; ``received``: of its answer, by the client.

        ``name``: the client's own of the question, or empty. Raises ReceivedDiffers, InvalidArgument (MESSAGE_EXISTS), and as the database does.
        """
        if conversation is None:
            return Exchange(begun=received)
        exchange = Exchange(tenant_id, conversation, begun=received)
        async with self._transaction(tenant_id) as connection:
            if (found := await history.asked(connection, conversation, question, name, by_words=bool(received))) is not None:
                asked, kept = found
                exchange = replace(exchange, question_id=asked.id, begun=_begun(kept, received))
                if kept is not None and kept.whole:
                    return replace(exchange, whole=kept.id, cut=kept.cut)
                before = await history.newest(connection, conversation, self._most, asked)
                return await _take_over(connection, exchange, asked, before, name)
            newest = await history.newest(connection, conversation, self._most + 2)
            if (unanswered := _unanswered(newest, question)) is not None:
                return await _take_over(connection, exchange, unanswered, newest[: newest.index(unanswered)], name)
            made = await history.ask(connection, conversation, question, exchange.answering, name)
        return replace(exchange, question_id=made, before=_turns(newest))

    def keep_later(
        self, exchange: Exchange, text: str, sender: str, scrub: Scrub, *, whole: bool, cut: bool = False
    ) -> "asyncio.Task[uuid.UUID | None]":
        """Keep an answer, or the part of it that was sent, even if nobody waits for it any more; its id. ``cut``: it came to its limit of tokens."""
        task = asyncio.create_task(self._keep(exchange, text, sender, scrub, whole=whole, cut=cut), name="keep-answer")
        self._keeping.add(task)
        task.add_done_callback(self._kept)
        return task

    async def _keep(self, exchange: Exchange, text: str, sender: str, scrub: Scrub, *, whole: bool, cut: bool) -> uuid.UUID | None:
        conversation, question = exchange.conversation, exchange.question_id
        if exchange.whole is not None or conversation is None or question is None or not text:
            return exchange.whole
        text = await scrub(text)
        async with asyncio.timeout(KEEP_SECONDS), self._transaction(exchange.tenant_id) as connection:
            return await history.keep_answer(connection, conversation, question, exchange.answering, text, sender, whole=whole, cut=cut)

    def _kept(self, task: "asyncio.Task[uuid.UUID | None]") -> None:
        self._keeping.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever waits for it; if the client is gone, to nobody


async def _take_over(
    connection: Connection, exchange: Exchange, asked: history.Message, before: Sequence[history.Message], name: str
) -> Exchange:
    await history.take_over(connection, asked.id, exchange.answering, name)
    return replace(exchange, question_id=asked.id, before=_turns(before))


def _turns(messages: Sequence[history.Message]) -> tuple[Turn, ...]:
    return tuple(message.turn for message in messages)


def _begun(kept: history.KeptAnswer | None, received: str) -> str:
    """Where an answer goes on: behind what is kept of it, if the client's part is the beginning of that; else behind the client's part.

    A kept part of which the client has nothing is made anew.
    """
    if kept is not None and kept.text.startswith(received) and (received or kept.whole):
        return kept.text
    if kept is not None and kept.whole:
        raise ReceivedDiffers(
            "the kept answer is whole and does not begin with `received`: read it in the conversation, or ask without `received`",
            violations={"message.received": "is not the beginning of the kept answer"},
        )
    return received


def _unanswered(newest: list[history.Message], question: str) -> history.Message | None:
    """The question among the newest messages, where it was asked last and not answered, or only in part: it is asked again."""
    if newest and newest[-1].turn == Turn(Role.USER, question):
        return newest[-1]
    if len(newest) < 2:
        return None
    asked, answer = newest[-2:]
    again = asked.turn == Turn(Role.USER, question) and asked.answering is not None and answer.question_id == asked.id
    return asked if again else None
