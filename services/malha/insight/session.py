"""One analysis: what is said goes in, advice comes out, kept before it is told.

The ladder: the rule engine's insights go out at once. What the model is asked has until `insight_ladder_seconds` after its trigger; then the
rule engine's own answer stands in for it, marked degraded, and the model's, once it comes, is kept and not shown.
"""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import rules_pb2
from malha.insight import metrics
from malha.insight.analysis import Analysis
from malha.insight.asking import Answer, Ask
from malha.insight.domain import Decision, Draft, InsightType, Request, TriggerKind, Utterance
from malha.insight.interactions import Interactions, Place, interaction_id
from malha.insight.messages import decision_message, evidence_of, insight_body, insight_message
from malha.insight.prompts import prompt_version
from malha.insight.store import InsightStore, Interaction, NewInsight, Stored
from malha.runtime import logs
from malha.runtime.errors import MalhaError
from malha.runtime.ids import uuid7
from malha.runtime.logs import Event

log = logs.get("insight")

NOTHING: Final = "Nenhuma"
"""In a stored interaction: the model was asked and nothing came."""
MOST_TASKS: Final = 64
"""Insights under way in one session; what goes beyond is not made."""
WAIT_SECONDS: Final = 0.1
STAND_IN: Final = "stand-in"
NO_MODEL: Final = "NO_MODEL"
"""A lost owner asked a model, and now there is none."""

AskModel = Callable[[Ask], Coroutine[Any, Any, Answer]]
"""Asks the model. Raises MalhaError."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session works with."""

    store: InsightStore | None
    interactions: Interactions | None
    place: Place | None
    """Set where there is a store."""
    ask: AskModel | None
    """None: there is no model, and the rule engine's insights are all there is."""
    tenant: str
    """Its name, for figures."""
    slots: asyncio.Semaphore
    """Questions of this tenant to the model at once."""
    ladder_seconds: float
    thresholds: Mapping[InsightType, float]


@dataclass(slots=True, eq=False)
class _Turn:
    """What came of one trigger: an utterance, a tick, the operator's wish."""

    began: float
    media_seconds: float
    interaction: Interaction | None = None
    told: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)


class Session:
    """The insights of one call, as long as one connection lasts."""

    def __init__(
        self,
        analysis: Analysis,
        make_ask: Callable[[InsightType, Request], Ask],
        emit: Callable[[api.AnalyzeResponse], None],
        around: Surroundings,
    ) -> None:
        self.insights = 0
        """Told by this connection."""
        self._newest: _Turn | None = None
        """Of the last utterance that is an interaction."""
        self._analysis = analysis
        self._make_ask = make_ask
        self._emit = emit
        self._around = around
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[Any]] = set()
        """Of these: those that wait for an answer that will not be told."""
        self._enabled = True
        self._media_seconds = 0.0

    def say(self, utterance: Utterance, *, amended: bool, received_at: datetime | None, told_at: datetime | None) -> None:
        """A final or amended segment."""
        began = monotonic()
        self._media_seconds = max(self._media_seconds, utterance.end)
        decided = self._analysis.say(utterance)
        turn = _Turn(began, utterance.end, stages={"rules": monotonic() - began})
        place = self._around.place
        if place is not None and utterance.text and not amended:
            speaker = {"role": utterance.role, "start": utterance.start, "end": utterance.end, "segment_id": utterance.segment_id}
            known = interaction_id(place.session_id, utterance.seq)
            turn.interaction = Interaction(known, utterance.seq, utterance.text, speaker, received_at, told_at)
            self._newest = turn
            self._keep(turn)
        self._act(decided, turn)

    def tick(self, seconds: float) -> None:
        """Media time goes on."""
        began = monotonic()
        self._media_seconds = max(self._media_seconds, seconds)
        decided = self._analysis.tick(seconds)
        self._act(decided, self._turn_of_newest(began, seconds))

    def trigger(self) -> None:
        """The operator wants an insight now."""
        began = monotonic()
        decided = self._analysis.trigger(self._media_seconds)
        self._act(decided, self._turn_of_newest(began, self._media_seconds))

    def enable(self, enabled: bool) -> None:
        """Turn insights on or off. What is said while they are off counts later."""
        self._enabled = enabled

    def resume(self, untold: Sequence[Stored], told: Sequence[Stored]) -> None:
        """Go on where a lost owner has left: tell what it has not told."""
        for stored in told:
            self._hear_again(stored)
        for stored in untold:
            self._tell(insight_message(stored))

    def ask_again(self, pending: Sequence[Stored]) -> None:
        """Put the questions that a lost owner has not settled, once all that was said is taken in."""
        for stored in pending:
            request = self._analysis.request_again(stored.type, stored.trigger_seq, stored.media_seconds)
            turn = _Turn(monotonic(), stored.media_seconds)
            if self._around.ask is None:
                self._spawn(self._stand_in(stored.id, "failed", NO_MODEL, None, stored.type, request, turn))
            else:
                self._spawn(self._answer(stored.id, stored.type, request, turn))

    async def finish(self) -> None:
        """Wait for what is under way: at most as long as the ladder, for what is told."""
        while waited := self._tasks - self._late:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_SECONDS)

    async def close(self) -> None:
        """Give up what is under way; whoever comes next asks again."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _hear_again(self, stored: Stored) -> None:
        message = insight_message(stored)
        trigger = TriggerKind(api.Trigger.Name(message.trigger).removeprefix("TRIGGER_").lower()) if message.trigger else None
        self._analysis.told(stored.type, message.message, evidence_of(message), stored.media_seconds, trigger=trigger)

    def _turn_of_newest(self, began: float, media_seconds: float) -> _Turn:
        """What silence or the operator led to belongs to what was said last, with what came of that already."""
        newest, stages = self._newest, {"rules": monotonic() - began}
        if newest is None:
            return _Turn(began, media_seconds, stages=stages)
        return _Turn(began, media_seconds, newest.interaction, newest.told, stages)

    def _act(self, decided: Sequence[Draft | Request | Decision], turn: _Turn) -> None:
        for each in decided:
            if isinstance(each, Decision):
                self._decide(each)
            elif not self._enabled:
                self._decide(Decision(False, "OFF", each.type if isinstance(each, Draft) else None, each.seq))
            elif len(self._tasks) >= MOST_TASKS:
                self._decide(Decision(False, "BUSY", each.type if isinstance(each, Draft) else None, each.seq))
            elif isinstance(each, Draft):
                self._spawn(self._draft(each, turn))
            else:
                self._spawn(self._request(each, turn))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="insight")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(Event.RPC_DEFECT, cause=error)

    async def _draft(self, draft: Draft, turn: _Turn) -> None:
        """The rule engine's insight, at once."""
        await self._show(draft, draft.rule or "rules", turn, degraded=False, engine="rules")
        self._settle_turn(turn, asked=False)

    async def _request(self, request: Request, turn: _Turn) -> None:
        """Ask the model for each type; without one the rule engine's insights are the answer."""
        if self._around.ask is None:
            for draft in request.fallback:
                await self._show(draft, draft.rule or "rules", turn, degraded=False, engine="rules")
            if not request.fallback:
                self._decide(Decision(False, "EMPTY", None, request.seq))
            self._settle_turn(turn, asked=True)
            return
        new = [
            NewInsight(
                uuid7(),
                each,
                request.seq,
                prompt_version(each, self._analysis.language),
                "pending",
                {"trigger": request.trigger.value},
                request.time,
                _id(turn),
            )
            for each in request.types
        ]
        added = await self._add(new)
        if turn.interaction is not None:
            turn.interaction.ai_requested_at = datetime.now(UTC)
            self._keep(turn)
        await asyncio.gather(*(self._answer(each.id, each.type, request, turn) for each in new if each.id in added))
        self._settle_turn(turn, asked=True)

    async def _answer(self, insight_id: uuid.UUID, kind: InsightType, request: Request, turn: _Turn) -> None:
        """One question to the model, with the ladder under it."""
        assert self._around.ask is not None
        left = self._around.ladder_seconds - (monotonic() - turn.began)
        asked = asyncio.create_task(self._asked(kind, request, turn), name="insight-model")
        try:
            done, _ = await asyncio.wait({asked}, timeout=max(left, 0))
            if not done:
                self._decide(Decision(False, "LATE", kind, request.seq))
                await self._stand_in(insight_id, "late", "LATE", None, kind, request, turn)
                await self._keep_late(insight_id, asked)
                return
            try:
                answer = asked.result()
            except MalhaError as error:
                metrics.INSIGHTS.labels(kind.value, "failed").inc()
                self._decide(Decision(False, error.reason, kind, request.seq))
                await self._stand_in(insight_id, "failed", error.reason, None, kind, request, turn)
                return
        finally:
            asked.cancel()
        await self._answered(insight_id, kind, request, answer, turn)

    async def _asked(self, kind: InsightType, request: Request, turn: _Turn) -> Answer:
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
        self._late.add(task)
        try:
            answer = await asked
            if self._around.store is not None and answer.draft is not None:
                body = insight_body(answer.draft, engine=answer.model, degraded=False, stages={}, interaction_id=None)
                await self._around.store.keep_late(insight_id, body)
        except MalhaError:
            return  # its row says that it was late
        finally:
            self._late.discard(task)

    async def _answered(self, insight_id: uuid.UUID, kind: InsightType, request: Request, answer: Answer, turn: _Turn) -> None:
        """The model answered in time."""
        draft, reason = answer.draft, answer.reason
        if draft is not None and not reason and draft.confidence < self._around.thresholds[kind]:
            reason = "EMPTY"
        if draft is not None and not reason and self._analysis.repeats(draft):
            reason = "DUPLICATE"
        if draft is None or reason:
            status = "empty" if reason == "EMPTY" else "failed" if answer.failed else "dropped"
            metrics.INSIGHTS.labels(kind.value, status).inc()
            self._decide(Decision(False, reason, kind, request.seq))
            if answer.failed:
                await self._stand_in(insight_id, status, reason, answer, kind, request, turn)
            else:
                await self._settle(insight_id, status, reason, _kept(answer))
            return
        draft = replace(draft, trigger=request.trigger, seq=request.seq)
        message = insight_body(draft, engine=answer.model, degraded=answer.degraded, stages=turn.stages, interaction_id=_id(turn))
        if await self._settle(insight_id, "shown", "", message):
            self._tell_new(insight_id, message, draft, turn)

    async def _stand_in(
        self, insight_id: uuid.UUID, status: str, reason: str, answer: Answer | None, kind: InsightType, request: Request, turn: _Turn
    ) -> None:
        """End a question that has no good answer. The rule engine's takes its place in the same transaction: whoever comes to own the call finds both done, or neither."""
        draft = next((each for each in request.fallback if each.type is kind and self._wanted(each, turn)), None)
        new = self._new(draft, STAND_IN, turn, degraded=True, engine="rules") if draft is not None else None
        if await self._settle(insight_id, status, reason, _kept(answer), new) and draft is not None and new is not None:
            self._tell_new(new.id, new.body, draft, turn)

    async def _show(self, draft: Draft, version: str, turn: _Turn, *, degraded: bool, engine: str) -> None:
        """Keep an insight of the rule engine and tell it, unless it was told."""
        if not self._wanted(draft, turn):
            return
        new = self._new(draft, version, turn, degraded=degraded, engine=engine)
        if new.id in await self._add([new]):
            self._tell_new(new.id, new.body, draft, turn)

    def _wanted(self, draft: Draft, turn: _Turn) -> bool:
        """Whether an insight of the rule engine says something new and is sure enough; from here on it counts as told."""
        reason = "DUPLICATE" if self._analysis.repeats(draft) else "EMPTY" if draft.confidence < self._around.thresholds[draft.type] else ""
        if reason:
            self._decide(Decision(False, reason, draft.type, draft.seq))
            return False
        self._analysis.told(draft.type, draft.message, draft.evidence, turn.media_seconds, trigger=draft.trigger)
        return True

    def _new(self, draft: Draft, version: str, turn: _Turn, *, degraded: bool, engine: str) -> NewInsight:
        body = insight_body(draft, engine=engine, degraded=degraded, stages=turn.stages, interaction_id=_id(turn))
        return NewInsight(uuid7(), draft.type, draft.seq, version, "shown", body, turn.media_seconds, _id(turn))

    async def _add(self, new: Sequence[NewInsight]) -> set[uuid.UUID]:
        store, place = self._around.store, self._around.place
        if store is None or place is None:
            return {each.id for each in new}
        try:
            return await store.add(place.conversation_id, place.session_id, new)
        except MalhaError as error:
            for each in new:
                self._decide(Decision(False, error.reason, each.type, each.seq))
            return set()

    async def _settle(
        self, insight_id: uuid.UUID, status: str, reason: str, body: Mapping[str, Any], instead: NewInsight | None = None
    ) -> bool:
        """End a question, with what takes its place; False where another owner has ended it."""
        store, place = self._around.store, self._around.place
        if store is None or place is None:
            return True
        try:
            return await store.settle(
                insight_id, status, reason, body, (place.conversation_id, place.session_id, instead) if instead else None
            )
        except MalhaError as error:
            self._decide(Decision(False, error.reason, None, 0))
            return False

    def _tell_new(self, insight_id: uuid.UUID, body: Mapping[str, Any], draft: Draft, turn: _Turn) -> None:
        message = insight_message(Stored(insight_id, draft.type, body, datetime.now(UTC), _id(turn)))
        latency = monotonic() - turn.began
        message.latency.FromNanoseconds(int(latency * 1e9))
        metrics.TRANSCRIPT_TO_EMIT.labels(draft.type.value, "yes" if message.degraded else "no").observe(latency)
        metrics.INSIGHTS.labels(draft.type.value, "degraded" if message.degraded else "shown").inc()
        turn.told.append(draft.message)
        if message.engine != "rules":
            self._analysis.told(draft.type, draft.message, draft.evidence, turn.media_seconds, trigger=draft.trigger)
        if turn.interaction is not None:
            turn.interaction.sent_at = datetime.now(UTC)
        self._settle_turn(turn, asked=True)  # the model's late answer may be waited for until the call is over
        self._tell(message)
        self._decide(Decision(True, "FIRED", draft.type, draft.seq))

    def _tell(self, message: api.Insight) -> None:
        self.insights += 1
        metrics.told(self._around.tenant)
        kind = rules_pb2.InsightType.Name(message.type)
        conversation = str(self._around.place.conversation_id) if self._around.place is not None else None
        log.info(Event.INSIGHT_SHOWN, insight=message.id, type=kind, degraded=message.degraded, conversation=conversation)
        self._emit(api.AnalyzeResponse(insight=message))

    def _decide(self, decision: Decision) -> None:
        self._emit(api.AnalyzeResponse(decision=decision_message(decision)))

    def _keep(self, turn: _Turn) -> None:
        if self._around.interactions is not None and self._around.place is not None and turn.interaction is not None:
            self._around.interactions.keep(self._around.place, turn.interaction)

    def _settle_turn(self, turn: _Turn, *, asked: bool) -> None:
        """Write down what came of an utterance."""
        if turn.interaction is None or not (turn.told or asked):
            return
        turn.interaction.recommendation = " | ".join(f"S: {message}" for message in turn.told) or NOTHING
        self._keep(turn)


def _kept(answer: Answer | None) -> dict[str, Any]:
    """What is kept of an answer that is not shown."""
    if answer is None or answer.draft is None:
        return {}
    return insight_body(answer.draft, engine=answer.model, degraded=answer.degraded, stages={}, interaction_id=None)


def _id(turn: _Turn) -> uuid.UUID | None:
    return turn.interaction.id if turn.interaction is not None else None
