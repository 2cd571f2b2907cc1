"""Keeps a session's insights, tells them once they are kept, and writes down what came of each utterance.

While the database is away what is to be kept waits, as calls themselves do, and is told once it is back. An utterance is written down as processed only
after what was decided on it is kept, and after those before it: whoever takes the call over decides again on what is not.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import rules_pb2
from malha.insight import metrics
from malha.insight.analysis import Analysis
from malha.insight.domain import Decision, Draft
from malha.insight.messages import decision_message, insight_body, insight_message
from malha.insight.persisting import persist
from malha.insight.store import NewInsight, Stored
from malha.insight.surroundings import Surroundings
from malha.insight.turns import Turn
from malha.runtime import logs
from malha.runtime.errors import MalhaError
from malha.runtime.ids import uuid7
from malha.runtime.logs import Event

log = logs.get("insight")

NOTHING: Final = "Nenhuma"
"""In a stored interaction: the model was asked and nothing came."""
MOST_UNKEPT: Final = 400
"""Utterances that wait for the insights of one before them; a new owner reads as many."""


class Telling:
    """The insights of one session, as long as one connection lasts."""

    def __init__(self, analysis: Analysis, emit: Callable[[api.AnalyzeResponse], None], around: Surroundings) -> None:
        self.count = 0
        """Insights told by this connection."""
        self._analysis = analysis
        self._emit = emit
        self._around = around
        self._unkept: dict[uuid.UUID, Turn] = {}
        """Utterances not written down yet, in order, by interaction."""

    def decide(self, decision: Decision) -> None:
        """Tell why something did or did not fire."""
        self._emit(api.AnalyzeResponse(decision=decision_message(decision)))

    def tell(self, message: api.Insight) -> None:
        """Tell an insight that is kept."""
        self.count += 1
        metrics.told(self._around.tenant)
        kind = rules_pb2.InsightType.Name(message.type)
        conversation = str(self._around.place.conversation_id) if self._around.place is not None else None
        log.info(Event.INSIGHT_SHOWN, insight=message.id, type=kind, degraded=message.degraded, conversation=conversation)
        self._emit(api.AnalyzeResponse(insight=message))

    def tell_new(self, insight_id: uuid.UUID, body: Mapping[str, Any], draft: Draft, turn: Turn) -> None:
        """Tell an insight that was just kept, with its latency."""
        message = insight_message(Stored(insight_id, draft.type, body, datetime.now(UTC), turn.id))
        latency = monotonic() - turn.began
        message.latency.FromNanoseconds(int(latency * 1e9))
        metrics.TRANSCRIPT_TO_EMIT.labels(draft.type.value, "yes" if message.degraded else "no").observe(latency)
        metrics.INSIGHTS.labels(draft.type.value, "degraded" if message.degraded else "shown").inc()
        turn.told.append(draft.message)
        if message.engine != "rules":
            self._analysis.told(draft.type, draft.message, draft.evidence, turn.media_seconds, trigger=draft.trigger)
        if turn.interaction is not None:
            turn.interaction.sent_at = datetime.now(UTC)
        self.settle_turn(turn, asked=True)  # the model's late answer may be waited for until the call is over
        self.tell(message)
        self.decide(Decision(True, "FIRED", draft.type, draft.seq))

    async def show(self, draft: Draft, turn: Turn) -> None:
        """Keep an insight of the rule engine and tell it, unless it was told."""
        if not self.wanted(draft, turn):
            return
        new = self.new(draft, draft.rule or "rules", turn, degraded=False)
        if new.id in await self.add([new]):
            self.tell_new(new.id, new.body, draft, turn)

    def wanted(self, draft: Draft, turn: Turn) -> bool:
        """Whether an insight of the rule engine says something new and is sure enough; from here on it counts as told."""
        reason = "DUPLICATE" if self._analysis.repeats(draft) else "EMPTY" if draft.confidence < self._around.thresholds[draft.type] else ""
        if reason:
            self.decide(Decision(False, reason, draft.type, draft.seq))
            return False
        self._analysis.told(draft.type, draft.message, draft.evidence, turn.media_seconds, trigger=draft.trigger)
        return True

    def new(self, draft: Draft, version: str, turn: Turn, *, degraded: bool) -> NewInsight:
        """An insight of the rule engine, to be kept."""
        body = insight_body(draft, engine="rules", degraded=degraded, stages=turn.stages, interaction_id=turn.id)
        return NewInsight(uuid7(), draft.type, draft.seq, version, "shown", body, turn.media_seconds, turn.id)

    async def add(self, new: Sequence[NewInsight]) -> set[uuid.UUID]:
        """Keep insights; the ids of those that nobody had kept."""
        store, place = self._around.store, self._around.place
        if store is None or place is None:
            return {each.id for each in new}
        try:
            return await persist(lambda: store.add(place.conversation_id, place.session_id, new))
        except MalhaError as error:
            for each in new:
                self.decide(Decision(False, error.reason, each.type, each.seq))
            return set()

    async def settle(
        self, insight_id: uuid.UUID, status: str, reason: str, body: Mapping[str, Any], instead: NewInsight | None = None
    ) -> bool:
        """End a question, with what takes its place; False where another owner has ended it."""
        store, place = self._around.store, self._around.place
        if store is None or place is None:
            return True
        replacement = (place.conversation_id, place.session_id, instead) if instead else None
        try:
            return await persist(lambda: store.settle(insight_id, status, reason, body, replacement))
        except MalhaError as error:
            self.decide(Decision(False, error.reason, None, 0))
            return False

    def begin(self, turn: Turn) -> None:
        """An utterance is decided on: it is written down once `stored` has told of all that was decided."""
        if turn.interaction is not None:
            self._unkept[turn.interaction.id] = turn

    def stored(self, turn: Turn) -> None:
        """What one task decided on a turn is kept, or never will be."""
        turn.unstored -= 1
        self.write_down()

    def write_down(self) -> None:
        """Write down the utterances that all is kept of, in order."""
        while self._unkept:
            known, turn = next(iter(self._unkept.items()))
            if turn.unstored > 0 and len(self._unkept) <= MOST_UNKEPT:
                return
            del self._unkept[known]
            self.keep(turn)

    def keep(self, turn: Turn) -> None:
        """Write down an utterance as it is now."""
        around = self._around
        if around.interactions is None or around.place is None or turn.interaction is None or turn.interaction.id in self._unkept:
            return
        around.interactions.keep(around.place, turn.interaction)

    def settle_turn(self, turn: Turn, *, asked: bool) -> None:
        """Write down what came of an utterance."""
        if turn.interaction is None or not (turn.told or asked):
            return
        turn.interaction.recommendation = " | ".join(f"S: {message}" for message in turn.told) or NOTHING
        self.keep(turn)
