"""How soon a long call is resumed: one is heard as fast as it is taken, loses its connection, and is resumed, through the edge and at live itself."""

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import orjson
from websockets.asyncio.client import ClientConnection, connect

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.audio.v1 import audio_pb2_grpc
from malha.bench.chaos_call import CHUNK_FRAMES, CHUNK_SECONDS
from malha.bench.private_server import Running
from malha.bench.speech import RATE
from malha.bench.statistics import summary
from malha.runtime.errors import Unavailable

TIMES: Final = 20
"""Each way."""
EVENT_SECONDS: Final = 60.0
CALL_SECONDS: Final = 600.0
"""For the whole measurement of an hour's call; more for longer ones."""
AUDIO: Final = {"encoding": "pcm16", "sample_rate": RATE, "channels": 1, "positions": True}


@dataclass(slots=True)
class _LongCall:
    """What its client knows of it."""

    token: str = ""
    seq: int = 0
    told: int = 0
    """Durable events, in all."""
    keep: tuple[int, int] = (0, 0)
    heard: int = 0
    resume_ms: dict[str, list[float]] = field(default_factory=lambda: {"edge": [], "live": [], "from_the_first_event": []})

    def take(self, event: dict[str, Any]) -> None:
        if event["event"] == "error":
            raise Unavailable("the long call failed", reason=event["reason"])
        if event.get("seq", 0) > self.seq:
            self.seq = event["seq"]
            self.told += 1
        if event["event"] in ("session_started", "session_resumed"):  # the latter: by the edge, for us
            self.token = event["resume_token"]
        elif event["event"] == "ack":
            self.heard, self.keep = event["received_through"], (event["keep_from"], event["keep_from_frame"])


async def long_call(server: Running, chunks: list[bytes], hours: float) -> dict[str, Any]:
    """Hear ``hours`` of ``chunks`` over and over, then resume again and again. Raises Unavailable for a call that fails."""
    call, count = _LongCall(), int(hours * 3600 / CHUNK_SECONDS)
    async with asyncio.timeout(CALL_SECONDS * max(1.0, hours)):
        begin = time.monotonic()
        await _hear(server, call, chunks, count)
        hearing = time.monotonic() - begin
        for _ in range(TIMES):
            await _resume_at_edge(server, call, after_seq=call.seq)
        for _ in range(TIMES):
            await _resume_at_live(server, call)
        for _ in range(TIMES):
            await _resume_at_edge(server, call, after_seq=0)
    return {
        "hours": hours,
        "heard_in_s": round(hearing, 1),
        "durable_events": call.seq,
        "lost": call.seq - call.told,
        "resume_ms": {way: {**summary(values, (50, 95)), "count": len(values)} for way, values in call.resume_ms.items()},
    }


def _connect(server: Running) -> connect:
    headers = {"Authorization": f"Bearer {server.token}"}
    return connect(server.websocket, additional_headers=headers, compression=None, proxy=None, max_size=None)


async def _hear(server: Running, call: _LongCall, chunks: list[bytes], count: int) -> None:
    async with _connect(server) as socket:
        await socket.send(orjson.dumps({"event": "start", "pace": "batch", **AUDIO}).decode())
        call.take(await _next(socket))
        sending = asyncio.create_task(_send(socket, chunks, count))
        try:
            while call.heard < count * CHUNK_FRAMES:
                call.take(await _next(socket))
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            socket.transport.abort()  # a lost connection says nothing


async def _send(socket: ClientConnection, chunks: list[bytes], count: int) -> None:
    """As fast as it is taken; then at the pace of speech, until it is heard."""
    for number in itertools.count():
        await socket.send((number * CHUNK_FRAMES).to_bytes(8, "big") + chunks[number % len(chunks)])
        await asyncio.sleep(0 if number < count else CHUNK_SECONDS)


async def _resume_at_edge(server: Running, call: _LongCall, after_seq: int) -> None:
    """Until the server says where to go on and has told what came ``after_seq``."""
    begin = time.monotonic()
    async with _connect(server) as socket:
        position, frame = call.keep
        resume = {"event": "resume", "token": call.token, "after_seq": after_seq, "have_from": position, "have_from_frame": frame}
        await socket.send(orjson.dumps({**resume, **AUDIO}).decode())
        call.take(await _next(socket))
        told = after_seq
        while told < call.seq:
            event = await _next(socket)
            told = event.get("seq") or told
            call.take(event)
        call.resume_ms["edge" if after_seq else "from_the_first_event"].append((time.monotonic() - begin) * 1e3)
        socket.transport.abort()


async def _resume_at_live(server: Running, call: _LongCall) -> None:
    begin = time.monotonic()
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub: Any = audio_pb2_grpc.AudioStreamServiceStub(channel)
        stream = stub.Stream(metadata=(("authorization", f"Bearer {server.token}"),))
        position, frame = call.keep
        resume = api.Resume(token=call.token, after_seq=call.seq, have_from=position, have_from_frame=frame)
        await stream.write(api.StreamRequest(resume=resume))
        async with asyncio.timeout(EVENT_SECONDS):
            response = await stream.read()
        if response is grpc.aio.EOF or not response.HasField("opened"):
            raise Unavailable("the long call could not be resumed", reason="NOT_RESUMED")
        call.resume_ms["live"].append((time.monotonic() - begin) * 1e3)
        call.token = response.opened.resume_token
        stream.cancel()


async def _next(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(EVENT_SECONDS):
        event: dict[str, Any] = orjson.loads(await socket.recv())
    return event
