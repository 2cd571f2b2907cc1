"""Whom to ask, and whom next: routing, fallback, breakers, deadlines and places, once around every engine.

An answer comes from one deployment. While nothing of it was sent, a failure goes to the next of the chain. An answer that was begun, here or in a
stream that was lost, goes on: a deployment that continues is given the beginning, and asked before others, which are asked for the whole and have to
say the same first. Where it broke is asked once more, then the rest of the chain up to the first that says something else; if nobody goes on, it
ends with STREAM_BROKEN. An answer to a schema is sent when it is whole and satisfies it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from malha.chat.accounts import Account
from malha.chat.attempt import UNBEGUN, Attempt, Opening, Question
from malha.chat.deployments import Deployed, Models
from malha.chat.engine import Delta
from malha.chat.errors import AnswerDiffers, BudgetExhausted, ModelAnswerInvalid, ModelBusy, ModelRateLimited, ModelTimeout, PromptTooLong
from malha.chat.prompts import prompt_tokens
from malha.runtime.errors import MalhaError

ENDS: Final = {"length": ("length", "MAX_TOKENS"), "filter": ("error", "CONTENT_FILTERED")}
"""Finish reason and reason of an answer that is not whole, by what its model said."""
_GRAVITY: Final = (BudgetExhausted, ModelBusy, ModelRateLimited, ModelTimeout, ModelAnswerInvalid)
"""Of several failures the one that is told: the first of these, else the last."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How an answer ended. Times in seconds since it was asked; ``reason`` as in the contract's MessageEnd.

    ``completion_tokens`` and ``cost`` are of all calls that said something of it now.
    """

    deployment: str
    model: str
    engine: str
    finish_reason: str
    reason: str = ""
    degraded: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_seconds: float | None = None
    total_seconds: float = 0.0
    cost: float = 0.0
    retry_seconds: float | None = None
    """When to ask again, where it failed and a model's server said when."""


class Router:
    """Answers questions with the models in force."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def first(self, alias: str, purpose: str, tokens: int) -> Deployed:
        """The deployment that would be asked first. Raises NotFound for an alias that has left the file."""
        file = self._models.file
        return self._models.chain(file.aliases[file.alias_for(alias, purpose)].start(purpose, tokens))[0]

    def most_tokens(self, alias: str, purpose: str) -> int:
        """That the roomiest deployment an alias leads to can read. Raises NotFound for an alias that has left the file."""
        file = self._models.file
        starts = file.aliases[file.alias_for(alias, purpose)].deployments
        return max(deployed.settings.context_tokens for start in starts for deployed in self._models.chain(start))

    async def answer(self, question: Question, account: Account) -> AsyncGenerator[Delta | Answer, None]:
        """Deltas and then one Answer.

        Raises InvalidArgument (PROMPT_TOO_LONG) and ResourceExhausted where nothing was sent, NotFound for an alias that has left the file.
        """
        run = _Run(self._models, question, account)
        async with aclosing(run.pieces()) as pieces:
            async for piece in pieces:
                yield piece


class _Run:
    """One question on its way along the chain."""

    def __init__(self, models: Models, question: Question, account: Account) -> None:
        self._models = models
        self._question = question
        self._account = account
        self._tokens = prompt_tokens(question.ask)
        alias = models.file.aliases[models.file.alias_for(question.alias, question.purpose)]
        self._chain = models.chain(alias.start(question.purpose, self._tokens))
        self._began = time.monotonic()
        seconds = question.timeout_seconds or alias.timeout_seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._said = question.ask.begun
        """All that the client has of the answer, in an earlier stream or this one."""
        self._broken: list[Attempt] = []
        """Calls that broke in their midst."""
        self._first_token: float | None = None
        self._retry_seconds: float | None = None

    async def pieces(self) -> AsyncGenerator[Delta | Answer, None]:
        failure: MalhaError | None = None
        waiting = await self._in_order(self._chain)
        while waiting:
            deployed, *waiting = waiting
            attempt, before = await self._attempt(deployed, last=not waiting), self._said
            try:
                async with aclosing(self._tell(attempt)) as deltas:
                    async for delta in deltas:
                        yield delta
            except MalhaError as error:
                failure = _graver(failure, error)
                self._retry_seconds = _sooner(self._retry_seconds, error.retry_seconds)
                if self._broken and isinstance(error, AnswerDiffers):
                    break
                if self._said != before:
                    if isinstance(error, BudgetExhausted):
                        yield self._answered(attempt, finish_reason="error", reason=error.reason)
                        return
                    again = [deployed] if all(broken.deployed is not deployed for broken in self._broken) else []
                    self._broken.append(attempt)
                    waiting = await self._in_order([*again, *waiting])
                continue
            yield self._answered(attempt)
            return
        assert failure is not None
        async with aclosing(self._give_up(failure)) as rest:
            async for piece in rest:
                yield piece

    async def _in_order(self, candidates: Iterable[Deployed]) -> list[Deployed]:
        """Whom to ask, the first first: once the answer is begun, those that continue it."""
        if not self._said:
            return list(candidates)
        continues = [(await deployed.continues(), deployed) for deployed in candidates]
        return [deployed for wanted in (True, False) for able, deployed in continues if able is wanted]

    async def _tell(self, attempt: Attempt) -> AsyncGenerator[Delta, None]:
        """The deltas of an attempt; to a schema, the whole answer as one."""
        whole = self._question.ask.schema is not None
        async with aclosing(attempt.run()) as deltas:
            async for delta in deltas:
                self._note_first()
                if not whole:
                    self._said += delta.text
                    yield delta
        if whole:
            self._said = attempt.text
            yield Delta(attempt.text)

    async def _give_up(self, failure: MalhaError) -> AsyncGenerator[Delta | Answer, None]:
        """Nobody of the chain answered: the extractive engine does, where it may; limits and wrong requests are told instead."""
        if self._broken:
            yield self._answered(self._broken[-1], finish_reason="error", reason=AnswerDiffers.default_reason)
            return
        if isinstance(failure, BudgetExhausted | PromptTooLong):
            raise failure
        extractive = self._models.last_resort
        if self._models.file.last_resort and self._question.ask.schema is None and extractive not in self._chain:
            self._deadline = asyncio.get_running_loop().time() + extractive.settings.timeouts.total_seconds
            attempt = await self._attempt(extractive, last=True)
            try:
                async with aclosing(self._tell(attempt)) as deltas:
                    async for delta in deltas:
                        yield delta
            except AnswerDiffers:  # another began it
                pass
            else:
                yield self._answered(attempt)
                return
        if isinstance(failure, ModelBusy):
            raise failure
        last = self._chain[-1]
        yield Answer(
            last.name,
            last.settings.model_name,
            last.settings.engine,
            "error",
            failure.reason,
            total_seconds=time.monotonic() - self._began,
            retry_seconds=failure.retry_seconds,
        )

    async def _attempt(self, deployed: Deployed, *, last: bool) -> Attempt:
        opening = Opening.of(self._said, await deployed.continues()) if self._said else UNBEGUN
        degraded = bool(self._broken) or deployed is not self._chain[0]
        return Attempt(deployed, self._question, self._account, self._tokens, self._deadline, opening, last=last, degraded=degraded)

    def _note_first(self) -> None:
        if self._first_token is None:
            self._first_token = time.monotonic() - self._began

    def _answered(self, attempt: Attempt, *, finish_reason: str = "", reason: str = "") -> Answer:
        ended = ENDS.get(attempt.finish_reason, (attempt.finish_reason, ""))
        made = {id(each): each for each in (*self._broken, attempt)}.values()
        return Answer(
            attempt.deployed.name,
            attempt.model,
            attempt.deployed.settings.engine,
            finish_reason or ended[0],
            reason or ended[1],
            attempt.degraded,
            attempt.prompt_tokens,
            sum(each.completion_tokens for each in made),
            self._first_token,
            time.monotonic() - self._began,
            sum(each.cost for each in made),
            self._retry_seconds if finish_reason else None,
        )


def _graver(one: MalhaError | None, other: MalhaError) -> MalhaError:
    """Which of two failures says more to the caller."""
    if one is None:
        return other
    for kind in _GRAVITY:
        for error in (other, one):
            if isinstance(error, kind):
                return error
    return other


def _sooner(one: float | None, other: float | None) -> float | None:
    """When the first of two servers can be asked again."""
    return min((given for given in (one, other) if given is not None), default=None)
