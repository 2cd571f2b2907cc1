"""A model of a server whose calls survive, and the means to break it at any message.

What the model stores outlives its calls, as a database does: durable events, how far the audio is committed, and the mutes at that commit. All
else dies with a call. ``breaks`` are numbers of steps; every message has one before it and one after. ``MemoryConnection`` is one without
sockets. Run as a program it serves, breaks twice, and prints its port.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

import grpc

from fakes.audio_server import FakeCall, error_info, frame_bytes, serving
from malha.api.audio.v1 import audio_pb2 as audio
from malha.api.common.v1 import transcript_pb2
from malha.sdk._rpc import CallOver


class DiedError(Exception):
    """The process that served this call is gone."""


@dataclass
class Session:
    """One row, and what the tests ask about it."""

    opening: audio.Open
    tokens: list[str]
    """Those that resume: the newest, and the one that was used last."""
    epoch: int = 1
    events: list[audio.StreamResponse] = field(default_factory=list)
    committed: int = 0
    content: bytes = b""
    """All audio in finals."""
    heard: bytes = b""
    """For each of its frames: 1 where it was heard, 0 where muted."""
    muted: bool = False
    """At the last commit."""
    digits: str = ""
    wishes: int = 0
    """Heard by any owner."""
    insights: bool = True
    """As its present owner was told."""
    closed: bool = False
    skipped: list[tuple[int, int]] = field(default_factory=list)
    """Where a `resume` was answered with one position, and the first audio came from another."""


class ResumingServer:
    """A behaviour for ``serving``. Commits each ``commit_frames``, but for the newest ``lag_frames``, which an utterance would still hold."""

    def __init__(
        self, *, breaks: Collection[int] = (), leaves: Collection[int] = (), commit_frames: int = 1_200, lag_frames: int = 700, code=None
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.breaks = set(breaks)
        self.leaves = set(leaves)
        self.steps = 0
        self.commit_frames = commit_frames
        self.lag_frames = lag_frames
        self.code = code or grpc.StatusCode.UNAVAILABLE
        self.lost_answers = 0
        """So many times a call is taken over, and the answer does not arrive."""
        self.refuse = ""
        """A reason: `resume` is refused for ever."""

    @property
    def session(self) -> Session:
        return next(iter(self.sessions.values()))

    async def __call__(self, call: FakeCall) -> None:
        try:
            await _Owner(self, call).serve()
        except DiedError:
            await call.context.abort(self.code, "died")

    def step(self) -> None:
        self.steps += 1
        if self.steps in self.breaks:
            raise DiedError


class _Owner:
    """One process that serves a session: what it has not committed dies with it."""

    def __init__(self, server: ResumingServer, call: FakeCall) -> None:
        self.server = server
        self.call = call
        self.pending = b""
        self.pending_heard = b""
        self.muted = False
        self.new_digits = ""

    async def serve(self) -> None:
        first = await self.read()
        if first is None:
            return
        if first.HasField("resume"):
            await self.resume(first.resume)
        else:
            await self.open(first.open)
        while not self.session.closed and (request := await self.read()) is not None:
            await getattr(self, f"on_{request.WhichOneof('request')}")(request)
            if self.server.steps in self.server.leaves and not self.session.closed:
                self.server.leaves.discard(self.server.steps)
                await self.send(audio.StreamResponse(go_away=audio.GoAway()))

    async def read(self) -> audio.StreamRequest | None:
        self.server.step()
        request = await self.call.read()
        self.server.step()
        return request

    async def send(self, response: audio.StreamResponse) -> None:
        self.server.step()
        await self.call.context.write(response)
        self.server.step()

    async def open(self, opening: audio.Open) -> None:
        session_id = self.call.metadata["malha-session"]
        self.session = self.server.sessions[session_id] = Session(opening, ["token-1"])
        await self.begin()

    async def resume(self, asked: audio.Resume) -> None:
        session = self.server.sessions.get(self.call.metadata["malha-session"])
        if session is None or asked.token not in session.tokens or self.server.refuse:
            await self.abort(grpc.StatusCode.NOT_FOUND, self.server.refuse or "SESSION_UNKNOWN")
        session.epoch += 1
        session.tokens = [asked.token, f"token-{session.epoch}"]
        self.session = session
        self.muted = session.muted
        if self.server.lost_answers:
            self.server.lost_answers -= 1
            raise DiedError
        await self.begin(max(session.committed, asked.have_from))
        for event in session.events[asked.after_seq :]:
            await self.send(event)

    async def begin(self, resume_from: int = 0) -> None:
        self.epoch = self.session.epoch
        self.session.insights = self.session.insights or not self.session.closed
        self.frame = frame_bytes(self.session.opening.format)
        self.position = self.resumed_from = resume_from
        opened = audio.Opened(session_id=self.call.metadata["malha-session"], clock_rate=16_000, resume_from=resume_from)
        if not self.session.closed:
            opened.resume_token = self.session.tokens[-1]
        await self.send(audio.StreamResponse(opened=opened))

    async def on_audio(self, request: audio.StreamRequest) -> None:
        start, content = request.audio.position, request.audio.content
        if self.resumed_from is not None and start != self.resumed_from:
            self.session.skipped.append((self.resumed_from, start))
        self.resumed_from = None
        if start > self.position:
            await self.durable(gap=audio.Gap(**{"from": self.position, "to": start}))
            self.position = start
        new = content[(self.position - start) * self.frame :]
        self.pending += new
        self.pending_heard += bytes([not self.muted]) * (len(new) // self.frame)
        self.position += len(new) // self.frame
        if len(self.pending) // self.frame >= self.server.commit_frames:
            await self.commit(self.server.lag_frames)
            await self.send(audio.StreamResponse(ack=audio.Ack(received_through=self.position, keep_from=self.session.committed)))

    async def commit(self, lag: int) -> None:
        count = len(self.pending) // self.frame - lag
        text = f"{self.position - lag - count}-{self.position - lag}"
        segment = transcript_pb2.Segment(id=f"s{len(self.session.events)}", revision=1, state="SEGMENT_STATE_FINAL", text=text)
        await self.stored()
        session = self.session
        session.content += self.pending[: count * self.frame]
        session.heard += self.pending_heard[:count]
        self.pending, self.pending_heard = self.pending[count * self.frame :], self.pending_heard[count:]
        session.committed = self.position - lag
        session.muted = self.muted
        session.digits, self.new_digits = session.digits + self.new_digits, ""
        await self.tell(transcript=audio.Transcript(segment=segment))

    async def durable(self, **event) -> None:
        await self.stored()
        await self.tell(**event)

    async def stored(self) -> None:
        """As a commit on the epoch fails for the loser."""
        if self.session.epoch != self.epoch:
            await self.abort(grpc.StatusCode.ABORTED, "SESSION_MOVED")

    async def tell(self, **event) -> None:
        """Stored first, without a step in between, then told."""
        response = audio.StreamResponse(seq=len(self.session.events) + 1, **event)
        self.session.events.append(response)
        await self.send(response)

    async def on_control(self, request: audio.StreamRequest) -> None:
        match request.control.WhichOneof("control"):
            case "mute":
                self.muted = request.control.mute.muted
            case "dtmf":
                self.new_digits += request.control.dtmf.digits
            case "insights":
                self.session.wishes += request.control.insights.trigger
                self.session.insights = request.control.insights.enabled

    async def on_finish(self, _request: audio.StreamRequest) -> None:
        if self.pending:
            await self.commit(0)
        await self.stored()
        self.session.closed = True
        await self.tell(closed=audio.Closed(reason="CLOSE_REASON_FINISHED"))

    async def abort(self, code: grpc.StatusCode, reason: str) -> None:
        await self.call.abort(code, reason.lower(), error_info(reason))


class MemoryConnection:
    """What the SDK has for a channel, to a behaviour in the same loop."""

    target = "memory"

    def __init__(self, behaviour, *, drops: bool = False) -> None:
        """``drops``: what was on its way when a call breaks does not arrive, but for the very first answer, without which there is no call."""
        self.behaviour = behaviour
        self.drops = drops
        self.rpcs: list[MemoryRpc] = []

    def stream(self, _method: str, metadata=()) -> "MemoryRpc":
        self.rpcs.append(MemoryRpc(self.behaviour, dict(metadata), drops=self.drops, first=not self.rpcs))
        return self.rpcs[-1]


class _AbortError(Exception):
    pass


class MemoryRpc:
    """The SDK's end of a call. Few requests fit on the way, as flow control would have it."""

    def __init__(self, behaviour, metadata: dict[str, str], *, drops: bool, first: bool) -> None:
        self._context = _Context()
        self._drops = drops
        self._first = first
        self._untold = True
        self._cancelled = False
        self._responses = self._read()
        self.task = asyncio.create_task(self._serve(behaviour, FakeCall(self._context, metadata)))

    async def _serve(self, behaviour, call: FakeCall) -> None:
        answers = self._context.answers
        try:
            await behaviour(call)
        except _AbortError:
            dropped = [] if not self._drops else [answers.get_nowait() for _ in range(answers.qsize())]
            for answer in dropped[: self._first and self._untold]:
                answers.put_nowait(answer)
        finally:
            self._context.over = True
            answers.put_nowait(None)

    async def write(self, message: bytes) -> None:
        await self._put(message)
        if self._context.over or self._cancelled:
            raise CallOver

    async def half_close(self) -> None:
        await self._put(None)

    async def _put(self, request: bytes | None) -> None:
        await asyncio.sleep(0)
        while self._context.requests.full() and not self._context.over:
            await asyncio.sleep(0)
        if not self._context.requests.full():
            self._context.requests.put_nowait(request)

    def cancel(self) -> None:
        self._cancelled = True
        self.task.cancel()

    def responses(self) -> AsyncIterator[bytes]:
        return self._responses

    async def _read(self) -> AsyncIterator[bytes]:
        while not self._cancelled and (response := await self._context.answers.get()) is not None:
            self._untold = False
            yield response
        if self._cancelled:
            raise asyncio.CancelledError
        if self._context.status is not None:
            raise self._context.status


class _Context:
    """The server's end, as far as a FakeCall uses it."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[bytes | None] = asyncio.Queue(4)
        self.answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.status: grpc.aio.AioRpcError | None = None
        self.over = False

    async def read(self):
        request = await self.requests.get()
        return grpc.aio.EOF if request is None else audio.StreamRequest.FromString(request)

    async def write(self, response: audio.StreamResponse) -> None:
        await asyncio.sleep(0)
        self.answers.put_nowait(response.SerializeToString())

    async def abort(self, code: grpc.StatusCode, message: str, trailing=()) -> None:
        self.status = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), message, "")
        raise _AbortError


async def main() -> None:
    async with serving(ResumingServer(breaks=(30, 50))) as fake:
        print(fake.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
