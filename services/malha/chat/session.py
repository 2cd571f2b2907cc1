"""One stream of Chat: messages are read while an answer is under way, answered one after the other, and stopped on request."""

import asyncio
import uuid
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Final

from google.protobuf.duration_pb2 import Duration

from malha.api.chat.v1 import chat_pb2 as api
from malha.chat.accounts import Account
from malha.chat.answering import Answerer, Chatting, Told
from malha.chat.engine import Role, Source, Turn
from malha.chat.engines.extractive import quoted
from malha.chat.exchange import Exchange
from malha.chat.models_file import EXTRACTIVE
from malha.chat.prompts import tokens_of
from malha.chat.router import ENDS, Answer
from malha.chat.settings import ChatSettings
from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, Internal, InvalidArgument, MalhaError, ResourceExhausted
from malha.runtime.logs import Event
from malha.runtime.stream import Stream

log = logs.get("chat.session")

ChatStream = Stream[api.ChatRequest, api.ChatResponse]
ROLES: Final = {
    api.AUTHOR_UNSPECIFIED: Role.USER,
    api.AUTHOR_USER: Role.USER,
    api.AUTHOR_ASSISTANT: Role.ASSISTANT,
    api.AUTHOR_SYSTEM: Role.SYSTEM,
}
MOST_INSTRUCTIONS: Final = 200_000
"""Characters of a stream's instructions together."""


_CANCELLED: Final = "cancelled"
_WHOLE: Final = frozenset({"stop", "length", _CANCELLED})
"""How an answer ended that is all there will be. One that ended otherwise goes on when its question is asked again."""


class ReaderSlow(DeadlineExceeded):
    """The answer is not read: read it, or cancel it."""

    default_reason = "READER_SLOW"


_FATAL: Final = (ResourceExhausted, InvalidArgument, ReaderSlow)
"""What ends the stream with its status. Other failures end one answer, and the stream goes on."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A message of the stream. ``asked``: it is to be answered. ``received``: what the client has of its answer. ``name``: the client's, or empty."""

    turn: Turn
    asked: bool
    received: str
    name: str


@dataclass(slots=True)
class _Underway:
    """An answer that is being given. Times by the monotonic clock."""

    began: float
    account: Account
    exchange: Exchange = field(default_factory=Exchange)
    text: str = ""
    """All of it, what was given before included."""
    first: float | None = None
    told: Told | None = None


class Session:
    """Runs one stream. ``model`` is named for answers that ended before one could be asked."""

    def __init__(self, stream: ChatStream, answerer: Answerer, chat: Chatting, settings: ChatSettings, model: str) -> None:
        self._stream = stream
        self._answerer = answerer
        self._chat = chat
        self._settings = settings
        self._model = model
        self._instructions = ""
        self._context: deque[Turn] = deque(maxlen=settings.chat_context_messages)
        self._waiting: deque[_Said] = deque()
        self._questions = 0
        self._wake = asyncio.Event()
        self._finished = False
        self._answering: asyncio.Task[None] | None = None
        self._cancel_next = False
        self._answers = 0

    async def run(self) -> None:
        """Until the client finishes or is lost. Raises what ends the stream otherwise."""
        worker = asyncio.create_task(self._work(), name="chat-answers")
        worker.add_done_callback(self._worker_ended)
        try:
            async for request in self._stream:
                self._take(request)
            self._finished = True
            self._wake.set()
            await asyncio.wait([worker])
        finally:
            worker.cancel()
            await asyncio.wait([worker])
        worker.result()
        await self._send(api.ChatResponse(closed=api.Closed(answers=self._answers)))

    def _take(self, request: api.ChatRequest) -> None:
        if request.WhichOneof("request") == "cancel":
            self._cancel()
            return
        message = request.message
        asked = ROLES[message.author] is Role.USER and not message.context
        if message.received and not (asked and self._chat.schema is None):
            raise InvalidArgument(
                "`received` goes with a message that is to be answered, and in free text",
                reason="RECEIVED_UNEXPECTED",
                violations={"message.received": "no answer of this message goes on"},
            )
        said = _Said(Turn(ROLES[message.author], message.text), asked, message.received, message.external_id)
        most = self._settings.chat_waiting_messages
        if (said.asked and self._questions >= most) or len(self._waiting) >= most + self._settings.chat_context_messages:
            raise ResourceExhausted(
                "too many messages wait: read the answers first", reason="TOO_MANY_MESSAGES", retry_seconds=1.0, quota="waiting_messages"
            )
        self._questions += said.asked
        self._waiting.append(said)
        self._wake.set()

    def _cancel(self) -> None:
        """Stop the answer under way, or the one that is about to be."""
        if self._answering is not None:
            self._answering.cancel()
        elif self._questions:
            self._cancel_next = True

    def _worker_ended(self, worker: "asyncio.Task[None]") -> None:
        """While the session reads, a status must leave before its read is cancelled: the stream sees to that."""
        if worker.cancelled() or (error := worker.exception()) is None:
            return
        if isinstance(error, MalhaError):
            self._stream.end(error)
        else:
            log.error(Event.RPC_DEFECT, cause=error, service="chat")
            self._stream.end(Internal("a defect of Malha; its log has the place"))

    async def _work(self) -> None:
        """Take messages in their order until the last one is answered."""
        while True:
            while self._waiting:
                said = self._waiting.popleft()
                if said.asked:
                    with self._answerer.underway.answering(self._chat.conversation):
                        await self._answer_one(said)
                    self._questions -= 1
                else:
                    await self._note(said.turn)
            if self._finished:
                return
            self._wake.clear()
            await self._wake.wait()

    async def _note(self, turn: Turn) -> None:
        """Context. Instructions are the caller's own words and stay as they are."""
        if turn.role is not Role.SYSTEM and not self._answerer.is_history(turn.text):
            self._context.clear()  # neither it nor what came before it would be told
            return
        if turn.role is not Role.SYSTEM:
            self._context.append(Turn(turn.role, await self._answerer.scrub(self._chat, turn.text)))
            return
        if len(self._instructions) + len(turn.text) > MOST_INSTRUCTIONS:
            raise InvalidArgument("the instructions are too long together", reason="PROMPT_TOO_LONG")
        self._instructions = f"{self._instructions}\n\n{turn.text}" if self._instructions else turn.text

    async def _answer_one(self, said: _Said) -> None:
        """One answer, to its `message_end`, however it ends."""
        underway = _Underway(monotonic(), self._answerer.account(self._chat))
        self._answerer.check_fits(self._chat, said.turn.text + said.received)
        question = await self._answerer.scrub(self._chat, said.turn.text)
        received = await self._answerer.scrub_answer(self._chat, said.received)
        reason = ""
        self._answering = asyncio.create_task(self._answer(underway, question, received, said.name), name="chat-answer")
        if self._cancel_next:
            self._cancel_next = False
            self._answering.cancel()
        try:
            await asyncio.wait([self._answering])
        except asyncio.CancelledError:
            await self._give_up(underway)
            raise
        if self._answering.cancelled():
            reason = _CANCELLED
        elif (error := self._answering.exception()) is not None:
            if not isinstance(error, MalhaError) or isinstance(error, _FATAL):
                raise error
            reason = error.reason
        await self._end(underway, question, reason)
        self._answering = None  # until then `cancel` means this one

    async def _answer(self, underway: _Underway, question: str, received: str, name: str) -> None:
        exchange = await self._answerer.exchanges.begin(self._chat.tenant_id, self._chat.conversation, question, received, name)
        underway.exchange, underway.text = exchange, exchange.begun
        if rest := exchange.begun[len(received) :]:
            await self._tell(underway, rest)
        if exchange.whole is not None:
            finish_reason, reason = ENDS["length"] if exchange.cut else ("stop", "")
            underway.told = Told(Answer("", self._model, "", finish_reason, reason))
            return
        pieces = self._answerer.answer(self._chat, self._instructions, tuple(self._context), question, exchange, underway.account)
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Told):
                    underway.told = piece
                    continue
                underway.text += piece.text
                await self._tell(underway, piece.text)

    async def _tell(self, underway: _Underway, text: str) -> None:
        if underway.first is None:
            underway.first = monotonic() - underway.began
        await self._send(api.ChatResponse(delta=api.Delta(text=text)))

    def _keep(self, underway: _Underway, *, whole: bool, cut: bool = False) -> "asyncio.Task[uuid.UUID | None]":
        scrub = partial(self._answerer.scrub_answer, self._chat)
        return self._answerer.exchanges.keep_later(underway.exchange, underway.text, self._chat.alias, scrub, whole=whole, cut=cut)

    async def _give_up(self, underway: _Underway) -> None:
        """The client is lost: stop the model, keep what was sent."""
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.wait([self._answering])
        self._keep(underway, whole=False)

    async def _end(self, underway: _Underway, question: str, reason: str) -> None:
        """Keep the exchange and tell how it ended. An answer that cannot be kept is told all the same."""
        message_id = None
        ended = reason if underway.told is None else underway.told.answer.finish_reason
        try:
            message_id = await asyncio.shield(self._keep(underway, whole=ended in _WHOLE, cut=ended == "length"))
        except MalhaError as error:
            reason = reason or error.reason
        except TimeoutError:
            reason = reason or "STORE_UNAVAILABLE"
        if self._chat.conversation is None and underway.text:
            self._context += [Turn(Role.USER, question), Turn(Role.ASSISTANT, underway.text)]
        self._answers += 1
        end = self._message_end(underway, reason)
        end.message_id = str(message_id or "")
        await self._send(api.ChatResponse(message_end=end))

    def _message_end(self, underway: _Underway, reason: str) -> api.MessageEnd:
        told = underway.told
        end = api.MessageEnd(total=_duration(monotonic() - underway.began), first_token=_duration(underway.first))
        if told is None:
            end.model = self._model
            end.finish_reason = _CANCELLED if reason == _CANCELLED else "error"
            end.reason = "" if reason == _CANCELLED else reason
            made = underway.text[len(underway.exchange.begun) :]
            end.completion_tokens = tokens_of(made) if made else 0
            if calls := underway.account.calls:
                end.prompt_tokens, end.cost = calls[-1].prompt_tokens, sum(call.cost for call in calls)
            return end
        answer: Answer = told.answer
        end.model, end.engine = answer.model, answer.engine
        end.prompt_tokens, end.completion_tokens = answer.prompt_tokens, answer.completion_tokens
        end.finish_reason, end.reason = answer.finish_reason, answer.reason or reason
        end.degraded, end.cached, end.cost = answer.degraded, told.cached, answer.cost
        if answer.retry_seconds is not None:
            end.retry_after.FromNanoseconds(round(answer.retry_seconds * 1e9))
        if underway.text:
            sources = quoted(underway.text, told.sources) if answer.engine == EXTRACTIVE else told.sources
            end.citations.extend(map(citation, sources))
        return end

    async def _send(self, response: api.ChatResponse) -> None:
        """Send once there is room. A client that has stopped reading must not hold its place at the model for ever."""
        try:
            async with asyncio.timeout(self._settings.chat_reader_seconds):
                await self._stream.send(response)
        except TimeoutError:
            raise ReaderSlow(f"the answer was not read for {self._settings.chat_reader_seconds:g} s") from None


def citation(source: Source) -> api.Citation:
    """A piece of a document, as the contract has it."""
    return api.Citation(document_id=source.document_id, title=source.title, quote=source.text, score=source.score)


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
