"""A call's way to Insight: in order, once each, over connections that are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from malha.api.common.v1 import transcript_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import insight_pb2_grpc
from malha.audio.insights import MOST_WAITING, CallInsights


class Insight(insight_pb2_grpc.InsightServiceServicer):
    """Advises on every segment; loses its first ``lose`` connections after a segment, its first ``lose_wishes`` with a wish or feedback; says of
    others that they are done; refuses with ``refusal``.
    """

    def __init__(self, lose: int = 0, refusal: grpc.StatusCode | None = None, lose_wishes: int = 0) -> None:
        self.opened: list[api.Open] = []
        self.heard: list[api.AnalyzeRequest] = []
        self._lose = lose
        self._refusal = refusal
        self._lose_wishes = lose_wishes

    async def Analyze(self, requests: Any, context: Any) -> AsyncIterator[api.AnalyzeResponse]:
        if self._refusal is not None:
            await context.abort(self._refusal, "no")
        async for request in requests:
            kind = request.WhichOneof("request")
            if kind == "open":
                self.opened.append(request.open)
                yield api.AnalyzeResponse(opened=api.Opened())
                if len(self.opened) > 1:
                    yield api.AnalyzeResponse(insight=api.Insight(id="of s1"))
                continue
            self.heard.append(request)
            if kind == "segment":
                yield api.AnalyzeResponse(insight=api.Insight(id=f"of {request.segment.segment.id}"))
                if self._lose:
                    self._lose -= 1
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
            elif request.request_id:
                if self._lose_wishes:
                    self._lose_wishes -= 1
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
                yield api.AnalyzeResponse(done=api.Done(request_id=request.request_id))
            elif kind == "finish":
                yield api.AnalyzeResponse(closed=api.Closed())
                return


class Told:
    """What the call is told."""

    def __init__(self) -> None:
        self.insights: list[str] = []
        self.refusals: list[str] = []

    def insight(self, insight: api.Insight) -> None:
        self.insights.append(insight.id)

    def refused(self, reason: str, _: str) -> None:
        self.refusals.append(reason)


@asynccontextmanager
async def call_insights(service: Insight, told: Told) -> AsyncIterator[CallInsights]:
    server = grpc.aio.server()
    insight_pb2_grpc.add_InsightServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    insights = CallInsights(lambda: channel, (), api.Open(conversation_id="c", session_id="s"), told.insight, told.refused)
    try:
        yield insights
    finally:
        await insights.close()
        await channel.close()
        await server.stop(None)


def segment(name: str) -> transcript_pb2.Segment:
    return transcript_pb2.Segment(id=name, text="bom dia")


async def test_what_was_said_and_how_time_goes_on_come_in_order_and_the_end_waits_for_the_advice() -> None:
    service, told = Insight(), Told()
    async with call_insights(service, told) as insights:
        insights.said(segment("s1"), 1, 0.5)
        insights.tick(1.2)
        insights.tick(1.7)  # the same second
        insights.control(None, trigger=True)
        insights.said(segment("s2"), 2, None)
        insights.feedback("of s1", "used")
        await insights.finish()
    assert told.insights == ["of s1", "of s2"]
    assert [request.WhichOneof("request") for request in service.heard] == ["segment", "tick", "tick", "segment", "feedback", "finish"]
    first, later = service.heard[0].segment, service.heard[3].segment
    assert (first.seq, later.seq) == (1, 2)
    assert 0.4 < first.told_time.ToNanoseconds() / 1e9 - first.audio_time.ToNanoseconds() / 1e9 < 0.6
    assert not later.HasField("audio_time")
    assert service.heard[1].tick.time.seconds == 1
    assert service.heard[2].tick.trigger


async def test_a_lost_insight_is_asked_again_with_the_same_session_and_advises_once() -> None:
    service, told = Insight(lose=1), Told()
    async with call_insights(service, told) as insights:
        insights.said(segment("s1"), 1, None)
        async with asyncio.timeout(20):
            while len(service.opened) < 2:
                await asyncio.sleep(0.01)
        insights.said(segment("s2"), 2, None)
        await insights.finish()
    assert told.insights == ["of s1", "of s2"]
    assert [opened.session_id for opened in service.opened] == ["s", "s"]
    assert not told.refusals


async def connections(service: Insight, count: int) -> None:
    async with asyncio.timeout(20):
        while len(service.opened) < count:
            await asyncio.sleep(0.01)


async def test_a_wish_and_feedback_that_a_lost_connection_took_along_are_sent_again_until_they_are_done() -> None:
    service, told = Insight(lose_wishes=2), Told()
    async with call_insights(service, told) as insights:
        insights.control(None, trigger=True)
        await connections(service, 2)
        insights.feedback("of s1", "used")
        await connections(service, 3)
        await insights.finish()
    wishes = [request.request_id for request in service.heard if request.HasField("tick")]
    uses = [request.request_id for request in service.heard if request.HasField("feedback")]
    assert len(wishes) >= 2, "the first connection was lost with it"
    assert set(wishes) == {1}
    assert uses
    assert set(uses) == {2}


async def test_what_is_done_is_not_sent_again_and_insights_that_are_off_stay_off() -> None:
    service, told = Insight(lose=1), Told()
    async with call_insights(service, told) as insights:
        insights.control(False, trigger=False)
        insights.control(None, trigger=True)
        async with asyncio.timeout(20):
            while insights._unsettled:
                await asyncio.sleep(0.01)
        insights.said(segment("s1"), 1, None)
        await connections(service, 2)
        await insights.finish()
    after = service.heard[[request.WhichOneof("request") for request in service.heard].index("segment") + 1 :]
    assert [request.WhichOneof("request") for request in after] == ["finish"]
    assert service.opened[1].disabled


async def test_of_more_than_may_wait_the_oldest_go_for_what_is_sent_again() -> None:
    service, told = Insight(lose_wishes=1), Told()
    async with call_insights(service, told) as insights:
        insights.control(None, trigger=True)
        async with asyncio.timeout(20):
            while not service.heard:
                await asyncio.sleep(0)  # its connection is lost some turns of this loop later
        for number in range(MOST_WAITING):
            insights.said(segment(f"s{number}"), number, None)
        await insights.finish()
    lost, again, *others = service.heard
    assert (lost.request_id, again.request_id) == (1, 1)
    assert [request.segment.segment.id for request in others[:-1]] == [f"s{number}" for number in range(2, MOST_WAITING)]
    assert others[-1].HasField("finish")


async def test_a_server_without_insight_is_told_once_and_not_asked_again() -> None:
    service, told = Insight(refusal=grpc.StatusCode.UNIMPLEMENTED), Told()
    async with call_insights(service, told) as insights:
        insights.said(segment("s1"), 1, None)
        async with asyncio.timeout(20):
            while not told.refusals:
                await asyncio.sleep(0.01)
        await insights.finish()
    assert len(told.refusals) == 1
    assert not told.insights


async def test_the_end_of_a_call_does_not_wait_for_an_insight_that_is_away() -> None:
    told = Told()
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    insights = CallInsights(lambda: channel, (), api.Open(conversation_id="c", session_id="s"), told.insight, told.refused)
    insights.said(segment("s1"), 1, None)
    async with asyncio.timeout(10):
        await insights.finish()
        await insights.close()
    await channel.close()
    assert not told.insights
