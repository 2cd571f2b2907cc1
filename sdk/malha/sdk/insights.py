"""Advice on a conversation that is known as text: as it goes, or of calls that were kept."""

import datetime as dt
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from typing import Any, get_args

import betterproto2

from malha.sdk._administration import type_message
from malha.sdk._call_settings import check_choice
from malha.sdk._closing import ClosingStream
from malha.sdk._connection import Connection
from malha.sdk._convert import insight_from
from malha.sdk._gen.malha.api.common import v1 as common
from malha.sdk._gen.malha.api.insight import v1 as api
from malha.sdk._pages import all_pages
from malha.sdk._source import items_of
from malha.sdk._stream import EventStream
from malha.sdk.events import Insight, Segment
from malha.sdk.live import FeedbackAction

__all__ = ["AnalysisEvent", "AnalysisInput", "AnalysisOpened", "AnalysisSource", "AnalysisStream", "Decision", "InsightFeedback", "Tick"]

_LIST = "/malha.api.insight.v1.InsightService/ListInsights"
_PAGE = 1000
_ROLES = {"agent": common.Role.AGENT, "customer": common.Role.CUSTOMER, "": common.Role.UNSPECIFIED}


@dataclass(frozen=True, slots=True)
class Tick:
    """Media time goes on, without words."""

    time_seconds: float
    """From the start of the call."""
    trigger: bool = False
    """Asks for an insight now."""
    enabled: bool | None = None
    """Turns insights on or off."""


@dataclass(frozen=True, slots=True)
class InsightFeedback:
    """What the operator did with an insight."""

    insight_id: str
    action: FeedbackAction


AnalysisInput = Segment | Tick | InsightFeedback
AnalysisSource = AsyncIterable[AnalysisInput] | Iterable[AnalysisInput]
"""A conversation as it goes, or all of it."""


@dataclass(frozen=True, slots=True)
class AnalysisOpened:
    """The analysis is open; this is its effective configuration."""

    policy: str
    session_id: str
    engine: str
    """``rules``, or the model's alias."""
    version: str
    """Of the tenant's configuration and rules."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Why an insight was or was not made."""

    fired: bool
    reason: str
    """UPPER_SNAKE_CASE: ``FIRED``, ``RATE``, ``TOO_LITTLE``, ``NO_TOPIC_OR_KEYWORD``, ..."""
    type: str
    """Empty where no type was decided on."""
    seq: int
    """The number of the segment that led to it."""
    interaction_id: str = ""


AnalysisEvent = AnalysisOpened | Insight | Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSettings:
    """What ``open`` says."""

    conversation_id: str
    language: str = ""
    types: tuple[str, ...] = ()
    policy: str = ""
    session_id: str = ""
    alias: str = ""

    def to_message(self) -> api.AnalyzeRequest:
        """Raises InvalidRequest."""
        return api.AnalyzeRequest(
            open=api.Open(
                conversation_id=self.conversation_id,
                language=self.language,
                types=[type_message(name) for name in self.types],
                policy=self.policy,
                session_id=self.session_id,
                alias=self.alias,
            )
        )


class AnalysisStream(ClosingStream[AnalysisEvent]):
    """Advice as the conversation goes, by ``Malha.analyze``. Leaving the loop, or the ``async with`` block, stops it."""

    _method = "/malha.api.insight.v1.InsightService/Analyze"
    _cut_short = "the server ended the analysis before it was closed"

    def __init__(self, connection: Connection, opening: api.AnalyzeRequest, said: AnalysisSource, running: set[EventStream[Any]]) -> None:
        super().__init__(connection, running)
        self._opening = opening
        self._said = said
        self._ids: set[str] = set()

    async def _produce(self) -> None:
        await self._write(self._opening)
        async with items_of(self._said) as items:
            async for item in items:
                await self._write(request_of(item, self._ids))
        await self._write(api.AnalyzeRequest(finish=api.Finish()))
        await self._half_close()

    def _translate(self, response: bytes) -> AnalysisEvent | None:
        _, event = betterproto2.which_one_of(api.AnalyzeResponse.parse(response), "event")
        match event:
            case api.Opened():
                return AnalysisOpened(event.policy, event.session_id, event.engine, event.version)
            case api.Insight():
                return insight_from(event, {})
            case api.Decision():
                kind = (event.type.name or "").lower() if event.type else ""
                return Decision(event.fired, event.reason, kind, event.seq, event.interaction_id)
            case api.Closed():
                self._closed = True
            case _:
                pass
        return None


def request_of(item: AnalysisInput, said: set[str]) -> api.AnalyzeRequest:
    """A piece of the conversation, as it is sent; a segment whose id is among those ``said`` amends the one before. Raises InvalidRequest."""
    match item:
        case Segment():
            state = common.SegmentState.AMENDED if item.id in said else common.SegmentState.FINAL
            said.add(item.id)
            return api.AnalyzeRequest(segment=api.Said(segment=_segment(item, state)))
        case Tick():
            time = dt.timedelta(seconds=item.time_seconds)
            return api.AnalyzeRequest(tick=api.Tick(time=time, trigger=item.trigger, enabled=item.enabled))
        case InsightFeedback():
            check_choice("action", item.action, get_args(FeedbackAction))
            return api.AnalyzeRequest(feedback=api.Feedback(insight_id=item.insight_id, action=item.action))
    raise TypeError(f"analyze() takes Segment, Tick and InsightFeedback, not {type(item).__name__}")


async def insights(connection: Connection, conversation_id: str) -> tuple[Insight, ...]:
    """All that were kept of a conversation, the newest first."""

    async def page(token: str) -> tuple[Iterable[Insight], str]:
        request = api.ListInsightsRequest(conversation_id=conversation_id, page_size=_PAGE, page_token=token)
        answer = await connection.unary(_LIST, request, api.ListInsightsResponse)
        return [insight_from(kept, {}) for kept in answer.insights], answer.next_page_token

    return await all_pages(page)


def _segment(segment: Segment, state: common.SegmentState) -> common.Segment:
    return common.Segment(
        id=segment.id,
        revision=segment.revision,
        state=state,
        channel=segment.channel,
        role=_ROLES[segment.role],
        speaker=segment.speaker,
        text=segment.text,
        start=dt.timedelta(seconds=segment.start_seconds),
        end=dt.timedelta(seconds=segment.end_seconds),
        confidence=segment.confidence,
        language=segment.language,
    )
