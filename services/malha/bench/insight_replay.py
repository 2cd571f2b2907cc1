"""A transcript as a live call to Insight: segments when they end, and a tick each second of the media, as Audio tells them."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Protocol

import grpc
from google.protobuf.duration_pb2 import Duration

from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import insight_pb2_grpc, rules_pb2
from malha.bench.transcripts import Role, Turn
from malha.runtime.errors import DeadlineExceeded, Unavailable
from malha.runtime.mesh import OPTIONS
from malha.runtime.status import from_rpc_error

HEARD_SECONDS: Final = 3.0
"""How long the next turn waits for what the server makes of the last where no time passes between them: longer than the ladder."""
QUIET_SECONDS: Final = 0.04
"""Then, without a word from the server, the next turn follows: so that advice is told beside what it is about."""
SLACK_SECONDS: Final = 60.0
ROLES: Final[dict[Role, media_pb2.Role.ValueType]] = {"agent": media_pb2.ROLE_AGENT, "customer": media_pb2.ROLE_CUSTOMER}
CHANNELS: Final[dict[Role, int]] = {"customer": 1}
NO_PROXY: Final = (("grpc.enable_http_proxy", 0),)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of Insight."""

    conversation_id: str
    language: str
    policy: str = ""
    types: Sequence[rules_pb2.InsightType.ValueType] = ()
    alias: str = ""
    rate: float = 0.0
    """Times the pace it was spoken at; 0: as fast as the server takes it."""
    wishes: Sequence[float] = ()
    """Media seconds at which the operator asks for advice."""


class Listener(Protocol):
    """Who follows a replay."""

    def said(self, number: int, turn: Turn) -> None:
        """A turn is being sent; they count from 1, and a turn's segment is ``str(number)``."""

    def told(self, response: api.AnalyzeResponse) -> None:
        """The server tells something."""


@dataclass(slots=True)
class _Pace:
    """When the next message is due, and how far the server is."""

    rate: float
    begin: float = field(default_factory=monotonic)
    decided: int = 0
    """The last segment the server has told something of."""
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, media_seconds: float) -> None:
        if self.rate:
            await asyncio.sleep(self.begin + media_seconds / self.rate - monotonic())

    async def heard(self, number: int) -> None:
        if self.rate:
            return
        until = monotonic() + HEARD_SECONDS
        while monotonic() < until:
            self.progress.clear()
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await self.progress.wait()
            except TimeoutError:
                if self.decided >= number:
                    return

    def told(self, response: api.AnalyzeResponse) -> None:
        if response.HasField("decision"):
            self.decided = max(self.decided, response.decision.seq)
        self.progress.set()


def connect(target: str) -> grpc.aio.Channel:
    """A channel to a server of ours, by no proxy."""
    return grpc.aio.insecure_channel(target, options=[*OPTIONS, *NO_PROXY])


async def replay(channel: grpc.aio.Channel, token: str, turns: Sequence[Turn], asked: Asked, listener: Listener) -> None:
    """Send it all, tell ``listener`` until the server has closed. Raises MalhaError as the server tells it, Unavailable, DeadlineExceeded."""
    call = insight_pb2_grpc.InsightServiceStub(channel).Analyze(metadata=(("authorization", f"Bearer {token}"),))
    length = max((turn.end for turn in turns), default=0.0)
    limit = SLACK_SECONDS + (length / asked.rate if asked.rate else HEARD_SECONDS * len(turns))
    try:
        async with asyncio.timeout(limit):
            await _converse(call, turns, asked, listener)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    except TimeoutError:
        raise DeadlineExceeded("Insight took too long", reason="INSIGHT_SLOW") from None
    finally:
        call.cancel()


async def _converse(call: Any, turns: Sequence[Turn], asked: Asked, listener: Listener) -> None:
    sending: asyncio.Task[None] | None = None
    pace = _Pace(asked.rate)
    try:
        await call.write(api.AnalyzeRequest(open=_opening(asked)))
        while (response := await call.read()) is not grpc.aio.EOF:
            pace.told(response)
            listener.told(response)
            if response.HasField("opened"):
                pace.begin = monotonic()
                sending = asyncio.create_task(_send(call, turns, asked, pace, listener), name="replay")
            elif response.HasField("closed"):
                return
        raise Unavailable("Insight ended before it told its end", reason="INSIGHT_LOST")
    except asyncio.InvalidStateError:
        await call.code()
        raise Unavailable("Insight ended before it was told all", reason="INSIGHT_LOST") from None
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)  # what ended it ends the reading too, and is told there


def _opening(asked: Asked) -> api.Open:
    return api.Open(
        conversation_id=asked.conversation_id, language=asked.language, policy=asked.policy, types=asked.types, alias=asked.alias
    )


async def _send(call: Any, turns: Sequence[Turn], asked: Asked, pace: _Pace, listener: Listener) -> None:
    wishes = sorted(asked.wishes)
    ticked = 0
    for number, turn in enumerate(sorted(turns, key=lambda turn: turn.end), 1):
        while ticked + 1 <= turn.end:
            ticked += 1
            await pace.until(ticked)
            await call.write(_tick(ticked, wished=bool(wishes) and wishes[0] <= ticked))
            wishes = [wish for wish in wishes if wish > ticked]
        await pace.until(turn.end)
        listener.said(number, turn)
        await call.write(api.AnalyzeRequest(segment=api.Said(segment=_segment(number, turn, asked.language), seq=number)))
        await pace.heard(number)
    await call.write(_tick(math.ceil(max((turn.end for turn in turns), default=0.0)), wished=bool(wishes)))
    await call.write(api.AnalyzeRequest(finish=api.Finish()))


def _tick(seconds: float, *, wished: bool) -> api.AnalyzeRequest:
    return api.AnalyzeRequest(tick=api.Tick(time=_duration(seconds), trigger=wished))


def _segment(number: int, turn: Turn, language: str) -> transcript_pb2.Segment:
    return transcript_pb2.Segment(
        id=str(number),
        revision=1,
        state=transcript_pb2.SEGMENT_STATE_FINAL,
        channel=CHANNELS.get(turn.role, 0),
        role=ROLES.get(turn.role, media_pb2.ROLE_UNSPECIFIED),
        text=turn.text,
        start=_duration(turn.start),
        end=_duration(turn.end),
        language=language,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
