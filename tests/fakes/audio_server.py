"""A real grpc.aio server that speaks the contract of Audio, Transcribe and Synthesize, to inject faults the real one does not have.

A test gives the behaviour of a call as an async function of a FakeCall; ``polite`` is a server without faults. Run as a program it serves
politely and prints its port, for a test that kills it.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from malha.api.audio.v1 import audio_pb2 as audio
from malha.api.audio.v1 import audio_pb2_grpc
from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.synthesize.v1 import synthesize_pb2 as synthesize
from malha.api.synthesize.v1 import synthesize_pb2_grpc
from malha.api.transcribe.v1 import transcribe_pb2 as transcribe
from malha.api.transcribe.v1 import transcribe_pb2_grpc
from malha.runtime.relay import RelayServer

TOKEN = "fake-token"
ENGINE = media_pb2.Engine(name="fake", version="1", model="tiny")
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
)


def status_details(code: grpc.StatusCode, message: str, *details) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata as the real server sends it."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return (("grpc-status-details-bin", status.SerializeToString()),)


def error_info(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain="malha", metadata=metadata)


@dataclass
class FakeCall:
    """One call as the server sees it: what came, and the means to answer."""

    context: grpc.aio.ServicerContext
    metadata: dict[str, str] = field(default_factory=dict)
    requests: list[audio.StreamRequest] = field(default_factory=list)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """The call ended without `finish`: seen as the end of the requests, or as cancelled."""
    seq: int = 0

    @property
    def pieces(self) -> list[audio.Audio]:
        return [request.audio for request in self.requests if request.HasField("audio")]

    @property
    def content(self) -> bytes:
        return b"".join(piece.content for piece in self.pieces)

    @property
    def format(self) -> media_pb2.AudioFormat:
        return self.requests[0].open.format

    async def read(self) -> audio.StreamRequest | None:
        request = await self.context.read()
        if request is grpc.aio.EOF:
            return None
        self.requests.append(request)
        return request

    async def send(self, *, durable: bool = False, position: int = 0, **event) -> None:
        self.seq += durable
        await self.context.write(audio.StreamResponse(seq=self.seq if durable else 0, position=position, **event))

    async def opened(self, **fields) -> None:
        given = {"session_id": self.metadata.get("malha-session", ""), "engine": ENGINE, "clock_rate": 16_000, "server_version": "fake"}
        await self.send(opened=audio.Opened(**(given | fields)))

    async def ack(self, received_through: int, keep_from: int) -> None:
        await self.send(position=received_through, ack=audio.Ack(received_through=received_through, keep_from=keep_from))

    async def final(self, text: str, *, segment_id: str = "s1", revision: int = 1, state: str = "FINAL", **fields) -> None:
        segment = transcript_pb2.Segment(
            id=segment_id, revision=revision, state=f"SEGMENT_STATE_{state}", text=text, language="en", **fields
        )
        await self.send(durable=state != "PARTIAL", transcript=audio.Transcript(segment=segment, latency=Duration(nanos=300_000_000)))

    async def close(self) -> None:
        summary = audio.Summary(
            duration=Duration(seconds=2),
            segments=1,
            channels=[audio.ChannelSummary(role="ROLE_AGENT", segments=1, talk=Duration(seconds=1))],
        )
        await self.send(durable=True, summary=summary)
        await self.send(durable=True, closed=audio.Closed(reason="CLOSE_REASON_FINISHED"))

    async def abort(self, code: grpc.StatusCode, message: str, *details) -> None:
        await self.context.abort(code, message, status_details(code, message, *details))


Behaviour = Callable[[FakeCall], Awaitable[None]]


async def polite(call: FakeCall) -> None:
    """Opens, acks each piece, tells a final at each flush, and closes at finish."""
    await call.read()
    await call.opened()
    received = 0
    while (request := await call.read()) is not None:
        match request.WhichOneof("request"):
            case "audio":
                frame = frame_bytes(call.format)
                received = request.audio.position + len(request.audio.content) // frame
                await call.ack(received, max(0, received - 2 * (call.format.sample_rate_hertz or 0)))
            case "control" if request.control.HasField("flush"):
                await call.final(f"heard {received}", segment_id=f"s{call.seq}", end=Duration(seconds=1))
            case "finish":
                await call.final("the end", segment_id="last", start=Duration(seconds=1), end=Duration(seconds=2))
                await call.close()
                return


def frame_bytes(audio_format: media_pb2.AudioFormat) -> int:
    name = media_pb2.Encoding.Name(audio_format.encoding)
    sample = {"ENCODING_PCM16": 2, "ENCODING_MULAW": 1, "ENCODING_ALAW": 1}.get(name)
    return 1 if sample is None else sample * (audio_format.channels or 1)


class FakeServer(
    audio_pb2_grpc.AudioStreamServiceServicer,
    transcribe_pb2_grpc.TranscribeServiceServicer,
    synthesize_pb2_grpc.SynthesizeServiceServicer,
):
    """The servicers. ``calls`` are those seen, the newest last; ``unavailable`` counts down unary calls to refuse."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.calls: list[FakeCall] = []
        self.spoken: list[synthesize.SynthesizeRequest] = []
        self.speaking = 0
        self.unavailable = 0
        self.unary_calls = 0
        self.port = 0
        self.arrived = asyncio.Event()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def call(self) -> FakeCall:
        return self.calls[-1]

    async def Stream(self, _iterator, context) -> None:
        call = FakeCall(context, await self._admitted(context))
        self.calls.append(call)
        self.arrived.set()
        try:
            await self.behaviour(call)
        finally:
            if not any(request.HasField("finish") for request in call.requests):
                call.lost.set()

    async def ListModels(self, _request, context):
        await self._unary(context)
        return transcribe.ListModelsResponse(models=[transcribe.Model(name="tiny", engine=ENGINE, languages=["en"])])

    async def ListVoices(self, request, context):
        await self._unary(context)
        voices = [synthesize.Voice(name="ana", languages=["pt-BR"], gender="female"), synthesize.Voice(name="bob", languages=["en"])]
        return synthesize.ListVoicesResponse(voices=[v for v in voices if not request.language or request.language in v.languages])

    async def Synthesize(self, _iterator, context) -> None:
        """One chunk of as many samples as characters for each text; a mark for each of its words."""
        await self._admitted(context)
        self.speaking += 1
        try:
            await self._speak(context)
        finally:
            self.speaking -= 1

    async def _speak(self, context) -> None:
        offset = 0
        while (request := await context.read()) is not grpc.aio.EOF:
            self.spoken.append(request)
            match request.WhichOneof("request"):
                case "open":
                    rate = request.open.format.sample_rate_hertz or 22_050
                    opened = synthesize.Opened(
                        engine=ENGINE, voice=synthesize.Voice(name=request.open.voice or "ana"), format={"sample_rate_hertz": rate}
                    )
                    await context.write(synthesize.SynthesizeResponse(opened=opened))
                case "text":
                    for word in request.text.text.split():
                        mark = synthesize.Mark(word=word, text_offset=offset, time=Duration(seconds=offset))
                        await context.write(synthesize.SynthesizeResponse(mark=mark))
                    offset += len(request.text.text)
                    await context.write(synthesize.SynthesizeResponse(audio=synthesize.Audio(content=bytes(2 * len(request.text.text)))))
                case "finish":
                    await context.write(synthesize.SynthesizeResponse(closed=synthesize.Closed(characters=offset)))
                    return

    async def _admitted(self, context) -> dict[str, str]:
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != f"Bearer {TOKEN}":
            code = grpc.StatusCode.UNAUTHENTICATED
            await context.abort(code, "unknown token", status_details(code, "unknown token", error_info("UNKNOWN_TOKEN")))
        return metadata

    async def _unary(self, context) -> None:
        await self._admitted(context)
        self.unary_calls += 1
        if self.unavailable:
            self.unavailable -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")


def _audio_handlers(fake: FakeServer) -> grpc.GenericRpcHandler:
    """Audio, for calls that come in a relay."""
    stream = grpc.stream_stream_rpc_method_handler(fake.Stream, audio.StreamRequest.FromString, audio.StreamResponse.SerializeToString)
    return grpc.method_handlers_generic_handler("malha.api.audio.v1.AudioStreamService", {"Stream": stream})


@asynccontextmanager
async def serving(
    behaviour: Behaviour = polite, *, port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[FakeServer]:
    """A fake server on a free port of the loopback."""
    fake = FakeServer(behaviour)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((RelayServer([_audio_handlers(fake)]).handler(),))
    audio_pb2_grpc.add_AudioStreamServiceServicer_to_server(fake, server)
    transcribe_pb2_grpc.add_TranscribeServiceServicer_to_server(fake, server)
    synthesize_pb2_grpc.add_SynthesizeServiceServicer_to_server(fake, server)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    await health.set("malha.api.audio.v1.AudioStreamService", health_pb2.HealthCheckResponse.SERVING)
    await health.set("malha.api.transcribe.v1.TranscribeService", health_pb2.HealthCheckResponse.NOT_SERVING)
    address = f"127.0.0.1:{port}"
    fake.port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)


async def main(_arguments: Sequence[str]) -> None:
    async with serving() as fake:
        print(fake.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
