"""One call of one deployment: its place, its deadlines, its breaker's verdict, its cost; told to the accounts however it ends."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from malha.chat import metrics
from malha.chat.accounts import Account, Hold
from malha.chat.calls import Call, Outcome
from malha.chat.deployments import Deployed
from malha.chat.engine import Ask, Delta, Ended, Piece
from malha.chat.errors import AnswerDiffers, BreakerOpen, BudgetExhausted, ModelAnswerInvalid, ModelTimeout, PromptTooLong
from malha.chat.prompts import tokens_of
from malha.chat.schema import check_answer
from malha.runtime.errors import MalhaError

MOST_CHARACTERS: Final = 200_000
"""Of an answer; a message of the contract has no more."""
FIRST_SHARE: Final = 0.6
"""Of the time that is left, how much a deployment may take to its first token while others could be asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to have answered, for whom. ``timeout_seconds``: None, the alias's."""

    alias: str
    purpose: str
    ask: Ask
    tenant: str
    max_tokens: int | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """How a call takes up an answer that was begun."""

    continued: str = ""
    """What the engine goes on from. Empty: it is asked for the whole."""
    repeated: str = ""
    """What it is expected to say first, which is not told again."""
    exact: bool = False
    """Whether nothing else will do. Otherwise ``repeated`` is white space, and what it says may begin with other white space."""

    @classmethod
    def of(cls, begun: str, continues: bool) -> "Opening":
        """For a deployment that continues, or does not. Templates and vendors strip the white space that an answer to go on from ends in."""
        if not continues:
            return cls(repeated=begun, exact=bool(begun))
        stem = begun.rstrip()
        return cls(stem, begun[len(stem) :])


UNBEGUN: Final = Opening()


class Attempt:
    """One call of one deployment, told to the accounts however it ends."""

    def __init__(
        self,
        deployed: Deployed,
        question: Question,
        account: Account,
        tokens: int,
        deadline: float,
        opening: Opening = UNBEGUN,
        *,
        last: bool,
        degraded: bool = False,
    ) -> None:
        self.deployed = deployed
        self.degraded = degraded
        self.text = ""
        """What this call made."""
        self.finish_reason = "stop"
        self.prompt_tokens = tokens
        self.completion_tokens = 0
        self.cost = 0.0
        self.model = deployed.settings.model_name or deployed.name
        settings = deployed.settings
        self._opening = opening
        self._joined = not opening.repeated
        limit = question.max_tokens or settings.max_tokens
        if opening.continued:
            self.prompt_tokens += tokens_of(opening.continued)
            limit = max(limit - tokens_of(opening.continued), 1)  # the model itself says that it is at its end, or at its limit
        most = min(limit, max(settings.context_tokens - self.prompt_tokens, 0))
        self._ask: Ask = replace(question.ask, begun=opening.continued, max_tokens=most)
        self._tenant = question.tenant
        self._account = account
        now = asyncio.get_running_loop().time()
        left = max(deadline - now, 0.0)
        self._deadline = min(deadline, now + settings.timeouts.total_seconds)
        self._first_by = min(self._deadline, now + min(settings.timeouts.first_token_seconds, left if last else left * FIRST_SHARE))
        self._first_token: float | None = None
        self._began = time.monotonic()
        self._told = False

    async def run(self) -> AsyncGenerator[Delta, None]:
        """The deltas, of what is behind the opening. Raises a MalhaError where there is no whole answer, or the answer is none."""
        if self._ask.max_tokens <= 0:
            raise PromptTooLong(f"the prompt does not fit the {self.deployed.settings.context_tokens} tokens of the model")
        if not self.deployed.breaker.enter():
            metrics.CALLS.labels(self.deployed.name, Outcome.BREAKER_OPEN).inc()
            raise BreakerOpen("the model failed too often and is left alone for a while", retry_seconds=self.deployed.breaker.retry_seconds)
        hold: Hold | None = None
        outcome, reason, retry_seconds = Outcome.CANCELLED, "", None
        try:
            async with self.deployed.places.place(self._tenant, self._first_by):
                hold = await self._account.reserve(self.deployed, self.prompt_tokens, self._ask.max_tokens)
                async with aclosing(self._pieces(hold)) as pieces:
                    async for delta in pieces:
                        yield delta
            self._check()
            outcome = Outcome.OK
        except MalhaError as error:
            outcome, reason, retry_seconds = Outcome.of(error), error.reason, error.retry_seconds
            raise
        finally:
            if hold is None:  # it was never asked: no place, or no budget
                self.deployed.breaker.left()
                metrics.CALLS.labels(self.deployed.name, outcome).inc()
            else:
                self.deployed.judge(outcome, retry_seconds)
                self._account.settle(self._call(outcome, reason), hold)

    async def _pieces(self, hold: Hold) -> AsyncGenerator[Delta, None]:
        limit, stall = self._first_by, self.deployed.settings.timeouts.stall_seconds
        loop = asyncio.get_running_loop()
        async with aclosing(self.deployed.engine.stream(self._ask)) as stream:
            while (piece := await _next(stream, min(limit, self._deadline))) is not None:
                if isinstance(piece, Ended):
                    self._end(piece)
                    continue
                if self._first_token is None:
                    self._first_token = time.monotonic() - self._began
                limit = loop.time() + stall
                self.text += piece.text
                if len(self._opening.continued) + len(self.text) > MOST_CHARACTERS:
                    raise ModelAnswerInvalid("the model does not stop", reason="MODEL_ANSWER_TOO_LONG")
                if hold.tokens is not None and tokens_of(self.text) > hold.tokens:
                    raise BudgetExhausted("the tenant's budget for models ran out", quota="budget")
                if more := piece.text if self._joined else self._join():
                    yield Delta(more)

    def _join(self) -> str:
        """What was made behind what the model was expected to repeat, once it has. Raises AnswerDiffers."""
        expected = self._opening.repeated
        if self.text.startswith(expected):
            self._joined = True
            return self.text[len(expected) :]
        if expected.startswith(self.text):
            return ""
        if self._opening.exact:
            raise AnswerDiffers("the whole answer does not begin with what was sent")
        more = self.text.lstrip()
        self._joined = bool(more)
        return more

    def _end(self, ended: Ended) -> None:
        self._told = ended.completion_tokens is not None
        self.finish_reason = ended.finish_reason
        self.model = ended.model or self.model
        if ended.prompt_tokens is not None:
            self.prompt_tokens = ended.prompt_tokens
        if ended.completion_tokens is not None:
            self.completion_tokens = ended.completion_tokens

    def _check(self) -> None:
        """Raise ModelAnswerInvalid or ModelAnswerCut for an answer that is none."""
        if self._ask.schema is not None:
            self.text = check_answer(self.text, self._ask.schema, cut=self.finish_reason == "length")
        elif not self._joined and self._opening.exact:
            raise AnswerDiffers("the whole answer is shorter than what was sent")
        elif not (self.text.strip() or self._opening.continued):
            raise ModelAnswerInvalid("the model answered nothing", reason="MODEL_ANSWER_EMPTY")

    def _call(self, outcome: Outcome, reason: str) -> Call:
        """What it came to. Tokens the model did not tell are estimated."""
        if not self._told:
            self.completion_tokens = tokens_of(self.text) if self.text else 0
        self.cost = self.deployed.settings.prices.cost(self.prompt_tokens, self.completion_tokens)
        return Call(
            self.deployed.name,
            self.model,
            outcome,
            reason,
            self.prompt_tokens,
            self.completion_tokens,
            time.monotonic() - self._began,
            self._first_token,
            self.cost,
            degraded=self.degraded,
        )


async def _next(stream: AsyncGenerator[Piece, None], deadline: float) -> Piece | None:
    """The next piece, None after the last. Raises ModelTimeout.

    The time-out stands around this one step: around the generator's whole it would also end whoever reads from it.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(stream, None)
    except TimeoutError:
        raise ModelTimeout("the model took too long") from None
