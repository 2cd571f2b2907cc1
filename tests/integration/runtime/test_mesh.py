"""The mesh's channels, to a real server."""

from conftest import AUTHORIZED, RunningServer

from fakes.wire import Wire
from malha.api.transcribe.v1 import transcribe_pb2, transcribe_pb2_grpc
from malha.runtime.mesh import Mesh
from malha.runtime.settings import RuntimeSettings


async def test_a_server_that_is_slow_to_connect_to_is_reached(server: RunningServer, settings: RuntimeSettings) -> None:
    async with Wire(server.port).laid() as wire:
        wire.delay_seconds = 1.0
        mesh = Mesh(settings.model_copy(update={"transcribe_target": wire.target}), lambda: "")
        try:
            stub = transcribe_pb2_grpc.TranscribeServiceStub(mesh.channel("transcribe"))
            models = await stub.ListModels(transcribe_pb2.ListModelsRequest(), metadata=AUTHORIZED, timeout=30)
        finally:
            await mesh.close()
    assert models.models[0].name == "null"
