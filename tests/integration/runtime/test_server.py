"""The server's own conduct: addresses, TLS, ports, traces, figures."""

import asyncio
import urllib.request
from pathlib import Path

import grpc
import pytest
from conftest import AUTHORIZED, TOKEN, RunningServer
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from fakes.certificates import self_signed
from malha.api.transcribe.v1 import transcribe_pb2, transcribe_pb2_grpc
from malha.cli.client import connected
from malha.runtime.admin import Admin
from malha.runtime.errors import FailedPrecondition
from malha.runtime.settings import RuntimeSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

NULL = NullEngine(TranscribeSettings(_env_file=None))


async def test_a_taken_port_says_what_to_do(settings: RuntimeSettings, server: RunningServer) -> None:
    with pytest.raises(FailedPrecondition, match=f"port {server.port} .* is taken: .* MALHA_GRPC_PORT"):
        await RunningServer(settings.model_copy(update={"grpc_port": server.port}), NULL).__aenter__()


async def test_an_address_others_reach_needs_tls_or_consent(settings: RuntimeSettings) -> None:
    with pytest.raises(FailedPrecondition, match="MALHA_TLS_CERTIFICATE"):
        await RunningServer(settings.model_copy(update={"host": "0.0.0.0"}), NULL).__aenter__()
    async with RunningServer(settings.model_copy(update={"host": "0.0.0.0", "insecure": True}), NULL) as server:
        assert server.port


async def test_all_that_reflection_lists_it_describes(channel: grpc.aio.Channel) -> None:
    """As `buf curl --list-methods` asks, and before each call."""
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = [service.name for service in (await call.read()).list_services_response.service]
    assert "grpc.reflection.v1.ServerReflection" in listed
    for name in listed:
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in (await call.read()).file_descriptor_response.file_descriptor_proto
        ]
        assert name in {f"{file.package}.{service.name}" for file in files for service in file.service}
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_off_loopback_there_is_no_reflection(settings: RuntimeSettings) -> None:
    async with (
        RunningServer(settings.model_copy(update={"host": "0.0.0.0", "insecure": True}), NULL) as server,
        grpc.aio.insecure_channel(server.target) as channel,
    ):
        call = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", request_serializer=bytes, response_deserializer=bytes
        )()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_tls_serves_those_who_trust_it(settings: RuntimeSettings, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    secured = settings.model_copy(update={"tls_certificate": certificate, "tls_key": key, "tls_ca": certificate})
    async with RunningServer(secured, NULL) as server:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
            models = await transcribe_pb2_grpc.TranscribeServiceStub(channel).ListModels(
                transcribe_pb2.ListModelsRequest(), metadata=AUTHORIZED
            )
            assert models.models[0].name == "null"
        async with grpc.aio.insecure_channel(server.target) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await transcribe_pb2_grpc.TranscribeServiceStub(channel).ListModels(
                    transcribe_pb2.ListModelsRequest(), metadata=AUTHORIZED, timeout=2
                )


async def test_the_program_reaches_a_server_that_has_tls(
    settings: RuntimeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)
    secured = settings.model_copy(update={"tls_certificate": certificate, "tls_key": key})
    monkeypatch.setenv("MALHA_TOKEN", TOKEN)
    async with RunningServer(secured, NULL) as server:
        monkeypatch.setenv("MALHA_TLS_CA", str(certificate))
        async with connected(f"localhost:{server.port}") as malha:
            assert [model.name for model in await malha.models()] == ["null"]
        monkeypatch.setenv("MALHA_TLS_CA", str(key))
        with pytest.raises(FailedPrecondition, match="MALHA_TLS_CA"):
            async with connected(f"localhost:{server.port}"):
                pass


async def test_too_many_streams_are_refused_at_open(settings: RuntimeSettings) -> None:
    async with (
        RunningServer(settings.model_copy(update={"max_streams": 1}), NULL) as server,
        grpc.aio.insecure_channel(server.target) as channel,
    ):
        stub = transcribe_pb2_grpc.TranscribeServiceStub(channel)
        opening = transcribe_pb2.TranscribeRequest(open={"format": {"encoding": 1}})
        first = stub.Transcribe(metadata=AUTHORIZED)
        await first.write(opening)
        assert (await first.read()).HasField("opened")
        second = stub.Transcribe(metadata=AUTHORIZED)  # which writes nothing: grpc.aio may hide the status from one who does
        assert await second.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()


async def test_admin_tells_figures_and_readiness(server: RunningServer, channel: grpc.aio.Channel) -> None:
    await transcribe_pb2_grpc.TranscribeServiceStub(channel).ListModels(transcribe_pb2.ListModelsRequest(), metadata=AUTHORIZED)
    ready = [True]
    admin = Admin(0, lambda: ready[0])
    try:
        figures = await asyncio.to_thread(fetch, admin.port, "/metrics")
        assert 'malha_rpcs_total{code="OK",method="ListModels",service="malha.api.transcribe.v1.TranscribeService"}' in figures[1]
        assert (await asyncio.to_thread(fetch, admin.port, "/readyz"))[0] == 200
        ready[0] = False
        assert (await asyncio.to_thread(fetch, admin.port, "/readyz"))[0] == 503
        assert (await asyncio.to_thread(fetch, admin.port, "/livez"))[0] == 200
    finally:
        admin.close()


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


@pytest.mark.parametrize(
    ("host", "words"),
    [("192.0.2.1", r"192\.0\.2\.1 cannot be had \(.+\): name an address"), ("no.such.host.invalid", r"invalid cannot be had \(.+\)")],
)
async def test_an_address_of_another_machine_is_not_told_as_taken(settings: RuntimeSettings, host: str, words: str) -> None:
    with pytest.raises(FailedPrecondition, match=words):
        await RunningServer(settings.model_copy(update={"host": host, "insecure": True}), NULL).__aenter__()


async def test_files_of_tls_that_are_none_are_told_at_start(settings: RuntimeSettings, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate, key = self_signed(tmp_path)
    _, other = self_signed(tmp_path / "other")
    for given, words in (
        ({"tls_certificate": certificate}, "go together"),
        ({"tls_key": key}, "go together"),
        ({"tls_certificate": certificate, "tls_key": other}, "no PEM certificate and its private key"),
        ({"tls_certificate": key, "tls_key": key}, "no PEM certificate and its private key"),
        ({"tls_certificate": tmp_path / "none.pem", "tls_key": key}, "cannot read .*none.pem"),
        ({"tls_ca": tmp_path / "none.pem"}, "cannot read .*none.pem.* MALHA_TLS_CA"),
        ({"tls_ca": key}, "no PEM certificate.* MALHA_TLS_CA"),
    ):
        with pytest.raises(FailedPrecondition, match=words):
            await RunningServer(settings.model_copy(update=given), NULL).__aenter__()
