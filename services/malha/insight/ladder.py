"""The ladder under a question to the model.

What the model is asked has until `insight_ladder_seconds` after its trigger; then the rule engine's own answer stands in for it, marked degraded, and the
model's, once it comes, is kept and not shown.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
_Late = dict[uuid.UUID, asyncio.Task[Answer]]
"""Questions that the model has and that were stood in for."""


@dataclass(slots=True, eq=False)
class _Question:
    id: uuid.UUID
    kind: InsightType
    put: bool = False
    """Whether the model has it; until then it waits for one of the tenant's places."""


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
            self._telling.settle_turn(turn, asked=True)
            return
        new = [self._question(kind, request, turn) for kind in request.types]
        added = await self._telling.add(new)
        self._telling.stored(turn)
        await self._put([_Question(each.id, each.type) for each in new if each.id in added], request, turn)

    async def again(self, insight_id: uuid.UUID, kind: InsightType, request: Request, turn: Turn) -> None:
        """Put a question that a lost owner has not settled."""
        question = _Question(insight_id, kind)
        if self._around.ask is None:
            await self._stand_in(question, "failed", NO_MODEL, None, request, turn)
            self._telling.settle_turn(turn, asked=True)
        else:
            await self._put([question], request, turn)

    async def _put(self, questions: Sequence[_Question], request: Request, turn: Turn) -> None:
        """Questions to the model, at once. Those it answers after their stand-ins are waited for when all are told: by then nobody waits for this."""
        self._put_now(turn)
        late = _Late()
        try:
            await asyncio.gather(*(self._answer(each, request, turn, late) for each in questions))
            self._telling.settle_turn(turn, asked=True)
            await self._keep_late(late)
        finally:
            for asked in late.values():
                asked.cancel()

    async def _answer(self, question: _Question, request: Request, turn: Turn, late: _Late) -> None:
        """One question to the model, with the ladder under it."""
        left = self._around.ladder_seconds - (monotonic() - turn.began)
        asked = asyncio.create_task(self._asked(question, request, turn), name="insight-model")
        try:
            done, _ = await asyncio.wait({asked}, timeout=max(left, 0))
            if not done:
                if question.put:
                    late[question.id] = asked
                else:
                    asked.cancel()  # the place it waits for is better given to a question that can still be answered in time
                self._telling.decide(Decision(False, "LATE", question.kind, request.seq))
                await self._stand_in(question, "late", "LATE", None, request, turn)
                return
            try:
                answer = asked.result()
            except MalhaError as error:
                metrics.INSIGHTS.labels(question.kind.value, "failed").inc()
                self._telling.decide(Decision(False, error.reason, question.kind, request.seq))
                await self._stand_in(question, "failed", error.reason, None, request, turn)
                return
        finally:
            if question.id not in late:
                asked.cancel()
        await self._answered(question, request, answer, turn)

    def _put_now(self, turn: Turn) -> None:
        if turn.interaction is not None:
            turn.interaction.ai_requested_at = datetime.now(UTC)
            self._telling.keep(turn)

    def _question(self, kind: InsightType, request: Request, turn: Turn) -> NewInsight:
        version, body = prompt_version(kind, self._analysis.language), {"trigger": request.trigger.value}
        return NewInsight(uuid7(), kind, request.seq, version, "pending", body, request.time, turn.id)

    async def _asked(self, question: _Question, request: Request, turn: Turn) -> Answer:
        """Wait for one of the tenant's places, then for the model."""
        assert self._around.ask is not None
        queued = monotonic()
        async with self._around.slots:
            began = monotonic()
            question.put = True
            turn.stages["queue"] = began - queued
            answer = await self._around.ask(self._make_ask(question.kind, request))
            turn.stages["model"] = monotonic() - began
        if turn.interaction is not None:
            turn.interaction.ai_responded_at = datetime.now(UTC)
            turn.interaction.raw_response = answer.raw or turn.interaction.raw_response
        return answer

    async def _keep_late(self, late: _Late) -> None:
        """The model's answers come after their stand-ins: they are kept. The end of the call does not wait for them."""
        task = asyncio.current_task()
        assert task is not None
        self.late.add(task)
        try:
            for insight_id, asked in late.items():
                with contextlib.suppress(MalhaError):  # its row says that it was late
                    answer = await asked
                    if self._around.store is not None and answer.draft is not None:
                        body = insight_body(answer.draft, engine=answer.model, degraded=False, stages={}, interaction_id=None)
                        await self._around.store.keep_late(insight_id, body)
        finally:
            self.late.discard(task)

    async def _answered(self, question: _Question, request: Request, answer: Answer, turn: Turn) -> None:
        """The model answered in time."""
        kind, draft, reason = question.kind, answer.draft, answer.reason
        if draft is not None and not reason and draft.confidence < self._around.thresholds[kind]:
            reason = "EMPTY"
        if draft is not None and not reason and self._analysis.repeats(draft):
            reason = "DUPLICATE"
        if draft is None or reason:
            status = "empty" if reason == "EMPTY" else "failed" if answer.failed else "dropped"
            metrics.INSIGHTS.labels(kind.value, status).inc()
            self._telling.decide(Decision(False, reason, kind, request.seq))
            if answer.failed:
                await self._stand_in(question, status, reason, answer, request, turn)
            else:
                await self._telling.settle(question.id, status, reason, _kept(answer))
            return
        draft = replace(draft, trigger=request.trigger, seq=request.seq)
        message = insight_body(draft, engine=answer.model, degraded=answer.degraded, stages=turn.stages, interaction_id=turn.id)
        if await self._telling.settle(question.id, "shown", "", message):
            self._telling.tell_new(question.id, message, draft, turn)

    async def _stand_in(self, question: _Question, status: str, reason: str, answer: Answer | None, request: Request, turn: Turn) -> None:
        """End a question that has no good answer. The rule engine's takes its place in the same transaction: whoever comes to own the call finds both done, or neither.

        Where it has nothing to say either, or nothing new, that is told at once: no client waits for what will not come.
        """
        draft = next((each for each in request.fallback if each.type is question.kind), None)
        if draft is None:
            self._telling.decide(Decision(False, "EMPTY", question.kind, request.seq))
        elif not self._telling.wanted(draft, turn):
            draft = None
        new = self._telling.new(draft, STAND_IN, turn, degraded=True) if draft is not None else None
        if await self._telling.settle(question.id, status, reason, _kept(answer), new) and draft is not None and new is not None:
            self._telling.tell_new(new.id, new.body, draft, turn)


def _kept(answer: Answer | None) -> dict[str, Any]:
    """What is kept of an answer that is not shown."""
    if answer is None or answer.draft is None:
        return {}
    return insight_body(answer.draft, engine=answer.model, degraded=answer.degraded, stages={}, interaction_id=None)
