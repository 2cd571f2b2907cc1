"""The stream rules, against every service through reflection: what a client without our schema sees."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from conftest import AUTHORIZED, RunningServer
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2

from fakes.diarize_engine import NullDiarizeEngine
from fakes.documents import pdf
from fakes.ocr_engine import NullOcrEngine
from malha.audio.service import AudioStreamService
from malha.audio.settings import AudioSettings
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
from malha.diarize.service import DiarizeService
from malha.diarize.settings import DiarizeSettings
from malha.insight.service import InsightService
from malha.insight.settings import InsightSettings
from malha.ocr.service import OcrService
from malha.ocr.settings import OcrSettings
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import SERVICES, load_contracts
from malha.runtime.mesh import Mesh
from malha.runtime.rpc import Service
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.runtime.status import DETAILS_KEY
from malha.runtime.stream import StreamLimits
from malha.synthesize.engines.espeak import EspeakEngine
from malha.synthesize.service import SynthesizeService
from malha.synthesize.settings import SynthesizeSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.service import TranscribeService
from malha.transcribe.settings import TranscribeSettings

OPENINGS = {
    "malha.api.chat.v1.ChatService": {"open": {}},
    "malha.api.insight.v1.InsightService": {"open": {"conversation_id": "c"}},
    "malha.api.audio.v1.AudioStreamService": {"open": {"format": {"encoding": 1}}},
    "malha.api.transcribe.v1.TranscribeService": {"open": {"format": {"encoding": 1}}},
    "malha.api.synthesize.v1.SynthesizeService": {"open": {"language": "en"}},
    "malha.api.ocr.v1.OcrService": {"open": {}},
    "malha.api.diarize.v1.DiarizeService": {"open": {"format": {"encoding": 1}}},
}
WORK = {"malha.api.ocr.v1.OcrService": [{"data": {"content": pdf([b""])}}]}
"""What a stream that is to end well needs before its end: a document without a byte is none."""
BUILT = set(OPENINGS)


class Reflected:
    """Methods and message types of a server, learnt from it alone, by reflection v1."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.pool = descriptor_pool.DescriptorPool()
        self._added: set[str] = set()

    async def ask(self, **request: str) -> reflection_pb2.ServerReflectionResponse:
        call = self._channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )()
        await call.write(reflection_pb2.ServerReflectionRequest(**request))
        response = await call.read()
        await call.done_writing()
        return response

    async def services(self) -> list[str]:
        return [service.name for service in (await self.ask(list_services="")).list_services_response.service]

    async def load(self, name: str) -> None:
        await self._add(
            [
                descriptor_pb2.FileDescriptorProto.FromString(data)
                for data in (await self.ask(file_containing_symbol=name)).file_descriptor_response.file_descriptor_proto
            ]
        )

    async def _add(self, files: list[descriptor_pb2.FileDescriptorProto]) -> None:
        for file in files:
            for dependency in file.dependency:
                if dependency not in self._added:
                    response = await self.ask(file_by_filename=dependency)
                    await self._add(
                        [
                            descriptor_pb2.FileDescriptorProto.FromString(data)
                            for data in response.file_descriptor_response.file_descriptor_proto
                        ]
                    )
            if file.name not in self._added:
                self._added.add(file.name)
                self.pool.Add(file)

    def method(self, service: str, name: str | None = None) -> tuple[Any, Any]:
        """(multicallable, request class) of the bidirectional method, or of a named unary one."""
        methods = self.pool.FindServiceByName(service).methods
        found = next(method for method in methods if (method.name == name if name else method.client_streaming))
        request, response = (message_factory.GetMessageClass(kind) for kind in (found.input_type, found.output_type))
        make = self._channel.stream_stream if found.client_streaming else self._channel.unary_unary
        return make(
            f"/{service}/{found.name}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
        ), request


@dataclass(frozen=True)
class Everything:
    """A server with all that is built."""

    target: str


@pytest.fixture
async def server(settings: RuntimeSettings) -> AsyncIterator[Everything]:
    load_contracts()
    mesh = Mesh(settings, lambda: "127.0.0.1:1")
    synthesize = SynthesizeSettings(_env_file=None)
    services: list[Service] = [
        AudioStreamService(AudioSettings(_env_file=None), lambda: mesh.channel("transcribe"), None),
        TranscribeService(NullEngine(TranscribeSettings(_env_file=None))),
        SynthesizeService(EspeakEngine(synthesize), synthesize),
        InsightService(None, lambda: mesh.channel("chat"), InsightSettings(_env_file=None)),
        ChatService(ChatSettings(_env_file=None), settings.data_dir),
        OcrService(NullOcrEngine(), OcrSettings(_env_file=None)),
        DiarizeService(NullDiarizeEngine(), DiarizeSettings(_env_file=None), None),
    ]
    assert {service.name for service in services} == BUILT
    authenticator = Authenticator.from_settings(settings.api_tokens, settings.data_dir)
    running = Server(services, [name for name in SERVICES if name not in BUILT], settings, authenticator)
    for name in ("transcribe", "chat"):
        mesh.serve(name, running.in_process)
    port = await running.start()
    try:
        await running.wait_serving()
        yield Everything(f"127.0.0.1:{port}")
    finally:
        await running.stop()
        await mesh.close()


@pytest.fixture
def reflected(channel: grpc.aio.Channel) -> Reflected:
    return Reflected(channel)


async def ending(call: Any) -> tuple[grpc.StatusCode, str, list[Any]]:
    """How a stream ends: its code, the reason, the messages it gave.

    Where it is refused before it is read it has to be one that writes nothing: grpc.aio would hide the status from a write that meets it.
    """
    messages = []
    try:
        while (message := await asyncio.wait_for(call.read(), 60)) is not grpc.aio.EOF:
            messages.append(message)
    except grpc.aio.AioRpcError:
        pass
    return await call.code(), reason_of(await call.trailing_metadata()), messages


def reason_of(metadata: Any) -> str:
    for key, value in metadata or ():
        if key == DETAILS_KEY:
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    assert info.domain == "malha"
                    return info.reason
    return ""


async def test_reflection_lists_all_services(reflected: Reflected) -> None:
    assert set(SERVICES) <= set(await reflected.services())


@pytest.mark.parametrize("service", sorted(SERVICES))
async def test_every_bidirectional_stream_opens_with_open_and_ends_with_finish(reflected: Reflected, service: str) -> None:
    await reflected.load(service)
    descriptor = reflected.pool.FindServiceByName(service)
    streams = [method for method in descriptor.methods if method.client_streaming]
    for method in streams:
        assert method.server_streaming
        kinds = {field.name: field.number for field in method.input_type.oneofs_by_name["request"].fields}
        assert kinds["open"] == 1
        assert "finish" in kinds
        events = {field.name for field in method.output_type.oneofs_by_name["event"].fields}
        assert {"opened", "closed"} <= events


@pytest.mark.parametrize(
    "service", sorted(set(SERVICES) - BUILT - {"malha.api.conversation.v1.ConversationService", "malha.api.jobs.v1.JobService"})
)
async def test_what_is_not_built_says_so(reflected: Reflected, service: str) -> None:
    await reflected.load(service)
    method, _ = reflected.method(service)
    code, reason, _ = await ending(method(metadata=AUTHORIZED))
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IN_THIS_VERSION")


@pytest.mark.parametrize("service", sorted(BUILT))
class TestBuilt:
    async def open(self, reflected: Reflected, service: str) -> tuple[Any, Any]:
        await reflected.load(service)
        method, request = reflected.method(service)
        call = method(metadata=AUTHORIZED)
        await call.write(request(**OPENINGS[service]))
        opened = await call.read()
        assert opened.WhichOneof("event") == "opened"
        return call, request

    async def test_finish_closes_with_ok(self, reflected: Reflected, service: str) -> None:
        call, request = await self.open(reflected, service)
        for work in WORK.get(service, ()):
            await call.write(request(**work))
        await call.write(request(finish={}))
        code, _, messages = await ending(call)
        assert code is grpc.StatusCode.OK
        assert messages[-1].WhichOneof("event") == "closed"

    async def test_the_end_of_requests_that_stands_counts_as_finish(self, reflected: Reflected, service: str) -> None:
        call, request = await self.open(reflected, service)
        for work in WORK.get(service, ()):
            await call.write(request(**work))
        await call.done_writing()
        code, _, messages = await ending(call)
        assert code is grpc.StatusCode.OK
        assert messages[-1].WhichOneof("event") == "closed"

    async def test_something_before_open_is_refused(self, reflected: Reflected, service: str) -> None:
        await reflected.load(service)
        method, request = reflected.method(service)
        call = method(metadata=AUTHORIZED)
        await call.write(request(finish={}))
        assert (await ending(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ORDER")

    async def test_a_second_open_is_refused(self, reflected: Reflected, service: str) -> None:
        call, request = await self.open(reflected, service)
        await call.write(request(**OPENINGS[service]))
        assert (await ending(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ORDER")

    async def test_an_empty_message_is_refused(self, reflected: Reflected, service: str) -> None:
        call, request = await self.open(reflected, service)
        await call.write(request())
        assert (await ending(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")

    async def test_bytes_that_are_no_message_are_refused(self, reflected: Reflected, service: str, channel: grpc.aio.Channel) -> None:
        await reflected.load(service)
        descriptor = reflected.pool.FindServiceByName(service)
        name = next(method.name for method in descriptor.methods if method.client_streaming)
        call = channel.stream_stream(f"/{service}/{name}", request_serializer=bytes, response_deserializer=bytes)(metadata=AUTHORIZED)
        await call.write(b"\xff\xff\xff")
        assert (await ending(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")

    @pytest.mark.parametrize(("metadata", "reason"), [((), "TOKEN_MISSING"), ((("authorization", "Bearer wrong"),), "TOKEN_UNKNOWN")])
    async def test_who_is_not_known_is_refused(self, reflected: Reflected, service: str, metadata: Any, reason: str) -> None:
        await reflected.load(service)
        method, _ = reflected.method(service)
        assert (await ending(method(metadata=metadata)))[:2] == (grpc.StatusCode.UNAUTHENTICATED, reason)


async def test_unary_methods_of_services_not_built_say_so(reflected: Reflected) -> None:
    service = "malha.api.conversation.v1.ConversationService"
    await reflected.load(service)
    method, request = reflected.method(service, "ListConversations")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await method(request(), metadata=AUTHORIZED)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason_of(raised.value.trailing_metadata()) == "NOT_IN_THIS_VERSION"


async def test_health_tells_each_service(channel: grpc.aio.Channel) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(channel)
    for service in ["", *BUILT]:
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Check(health_pb2.HealthCheckRequest(service="malha.api.finetune.v1.FineTuneService"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_stream_that_never_opens_is_ended_with_a_reason(settings: RuntimeSettings) -> None:
    engine = NullEngine(TranscribeSettings(_env_file=None))
    async with (
        RunningServer(settings, engine, StreamLimits(open_seconds=0.2)) as server,
        grpc.aio.insecure_channel(server.target) as channel,
    ):
        reflected = Reflected(channel)
        service = "malha.api.audio.v1.AudioStreamService"
        await reflected.load(service)
        method, _ = reflected.method(service)
        assert (await ending(method(metadata=AUTHORIZED)))[:2] == (grpc.StatusCode.DEADLINE_EXCEEDED, "OPEN_TIMEOUT")
