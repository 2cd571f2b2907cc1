"""One call's way to Insight: what was said and how media time goes on to it, advice back.

Insight is not on the call's path: nothing here waits for it, and a call goes on without it. Where it is lost it is asked again, with the same
session, of which it knows itself what was said and what it has advised.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import grpc

from malha.api.common.v1 import transcript_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import insight_pb2_grpc
from malha.runtime import logs
from malha.runtime.logs import Event
from malha.runtime.status import from_rpc_error

log = logs.get("audio.insights")

MOST_WAITING: Final = 256
"""Messages kept for an Insight that is away; of more the oldest go: it reads what is stored."""
BACKOFF_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
FINISH_SECONDS: Final = 4.0
"""How long the end of a call waits for the last advice: the ladder's 1.6 s and what comes after it."""
END_SECONDS: Final = 1.0
"""Within which a closed stream has its status."""
NEVER: Final = frozenset(
    {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND}
)
"""Answers that will be the same next time."""

Metadata = tuple[tuple[str, str], ...]


class CallInsights:
    """The insights of one call."""

    def __init__(
        self,
        channel: Callable[[], grpc.aio.Channel],
        metadata: Metadata,
        opening: api.Open,
        told: Callable[[api.Insight], None],
        refused: Callable[[str, str], None],
        *,
        enabled: bool = True,
    ) -> None:
        """``told`` gets each insight once; ``refused(reason, message)`` why there will be none. ``enabled``: whether they are wanted from the start."""
        self._channel = channel
        self._metadata = metadata
        self._opening = opening
        self._told = told
        self._refused = refused
        self._known: set[str] = set()
        self._waiting: deque[api.AnalyzeRequest] = deque(maxlen=MOST_WAITING)
        self._unsettled: dict[int, api.AnalyzeRequest] = {}
        """Wishes and feedback that Insight has not said are done, by number: its connection may be lost with them."""
        self._enabled = enabled
        self._wake = asyncio.Event()
        self._finishing = False
        self._ticked = -1
        self._numbered = 0
        self._attempts = 0
        """To reach an Insight that is away."""
        self._task = asyncio.create_task(self._run(), name="call-insights")

    def said(self, segment: transcript_pb2.Segment, seq: int, latency_seconds: float | None) -> None:
        """A final or amended segment, which the client was told under ``seq``."""
        said = api.Said(segment=segment, seq=seq)
        now = time.time()
        said.told_time.FromNanoseconds(int(now * 1e9))
        if latency_seconds is not None:
            said.audio_time.FromNanoseconds(int((now - latency_seconds) * 1e9))
        self._put(api.AnalyzeRequest(segment=said))

    def tick(self, seconds: float) -> None:
        """Media time goes on."""
        whole = int(seconds)
        if whole > self._ticked:
            self._ticked = whole
            tick = api.Tick()
            tick.time.FromNanoseconds(int(seconds * 1e9))
            self._put(api.AnalyzeRequest(tick=tick))

    def control(self, enabled: bool | None, trigger: bool) -> None:
        """The operator turns insights on or off, or asks for one now."""
        if enabled is not None:
            self._enabled = enabled
        tick = api.Tick(trigger=trigger, enabled=enabled)
        tick.time.FromNanoseconds(max(self._ticked, 0) * 1_000_000_000)
        self._put_until_done(api.AnalyzeRequest(tick=tick))

    def feedback(self, insight_id: str, action: str) -> None:
        """What the operator did with an insight."""
        self._put_until_done(api.AnalyzeRequest(feedback=api.Feedback(insight_id=insight_id, action=action)))

    async def finish(self) -> None:
        """Wait for what is still on its way."""
        self._finishing = True
        self._put(api.AnalyzeRequest(finish=api.Finish()))
        await asyncio.wait([self._task], timeout=FINISH_SECONDS)

    async def close(self) -> None:
        """No more is wanted."""
        self._task.cancel()
        await asyncio.wait([self._task])

    def _put_until_done(self, request: api.AnalyzeRequest) -> None:
        """Beyond what may wait the oldest is not sent again."""
        request.request_id = self._numbered = self._numbered + 1
        self._unsettled[self._numbered] = request
        if len(self._unsettled) > MOST_WAITING:
            del self._unsettled[next(iter(self._unsettled))]
        self._put(request)

    def _again(self) -> None:
        """Before all that waits: what a lost connection may have taken along. Insight gives the same insight once, and counts the same feedback once."""
        again = [request for request in self._unsettled.values() if request not in self._waiting]
        while self._waiting and len(self._waiting) + len(again) > MOST_WAITING:
            self._waiting.popleft()  # a full deque would let go of the newest
        self._waiting.extendleft(reversed(again))

    def _put(self, request: api.AnalyzeRequest) -> None:
        self._waiting.append(request)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                if await self._analyze():
                    return
            except grpc.aio.AioRpcError as error:
                if error.code() in NEVER:
                    told = from_rpc_error(error)
                    self._refused(told.reason, told.message)
                    return
            if self._finishing and self._attempts:
                return
            if not self._attempts:
                log.warning(Event.INSIGHT_LOST)
            await asyncio.sleep(BACKOFF_SECONDS[min(self._attempts, len(BACKOFF_SECONDS) - 1)])
            self._attempts += 1

    async def _analyze(self) -> bool:
        """One connection; whether all is done."""
        call = insight_pb2_grpc.InsightServiceStub(self._channel()).Analyze(metadata=self._metadata)
        sender: asyncio.Task[None] | None = None
        try:
            self._opening.disabled = not self._enabled
            await call.write(api.AnalyzeRequest(open=self._opening))
            while (response := await call.read()) is not grpc.aio.EOF:
                kind = response.WhichOneof("event")
                if kind == "opened" and sender is None:
                    self._attempts = 0
                    self._again()
                    sender = asyncio.create_task(self._send(call), name="call-insights-send")
                elif kind == "insight" and response.insight.id not in self._known:
                    self._known.add(response.insight.id)
                    self._told(response.insight)
                elif kind == "done":
                    self._unsettled.pop(response.done.request_id, None)
                elif kind == "closed":
                    await _ended(call)
                    return True
            await call.code()
            return False
        finally:
            call.cancel()
            if sender is not None:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, grpc.RpcError, asyncio.InvalidStateError):
                    await sender

    async def _send(self, call: Any) -> None:
        """Hand on what waits, in order; a message that was not taken waits for the next connection."""
        while True:
            while self._waiting:
                request = self._waiting[0]
                await call.write(request)
                if self._waiting and self._waiting[0] is request:  # else so much came meanwhile that it went
                    self._waiting.popleft()
            self._wake.clear()
            await self._wake.wait()


async def _ended(call: Any) -> None:
    """A closed stream comes to its end: given up a moment before, it would count as cancelled over there. All is told: how it ends matters no more."""
    with contextlib.suppress(TimeoutError, grpc.RpcError, asyncio.InvalidStateError):
        async with asyncio.timeout(END_SECONDS):
            while await call.read() is not grpc.aio.EOF:
                pass
