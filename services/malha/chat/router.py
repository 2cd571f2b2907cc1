"""Whom to ask, and whom next: routing, fallback, breakers, deadlines and places, once around every engine.

An answer comes from one deployment. While nothing of it was sent, a failure goes to the next of the chain. Once text was sent, a broken answer is
asked for whole, first where it broke and then along the chain, and goes on only if the whole begins with what was sent; otherwise it ends with
STREAM_BROKEN. An answer to a schema is sent when it is whole and satisfies it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from malha.chat.accounts import Account
from malha.chat.attempt import Attempt, Question
from malha.chat.deployments import Deployed, Models
from malha.chat.engine import Delta
from malha.chat.errors import BudgetExhausted, ModelAnswerInvalid, ModelBusy, ModelRateLimited, ModelTimeout, PromptTooLong
from malha.chat.prompts import prompt_tokens
from malha.runtime.errors import MalhaError

_ENDS: Final = {"length": ("length", "MAX_TOKENS"), "filter": ("error", "CONTENT_FILTERED")}
"""Finish reason and reason of an answer that is not whole, by what its model said."""
_GRAVITY: Final = (BudgetExhausted, ModelBusy, ModelRateLimited, ModelTimeout, ModelAnswerInvalid)
"""Of several failures the one that is told: the first of these, else the last."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How an answer ended. Times in seconds since it was asked; ``reason`` as in the contract's MessageEnd."""

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
        self._said = ""
        self._first_token: float | None = None

    async def pieces(self) -> AsyncGenerator[Delta | Answer, None]:
        failure: MalhaError | None = None
        for place, deployed in enumerate(self._chain):
            attempt = self._attempt(deployed, last=place == len(self._chain) - 1, degraded=place > 0)
            try:
                async with aclosing(self._tell(attempt)) as deltas:
                    async for delta in deltas:
                        yield delta
            except MalhaError as error:
                if self._said:
                    async with aclosing(self._complete(attempt, error, self._chain[place:])) as rest:
                        async for piece in rest:
                            yield piece
                    return
                failure = _graver(failure, error)
                continue
            yield self._answered(attempt, degraded=place > 0)
            return
        assert failure is not None
        async with aclosing(self._give_up(failure)) as rest:
            async for piece in rest:
                yield piece

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

    async def _complete(self, broken: Attempt, error: MalhaError, candidates: list[Deployed]) -> AsyncGenerator[Delta | Answer, None]:
        """Go on with an answer that broke: asked for whole, it has to begin with what was sent."""
        if isinstance(error, BudgetExhausted):
            yield self._answered(broken, finish_reason="error", reason=error.reason)
            return
        retry_seconds = error.retry_seconds
        for number, deployed in enumerate(candidates):
            attempt = self._attempt(deployed, last=number == len(candidates) - 1, degraded=True)
            try:
                async with aclosing(attempt.run()) as deltas:
                    async for _ in deltas:
                        pass
            except MalhaError as failure:
                retry_seconds = _sooner(retry_seconds, failure.retry_seconds)
                continue
            if attempt.text.startswith(self._said):
                rest = attempt.text[len(self._said) :]
                if rest:
                    yield Delta(rest)
                yield self._answered(attempt, degraded=True)
                return
            break
        yield replace(self._answered(broken, finish_reason="error", reason="STREAM_BROKEN"), retry_seconds=retry_seconds)

    async def _give_up(self, failure: MalhaError) -> AsyncGenerator[Delta | Answer, None]:
        """Nobody of the chain answered: the extractive engine does, where it may; limits and wrong requests are told instead."""
        if isinstance(failure, BudgetExhausted | PromptTooLong):
            raise failure
        extractive = self._models.last_resort
        wanted = self._models.file.last_resort and self._question.ask.schema is None and extractive not in self._chain
        if not wanted:
            if isinstance(failure, ModelBusy):
                raise failure
            total = time.monotonic() - self._began
            last = self._chain[-1]
            yield Answer(
                last.name,
                last.settings.model_name,
                last.settings.engine,
                "error",
                failure.reason,
                total_seconds=total,
                retry_seconds=failure.retry_seconds,
            )
            return
        self._deadline = asyncio.get_running_loop().time() + extractive.settings.timeouts.total_seconds
        attempt = self._attempt(extractive, last=True, degraded=True)
        async with aclosing(self._tell(attempt)) as deltas:
            async for delta in deltas:
                yield delta
        yield self._answered(attempt, degraded=True)

    def _attempt(self, deployed: Deployed, *, last: bool, degraded: bool) -> Attempt:
        return Attempt(deployed, self._question, self._account, self._tokens, self._deadline, last=last, degraded=degraded)

    def _note_first(self) -> None:
        if self._first_token is None:
            self._first_token = time.monotonic() - self._began

    def _answered(self, attempt: Attempt, *, finish_reason: str = "", reason: str = "", degraded: bool = False) -> Answer:
        ended = _ENDS.get(attempt.finish_reason, (attempt.finish_reason, ""))
        return Answer(
            attempt.deployed.name,
            attempt.model,
            attempt.deployed.settings.engine,
            finish_reason or ended[0],
            reason or ended[1],
            degraded,
            attempt.prompt_tokens,
            attempt.completion_tokens,
            self._first_token,
            time.monotonic() - self._began,
            attempt.cost,
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
