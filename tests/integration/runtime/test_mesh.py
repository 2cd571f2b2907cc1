"""The mesh's channels, to a real server."""

from pathlib import Path

import pytest
from conftest import AUTHORIZED, RunningServer

from fakes.certificates import self_signed
from fakes.wire import Wire
from malha.api.transcribe.v1 import transcribe_pb2, transcribe_pb2_grpc
from malha.runtime.mesh import Mesh
from malha.runtime.settings import RuntimeSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

NULL = NullEngine(TranscribeSettings(_env_file=None))


async def test_a_server_that_is_slow_to_connect_to_is_reached(server: RunningServer, settings: RuntimeSettings) -> None:
    async with Wire(server.port).laid() as wire:
        wire.delay_seconds = 1.0
        assert await model_by(Mesh(settings.model_copy(update={"transcribe_target": wire.target}), lambda: "")) == "null"


@pytest.mark.parametrize("name", ["localhost", "calls.example.org", "*.example.org", "192.0.2.1"])
async def test_the_edge_of_this_machine_reaches_a_live_with_tls(settings: RuntimeSettings, tmp_path: Path, name: str) -> None:
    certificate, key = self_signed(tmp_path, name)
    secured = settings.model_copy(update={"tls_certificate": certificate, "tls_key": key})
    async with RunningServer(secured, NULL) as server:
        assert await model_by(Mesh(secured, lambda: f"127.0.0.1:{server.port}")) == "null"


async def model_by(mesh: Mesh) -> str:
    """Of the Transcribe that is reached; the mesh is closed."""
    try:
        stub = transcribe_pb2_grpc.TranscribeServiceStub(mesh.channel("transcribe"))
        models = await stub.ListModels(transcribe_pb2.ListModelsRequest(), metadata=AUTHORIZED, timeout=30)
    finally:
        await mesh.close()
    return models.models[0].name
