"""A client that keeps its audio and resumes its call, as the contract says; small enough to be checked by eye."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.audio.v1 import audio_pb2_grpc
from malha.api.common.v1 import media_pb2

RATE = 16_000
SECONDS = 20.0


def opening(channels: int = 1, **fields: Any) -> api.StreamRequest:
    audio_format = media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16, sample_rate_hertz=RATE, channels=channels)
    return api.StreamRequest(open=api.Open(format=audio_format, **fields))


@dataclass
class Resuming:
    """One call. ``pcm`` has shape (frames, channels)."""

    channel: Any
    metadata: tuple[tuple[str, str], ...]
    pcm: np.ndarray
    open: api.StreamRequest
    piece: int = 1_600
    token: str = ""
    tokens: list[str] = field(default_factory=list)
    position: int = 0
    keep: tuple[int, int] | None = None
    last_seq: int = 0
    durable: list[api.StreamResponse] = field(default_factory=list)
    repeated: int = 0
    resumed_from: list[int] = field(default_factory=list)
    closed: bool = False
    error: grpc.aio.AioRpcError | None = None
    """What the last connection ended with."""
    call: Any = None
    _reader: Any = None

    async def connect(self, channel: Any = None) -> None:
        """Open the call, or resume it; returns once it is opened."""
        self.channel = channel or self.channel
        self.call = audio_pb2_grpc.AudioStreamServiceStub(self.channel).Stream(metadata=self.metadata)
        if self.token:
            resume = api.Resume(token=self.token, after_seq=self.last_seq)
            if self.keep is not None:
                resume.have_from, resume.have_from_frame = self.keep
            await self.call.write(api.StreamRequest(resume=resume))
        else:
            await self.call.write(self.open)
        async with asyncio.timeout(SECONDS):
            response = await self.call.read()
        assert response.HasField("opened"), response
        if self.token:
            self.resumed_from.append(response.opened.resume_from)
            assert response.opened.resume_from >= (self.keep or (0, 0))[0]
            self.position = min(self.position, response.opened.resume_from)
        self.token = response.opened.resume_token
        self.tokens.append(self.token)
        self._reader = asyncio.create_task(self._read(self.call))

    async def send(self, frames: int) -> None:
        """Send so much audio on, reading what comes meanwhile."""
        until = min(self.position + frames, len(self.pcm))
        while self.position < until:
            end = min(self.position + self.piece, until)
            content = self.pcm[self.position : end].tobytes()
            await self.call.write(api.StreamRequest(audio=api.Audio(content=content, position=self.position)))
            self.position = end

    async def stored(self) -> None:
        """Wait until something durable was told."""
        async with asyncio.timeout(SECONDS):
            while not self.durable:
                await asyncio.sleep(0.01)

    async def lose(self) -> None:
        """The connection is lost, and whatever was on its way to us."""
        self.call.cancel()
        await asyncio.wait([self._reader])

    async def over(self) -> None:
        """Hear the connection out, however it ends."""
        async with asyncio.timeout(SECONDS):
            await asyncio.wait([self._reader])

    async def finish(self) -> None:
        """Send the rest and hear the call out."""
        await self.send(len(self.pcm))
        await self.call.write(api.StreamRequest(finish=api.Finish()))
        await self.over()
        assert self.closed, self.error

    def take(self, response: api.StreamResponse) -> None:
        """Keep what the server says."""
        assert not response.HasField("opened")
        if response.HasField("ack"):
            self.keep = (response.ack.keep_from, response.ack.keep_from_frame)
        if response.seq:
            if response.seq <= self.last_seq:
                self.repeated += 1
            self.last_seq = response.seq
            self.durable.append(response)
        self.closed = self.closed or response.HasField("closed")

    @property
    def seqs(self) -> list[int]:
        return [response.seq for response in self.durable]

    @property
    def segments(self) -> list[Any]:
        return [response.transcript.segment for response in self.durable if response.HasField("transcript")]

    async def _read(self, call: Any) -> None:
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                if call is self.call:  # else it was given up, and the next one tells this again
                    self.take(response)
        except grpc.aio.AioRpcError as error:
            self.error = error
        except asyncio.CancelledError:
            if not call.cancelled():
                raise


def spans(segments: Sequence[Any]) -> list[tuple[int, float, float]]:
    """(channel, start, end) of segments with text, in order."""
    return sorted(
        (segment.channel, round(segment.start.ToNanoseconds() / 1e9, 2), round(segment.end.ToNanoseconds() / 1e9, 2))
        for segment in segments
        if segment.text
    )
