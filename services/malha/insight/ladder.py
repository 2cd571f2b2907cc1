"""The ladder under a question to the model.

What the model is asked has until `insight_ladder_seconds` after its trigger; then the rule engine's own answer stands in for it, marked degraded, and the
model's, once it comes, is kept and not shown.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from malha.insight import metrics
from malha.insight.analysis import Analysis
from malha.insight.asking import Answer, Ask
from malha.insight.domain import Decision, InsightType, Request
from malha.insight.messages import insight_body
from malha.insight.prompts import prompt_version
from malha.insight.store import NewInsight
from malha.insight.surroundings import Surroundings
from malha.insight.telling import Telling
from malha.insight.turns import Turn
from malha.runtime.errors import MalhaError
from malha.runtime.ids import uuid7

STAND_IN: Final = "stand-in"
NO_MODEL: Final = "NO_MODEL"
"""A lost owner asked a model, and now there is none."""

MakeAsk = Callable[[InsightType, Request], Ask]


class Ladder:
    """Puts a session's questions to the model, and sees to it that each ends once."""

    def __init__(self, analysis: Analysis, make_ask: MakeAsk, telling: Telling, around: Surroundings) -> None:
        self.late: set[asyncio.Task[Any]] = set()
        """Tasks that wait for an answer that will not be told."""
        self._analysis = analysis
        self._make_ask = make_ask
        self._telling = telling
        self._around = around

    async def request(self, request: Request, turn: Turn) -> None:
        """Ask the model for each type; without one the rule engine's insights are the answer."""
        if self._around.ask is None:
            for draft in request.fallback:
                await self._telling.show(draft, turn)
            if not request.fallback:
                self._telling.decide(Decision(False, "EMPTY", None, request.seq))
            self._telling.stored(turn)
        else:
            new = [self._question(kind, request, turn) for kind in request.types]
            added = await self._telling.add(new)
            self._telling.stored(turn)
            self._put_now(turn)
            await asyncio.gather(*(self.answer(each.id, each.type, request, turn) for each in new if each.id in added))
        self._telling.settle_turn(turn, asked=True)

    async def again(self, insight_id: uuid.UUID, kind: InsightType, request: Request, turn: Turn) -> None:
        """Put a question that a lost owner has not settled."""
        if self._around.ask is None:
            await self._stand_in(insight_id, "failed", NO_MODEL, None, kind, request, turn)
        else:
            self._put_now(turn)
            await self.answer(insight_id, kind, request, turn)
        self._telling.settle_turn(turn, asked=True)

    async def answer(self, insight_id: uuid.UUID, kind: InsightType, request: Request, turn: Turn) -> None:
        """One question to the model, with the ladder under it."""
        left = self._around.ladder_seconds - (monotonic() - turn.began)
        asked = asyncio.create_task(self._asked(kind, request, turn), name="insight-model")
        try:
            done, _ = await asyncio.wait({asked}, timeout=max(left, 0))
            if not done:
                self._telling.decide(Decision(False, "LATE", kind, request.seq))
                await self._stand_in(insight_id, "late", "LATE", None, kind, request, turn)
                await self._keep_late(insight_id, asked)
                return
            try:
                answer = asked.result()
            except MalhaError as error:
                metrics.INSIGHTS.labels(kind.value, "failed").inc()
                self._telling.decide(Decision(False, error.reason, kind, request.seq))
                await self._stand_in(insight_id, "failed", error.reason, None, kind, request, turn)
                return
        finally:
            asked.cancel()
        await self._answered(insight_id, kind, request, answer, turn)

    def _put_now(self, turn: Turn) -> None:
        if turn.interaction is not None:
            turn.interaction.ai_requested_at = datetime.now(UTC)
            self._telling.keep(turn)

    def _question(self, kind: InsightType, request: Request, turn: Turn) -> NewInsight:
        version, body = prompt_version(kind, self._analysis.language), {"trigger": request.trigger.value}
        return NewInsight(uuid7(), kind, request.seq, version, "pending", body, request.time, turn.id)

    async def _asked(self, kind: InsightType, request: Request, turn: Turn) -> Answer:
        """Wait for one of the tenant's places, then for the model."""
        assert self._around.ask is not None
        queued = monotonic()
        async with self._around.slots:
            began = monotonic()
            turn.stages["queue"] = began - queued
            answer = await self._around.ask(self._make_ask(kind, request))
            turn.stages["model"] = monotonic() - began
        if turn.interaction is not None:
            turn.interaction.ai_responded_at = datetime.now(UTC)
            turn.interaction.raw_response = answer.raw or turn.interaction.raw_response
        return answer

    async def _keep_late(self, insight_id: uuid.UUID, asked: asyncio.Task[Answer]) -> None:
        """The model's answer comes after its stand-in: it is kept. The end of the call does not wait for it."""
        task = asyncio.current_task()
        assert task is not None
        self.late.add(task)
        try:
            answer = await asked
            if self._around.store is not None and answer.draft is not None:
                body = insight_body(answer.draft, engine=answer.model, degraded=False, stages={}, interaction_id=None)
                await self._around.store.keep_late(insight_id, body)
        except MalhaError:
            return  # its row says that it was late
        finally:
            self.late.discard(task)

    async def _answered(self, insight_id: uuid.UUID, kind: InsightType, request: Request, answer: Answer, turn: Turn) -> None:
        """The model answered in time."""
        draft, reason = answer.draft, answer.reason
        if draft is not None and not reason and draft.confidence < self._around.thresholds[kind]:
            reason = "EMPTY"
        if draft is not None and not reason and self._analysis.repeats(draft):
            reason = "DUPLICATE"
        if draft is None or reason:
            status = "empty" if reason == "EMPTY" else "failed" if answer.failed else "dropped"
            metrics.INSIGHTS.labels(kind.value, status).inc()
            self._telling.decide(Decision(False, reason, kind, request.seq))
            if answer.failed:
                await self._stand_in(insight_id, status, reason, answer, kind, request, turn)
            else:
                await self._telling.settle(insight_id, status, reason, _kept(answer))
            return
        draft = replace(draft, trigger=request.trigger, seq=request.seq)
        message = insight_body(draft, engine=answer.model, degraded=answer.degraded, stages=turn.stages, interaction_id=turn.id)
        if await self._telling.settle(insight_id, "shown", "", message):
            self._telling.tell_new(insight_id, message, draft, turn)

    async def _stand_in(
        self, insight_id: uuid.UUID, status: str, reason: str, answer: Answer | None, kind: InsightType, request: Request, turn: Turn
    ) -> None:
        """End a question that has no good answer. The rule engine's takes its place in the same transaction: whoever comes to own the call finds both done, or neither."""
        draft = next((each for each in request.fallback if each.type is kind and self._telling.wanted(each, turn)), None)
        new = self._telling.new(draft, STAND_IN, turn, degraded=True) if draft is not None else None
        if await self._telling.settle(insight_id, status, reason, _kept(answer), new) and draft is not None and new is not None:
            self._telling.tell_new(new.id, new.body, draft, turn)


def _kept(answer: Answer | None) -> dict[str, Any]:
    """What is kept of an answer that is not shown."""
    if answer is None or answer.draft is None:
        return {}
    return insight_body(answer.draft, engine=answer.model, degraded=answer.degraded, stages={}, interaction_id=None)
