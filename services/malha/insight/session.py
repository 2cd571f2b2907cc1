"""One analysis: what is said goes in, advice comes out, kept before it is told.

The rule engine's insights go out at once (`telling`), what the model is asked goes by the `ladder`.
"""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, Final

from malha.api.insight.v1 import insight_pb2 as api
from malha.insight.analysis import Analysis
from malha.insight.domain import Decision, Draft, Request, TriggerKind, Utterance
from malha.insight.interaction_store import Interaction, interaction_id
from malha.insight.ladder import Ladder, MakeAsk
from malha.insight.messages import evidence_of, insight_message
from malha.insight.reading import forget
from malha.insight.store import Stored
from malha.insight.surroundings import Surroundings
from malha.insight.telling import Telling
from malha.insight.turns import Turn
from malha.runtime import logs
from malha.runtime.logs import Event

log = logs.get("insight")

MOST_TASKS: Final = 64
"""Insights under way in one session; what goes beyond is not made."""
WAIT_SECONDS: Final = 0.1


class Session:
    """The insights of one call, as long as one connection lasts."""

    def __init__(self, analysis: Analysis, make_ask: MakeAsk, emit: Callable[[api.AnalyzeResponse], None], around: Surroundings) -> None:
        self._analysis = analysis
        self._place = around.place
        self._telling = Telling(analysis, emit, around)
        self._ladder = Ladder(analysis, make_ask, self._telling, around)
        self._newest: Turn | None = None
        """Of the last utterance that is an interaction."""
        self._resumed: dict[uuid.UUID | None, Turn] = {}
        """What a lost owner has left open or untold, by interaction, until all that was said is taken in."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._enabled = True
        self._media_seconds = 0.0

    @property
    def insights(self) -> int:
        """Told by this connection."""
        return self._telling.count

    def say(self, utterance: Utterance, *, amended: bool, received_at: datetime | None, told_at: datetime | None) -> None:
        """A final or amended segment."""
        began = monotonic()
        self._media_seconds = max(self._media_seconds, utterance.end)
        decided = self._analysis.say(utterance)
        turn = Turn(began, utterance.end, stages={"rules": monotonic() - began})
        if self._place is not None and utterance.text and not amended:
            known = interaction_id(self._place.session_id, utterance.seq)
            if known in self._resumed:
                turn.interaction, turn.told = self._resumed[known].interaction, self._resumed[known].told
            else:
                turn.interaction = Interaction(known, utterance.seq, utterance.text, speaker_of(utterance), received_at, told_at)
            self._newest = turn
            self._telling.begin(turn)
        self._act(decided, turn)
        self._telling.write_down()

    def tick(self, seconds: float) -> None:
        """Media time goes on."""
        began = monotonic()
        self._media_seconds = max(self._media_seconds, seconds)
        decided = self._analysis.tick(seconds)
        self._act(decided, self._turn_of_newest(began, seconds))

    def trigger(self, settled: Callable[[], None] | None = None) -> None:
        """The operator wants an insight now. ``settled`` is told once what comes of it is kept and shown, or that nothing does."""
        began, before = monotonic(), set(self._tasks)
        decided = self._analysis.trigger(self._media_seconds)
        self._act(decided, self._turn_of_newest(began, self._media_seconds))
        if settled is not None:
            self._spawn(self._tell_settled(self._tasks - before, settled))

    def enable(self, enabled: bool) -> None:
        """Turn insights on or off. What is said while they are off counts later."""
        self._enabled = enabled

    def resume(self, untold: Sequence[Stored], told: Sequence[Stored], interactions: Iterable[Interaction]) -> None:
        """Go on where a lost owner has left: tell what it has not told.

        ``told`` are the last insights that are shown, ``untold`` among them; ``interactions`` are those that these or open questions belong to.
        """
        for interaction in interactions:
            of_it = [insight_message(stored).message for stored in told if stored.interaction_id == interaction.id]
            self._resumed[interaction.id] = Turn(monotonic(), 0.0, interaction, of_it)
        for stored in told:
            self._hear_again(stored)
        for stored in untold:
            self._telling.tell(insight_message(stored))

    def ask_again(self, pending: Sequence[Stored]) -> None:
        """Put the questions that a lost owner has not settled and write down what it has told, once all that was said is taken in."""
        for turn in self._resumed.values():
            self._telling.settle_turn(turn, asked=False)
        for stored in pending:
            request = self._analysis.request_again(stored.type, stored.trigger_seq, stored.media_seconds)
            self._spawn(self._ladder.again(stored.id, stored.type, request, self._turn_of(stored)))
        self._resumed.clear()

    async def finish(self) -> None:
        """Wait for what is under way: at most as long as the ladder, for what is told, and for the database where it is away."""
        await self._settled(lambda: self._tasks)

    async def close(self) -> None:
        """Give up what is under way; whoever comes next asks again. What was said is kept by nobody here any longer."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        forget()

    async def _settled(self, tasks: Callable[[], set[asyncio.Task[None]]]) -> None:
        """Wait for tasks, but for answers that come too late to be shown."""
        while waited := {task for task in tasks() if not task.done()} - self._ladder.late:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_SECONDS)

    async def _tell_settled(self, tasks: set[asyncio.Task[None]], settled: Callable[[], None]) -> None:
        await self._settled(lambda: tasks)
        settled()

    def _hear_again(self, stored: Stored) -> None:
        message = insight_message(stored)
        trigger = TriggerKind(api.Trigger.Name(message.trigger).removeprefix("TRIGGER_").lower()) if message.trigger else None
        self._analysis.told(stored.type, message.message, evidence_of(message), stored.media_seconds, trigger=trigger)

    def _turn_of(self, stored: Stored) -> Turn:
        """The turn that a question belongs to, which a lost owner has put."""
        turn = Turn(monotonic(), stored.media_seconds)
        if stored.interaction_id in self._resumed:
            resumed = self._resumed[stored.interaction_id]
            turn.interaction, turn.told = resumed.interaction, resumed.told
        return turn

    def _turn_of_newest(self, began: float, media_seconds: float) -> Turn:
        """What silence or the operator led to belongs to what was said last, with what came of that already."""
        newest, stages = self._newest, {"rules": monotonic() - began}
        if newest is None:
            return Turn(began, media_seconds, stages=stages)
        return Turn(began, media_seconds, newest.interaction, newest.told, stages)

    def _act(self, decided: Sequence[Draft | Request | Decision], turn: Turn) -> None:
        for each in decided:
            if isinstance(each, Decision):
                self._telling.decide(each)
            elif not self._enabled:
                self._telling.decide(Decision(False, "OFF", each.type if isinstance(each, Draft) else None, each.seq))
            elif len(self._tasks) >= MOST_TASKS:
                self._telling.decide(Decision(False, "BUSY", each.type if isinstance(each, Draft) else None, each.seq))
            else:
                turn.unstored += 1
                self._spawn(self._draft(each, turn) if isinstance(each, Draft) else self._ladder.request(each, turn))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="insight")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(Event.RPC_DEFECT, cause=error)

    async def _draft(self, draft: Draft, turn: Turn) -> None:
        """The rule engine's insight, at once."""
        await self._telling.show(draft, turn)
        self._telling.stored(turn)
        self._telling.settle_turn(turn, asked=False)


def speaker_of(utterance: Utterance) -> dict[str, Any]:
    """Who said an utterance and when, as its interaction keeps it."""
    return {"role": utterance.role, "start": utterance.start, "end": utterance.end, "segment_id": utterance.segment_id}
