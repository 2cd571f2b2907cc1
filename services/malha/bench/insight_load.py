"""Many calls at Insight at once, from one event loop: how long after a sentence its alert is here, and what a model makes of questions in time."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import grpc

from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import insight_pb2_grpc, rules_pb2
from malha.bench.insight_replay import Asked, connect, replay
from malha.bench.transcripts import Turn
from malha.runtime.ids import uuid7
from malha.runtime.status import from_rpc_error

ANSWER_SECONDS: Final = 20.0
"""For one question, everything included."""
CONTEXT_WORDS: Final = 100
"""Said before a question: fewer than a policy would ask about by itself."""
ENDS: Final = frozenset({"EMPTY", "UNSUPPORTED", "DUPLICATE", "NOT_IN_CATALOGUE", "PROMPT_TEXT", "FOREIGN_DATA", "UNSAFE_ADVICE"})
"""Decisions after which nothing comes: of the model's answer, which is not shown, or of what should have stood in for it. After others the rule engine stands in."""


@dataclass(slots=True)
class Heard:
    """What calls were told. Milliseconds."""

    alerts_ms: list[float] = field(default_factory=list)
    """From sending the sentence a rule matched to having the insight."""
    others_ms: list[float] = field(default_factory=list)
    """Insights that the policy asked for, as the server measures them."""


class _Call:
    """Follows one replay."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._sent: dict[str, float] = {}

    def said(self, number: int, turn: Turn) -> None:
        del turn
        self._sent[str(number)] = monotonic()

    def told(self, response: api.AnalyzeResponse) -> None:
        if not response.HasField("insight"):
            return
        insight, now = response.insight, monotonic()
        if insight.trigger == api.TRIGGER_RULE:
            self._heard.alerts_ms.append((now - max(self._sent[each.segment_id] for each in insight.evidence)) * 1e3)
        else:
            self._heard.others_ms.append(insight.latency.ToNanoseconds() / 1e6)


async def hear_calls(target: str, token: str, conversations: Sequence[tuple[str, Sequence[Turn]]], calls: int, rate: float) -> Heard:
    """So many calls at once, in turns of ``conversations`` (language and turns), begun one after the other within two seconds. Raises MalhaError."""
    heard = Heard()
    async with connect(target) as channel, asyncio.TaskGroup() as group:
        for number, (language, turns) in zip(range(calls), itertools.cycle(conversations), strict=False):
            asked = Asked(f"bench-{uuid7()}", language, rate=rate)
            group.create_task(_begin_later(2 * number / calls, channel, token, turns, asked, _Call(heard)))
    return heard


async def _begin_later(seconds: float, channel: grpc.aio.Channel, token: str, turns: Sequence[Turn], asked: Asked, call: _Call) -> None:
    await asyncio.sleep(seconds)
    await replay(channel, token, turns, asked, call)


@dataclass(slots=True)
class Answers:
    """What became of questions. Milliseconds from the operator's wish."""

    settled_ms: list[float] = field(default_factory=list)
    """To an insight, or to word that there is none."""
    model_ms: list[float] = field(default_factory=list)
    """To an insight of the model."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """``model``; ``stand-in``, and why; or why nothing was shown: ``LATE, EMPTY`` where the model was late and the rule engine had nothing to say either."""


async def ask_questions(target: str, token: str, language: str, turns: Sequence[Turn], calls: int, seconds: float, every: float) -> Answers:
    """So many operators, each of whom wants advice every so many seconds, on a call of its own each time, each about another place in the talk: nothing is
    answered by repeating, or read from a cache because the one before asked the same.
    """
    answers, until = Answers(), monotonic() + seconds
    async with connect(target) as channel, asyncio.TaskGroup() as group:
        for number in range(calls):
            group.create_task(_operator(channel, token, language, turns, number, number * every / calls, until, every, answers))
    return answers


async def _operator(
    channel: grpc.aio.Channel,
    token: str,
    language: str,
    turns: Sequence[Turn],
    place: int,
    wait: float,
    until: float,
    every: float,
    answers: Answers,
) -> None:
    next_wish = monotonic() + wait
    for first in itertools.count(place):
        await asyncio.sleep(max(0.0, next_wish - monotonic()))
        if monotonic() >= until:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await _question(channel, token, language, _context(turns[first % len(turns) :]), first + 1, answers)
        except TimeoutError:
            answers.outcomes["TIMEOUT"] += 1
        except grpc.aio.AioRpcError as error:
            answers.outcomes[from_rpc_error(error).reason] += 1
        next_wish += every


def _context(turns: Sequence[Turn]) -> list[Turn]:
    """As many turns as have so many words; one at least."""
    words = itertools.accumulate(len(turn.text.split()) for turn in turns)
    return [turn for number, (turn, total) in enumerate(zip(turns, words, strict=True)) if not number or total <= CONTEXT_WORDS]


async def _question(channel: grpc.aio.Channel, token: str, language: str, turns: Sequence[Turn], first: int, answers: Answers) -> None:
    """A call in which some turns were said, numbered from ``first`` on; then the operator wants a summary."""
    call = insight_pb2_grpc.InsightServiceStub(channel).Analyze(metadata=(("authorization", f"Bearer {token}"),))
    try:
        opening = api.Open(conversation_id=f"bench-{uuid7()}", language=language, types=[rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY])
        await call.write(api.AnalyzeRequest(open=opening))
        await call.read()
        for number, turn in enumerate(turns, first):
            await call.write(api.AnalyzeRequest(segment=api.Said(segment=_segment(number, turn), seq=number)))
        for _ in turns:  # of each it tells that there is no reason for advice yet
            await call.read()
        begin = monotonic()
        await call.write(api.AnalyzeRequest(tick=api.Tick(trigger=True)))
        outcome = await _outcome(call)
        milliseconds = (monotonic() - begin) * 1e3
        answers.outcomes[outcome] += 1
        answers.settled_ms.append(milliseconds)
        if outcome == "model":
            answers.model_ms.append(milliseconds)
        await call.write(api.AnalyzeRequest(finish=api.Finish()))
        while await call.read() is not grpc.aio.EOF:
            pass
    finally:
        call.cancel()


async def _outcome(call: Any) -> str:
    """How a question ended."""
    reasons: list[str] = []
    while (response := await call.read()) is not grpc.aio.EOF:
        if response.HasField("insight"):
            return "model" if response.insight.engine != "rules" else f"stand-in: {', '.join(reasons) or 'no model'}"
        if response.HasField("decision") and not response.decision.fired:
            reasons.append(str(response.decision.reason))
            if reasons[-1] in ENDS:
                return ", ".join(reasons)
    return "LOST"


def _segment(number: int, turn: Turn) -> transcript_pb2.Segment:
    """Said at the very start of the call: time is no reason for advice then."""
    role = media_pb2.ROLE_AGENT if turn.role == "agent" else media_pb2.ROLE_CUSTOMER
    return transcript_pb2.Segment(id=str(number), revision=1, state=transcript_pb2.SEGMENT_STATE_FINAL, role=role, text=turn.text)
