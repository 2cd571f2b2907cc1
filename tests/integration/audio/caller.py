"""A client of one call, as tests of calls have it."""

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from conftest import AUTHORIZED

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.audio.v1 import audio_pb2_grpc
from malha.runtime.status import from_rpc_error

PIECE = 1600
"""Samples in a message."""


class Caller:
    """A client of one call."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Any = AUTHORIZED) -> None:
        self.call: Any = audio_pb2_grpc.AudioStreamServiceStub(channel).Stream(metadata=metadata)
        self.events: list[api.StreamResponse] = []

    async def open(self, **fields: Any) -> api.Opened:
        fields.setdefault("format", {"encoding": "ENCODING_PCM16"})
        await self.call.write(api.StreamRequest(open=api.Open(**fields)))
        return (await self.read()).opened

    async def send(self, audio: np.ndarray, position: int | None = None, piece: int = PIECE) -> None:
        for at in range(0, len(audio), piece):
            content = audio[at : at + piece].tobytes()
            await self.call.write(api.StreamRequest(audio=api.Audio(content=content, position=None if position is None else position + at)))

    async def control(self, **control: Any) -> None:
        await self.call.write(api.StreamRequest(control=api.Control(**control)))

    async def read(self) -> api.StreamResponse:
        event = await asyncio.wait_for(self.call.read(), 10)
        if event is grpc.aio.EOF:
            await self.call.wait_for_connection()
            raise AssertionError(f"ended: {await self.call.code()} {await self.call.details()}")
        self.events.append(event)
        return event

    async def finish(self) -> list[api.StreamResponse]:
        await self.call.write(api.StreamRequest(finish=api.Finish()))
        return await self.rest()

    async def rest(self) -> list[api.StreamResponse]:
        while (event := await asyncio.wait_for(self.call.read(), 15)) is not grpc.aio.EOF:
            self.events.append(event)
        return self.events

    async def error(self) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.rest()
            raise grpc.aio.AioRpcError(await self.call.code(), None, await self.call.trailing_metadata(), await self.call.details())
        return from_rpc_error(raised.value)

    def of(self, kind: str) -> list[Any]:
        return [getattr(event, kind) for event in self.events if event.WhichOneof("event") == kind]

    @property
    def finals(self) -> list[Any]:
        return [transcript.segment for transcript in self.of("transcript") if transcript.segment.state == 2]
