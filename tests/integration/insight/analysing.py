"""Insight as a client has it."""

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

import grpc
from conftest import AUTHORIZED
from google.protobuf.duration_pb2 import Duration

from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import insight_pb2_grpc, rules_pb2

CUSTOMER, AGENT = media_pb2.ROLE_CUSTOMER, media_pb2.ROLE_AGENT
THREAT = "eu quero cancelar meu plano agora"


def answer_of(kind: str, message: str, quote: str, confidence: float = 0.9) -> str:
    """What a good model answers."""
    return json.dumps({"type": kind, "message": message, "confidence": confidence, "evidence": [{"quote": quote}]}, ensure_ascii=False)


class Talk:
    """One stream of Analyze."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Any = AUTHORIZED) -> None:
        self._call = insight_pb2_grpc.InsightServiceStub(channel).Analyze(metadata=metadata)
        self._seq = 0
        self._time = 0.0
        self.decisions: list[api.Decision] = []

    async def open(self, **fields: Any) -> api.Opened:
        opening = {"conversation_id": f"c-{uuid.uuid4()}", "language": "pt-BR", **fields}
        await self._call.write(api.AnalyzeRequest(open=api.Open(**opening)))
        return (await self.event()).opened

    async def say(self, text: str, role: Any = CUSTOMER, seconds: float = 3.0, segment: str = "") -> str:
        """Say something; the segment's id."""
        self._seq += 1
        name = segment or f"0-{self._seq}"
        start, self._time = self._time, self._time + seconds
        spoken = transcript_pb2.Segment(
            id=name, revision=1, state=transcript_pb2.SEGMENT_STATE_FINAL, role=role, text=text, start=span(start), end=span(self._time)
        )
        await self._call.write(api.AnalyzeRequest(segment=api.Said(segment=spoken, seq=self._seq)))
        return name

    async def tick(self, seconds: float, **fields: Any) -> None:
        """Media time goes on by so much."""
        self._time += seconds
        await self._call.write(api.AnalyzeRequest(tick=api.Tick(time=span(self._time), **fields)))

    async def feedback(self, insight: str, action: str) -> None:
        await self._call.write(api.AnalyzeRequest(feedback=api.Feedback(insight_id=insight, action=action)))

    async def event(self, seconds: float = 20.0) -> api.AnalyzeResponse:
        async with asyncio.timeout(seconds):
            response = await self._call.read()
        assert response is not grpc.aio.EOF, "it ended"
        return response

    async def insight(self, seconds: float = 20.0) -> api.Insight:
        """The next insight; decisions on the way are noted."""
        while True:
            event = await self.event(seconds)
            if event.HasField("insight"):
                return event.insight
            assert event.HasField("decision"), event
            self.decisions.append(event.decision)

    async def finish(self) -> list[api.Insight]:
        """End it; what else is told."""
        await self._call.write(api.AnalyzeRequest(finish=api.Finish()))
        rest = []
        while not (event := await self.event()).HasField("closed"):
            if event.HasField("insight"):
                rest.append(event.insight)
            else:
                self.decisions.append(event.decision)
        return rest

    def lose(self) -> None:
        """Be a client that disappears."""
        self._call.cancel()

    @property
    def reasons(self) -> Sequence[str]:
        return [decision.reason for decision in self.decisions]


def span(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def kind_of(insight: api.Insight) -> str:
    return rules_pb2.InsightType.Name(insight.type).removeprefix("INSIGHT_TYPE_").lower()
