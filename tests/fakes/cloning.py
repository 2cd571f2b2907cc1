"""A synthesiser that clones at once, and what a client of it and its audit see."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc

from malha.api.synthesize.v1 import synthesize_pb2 as api
from malha.api.synthesize.v1.synthesize_pb2_grpc import SynthesizeServiceStub
from malha.runtime.status import from_rpc_error
from malha.store.database import Database
from malha.synthesize.engine import REFERENCE_HERTZ, Capabilities, Clone, Reference, SpeechChunk, SpeechConfig, Voice

DEADLINE = 60.0


class ParrotEngine:
    """Says a sentence with the reference it was given."""

    capabilities = Capabilities("parrot", "1", REFERENCE_HERTZ, (Voice("polly", ("pt",)),), cloning=True, model="grey", licence="none")

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    def choose_voice(self, voice: str, language: str) -> Voice:
        del voice, language
        return self.capabilities.voices[0]

    async def clone(self, tenant: str, reference: Reference, language: str) -> Clone:
        del tenant
        return Clone(Voice("clone", (language,)), reference.pcm[:2000])

    async def speak(self, config: SpeechConfig, sentence: str) -> AsyncIterator[SpeechChunk]:
        del sentence
        yield SpeechChunk(config.timbre if isinstance(config.timbre, bytes) else bytes(100))


async def cloned(stub: SynthesizeServiceStub, metadata: tuple[tuple[str, str], ...], **opening: Any) -> list[api.SynthesizeResponse]:
    """Speak with a clone. Raises MalhaError."""
    call = stub.Synthesize(metadata=metadata, timeout=DEADLINE)
    try:
        await call.write(api.SynthesizeRequest(open=api.Open(language="pt", **opening)))
        responses = [await call.read()]
        if responses[0] is grpc.aio.EOF:
            await call  # raises its status
        await call.write(api.SynthesizeRequest(text=api.Text(text="Bom dia.")))
        await call.write(api.SynthesizeRequest(finish=api.Finish()))
        while (response := await call.read()) is not grpc.aio.EOF:
            responses.append(response)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    return responses


async def clones(database: Database, tenant: uuid.UUID) -> list[tuple[str, str, str, dict[str, Any]]]:
    """What the audit tells of a tenant's clones."""
    async with database.tenant_tx(tenant) as connection:
        rows = await connection.fetch("SELECT action, object_type, object_id, details FROM audit WHERE action = 'voice.clone' ORDER BY id")
    return [tuple(row.values()) for row in rows]
