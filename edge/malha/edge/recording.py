"""A recording as a call of pace BATCH: pieces of a file in, a transcript out."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import grpc

from malha.api.audio.v1 import audio_pb2 as api
from malha.edge.calls import Metadata, audio_call
from malha.edge.errors import ServiceAway
from malha.edge.framing import audio_request
from malha.edge.transcript import Transcript
from malha.runtime.errors import DeadlineExceeded, MalhaError

OPEN_SECONDS = 30.0
FEED_SECONDS = 60.0
"""How long the server may take for one piece."""
END_SECONDS = 1.0


class Recording:
    """Opened on entering, which is when the server refuses what it will not do; cancelled on leaving, unless it is over."""

    def __init__(self, channel: grpc.aio.Channel, identity: Metadata, opening: api.Open) -> None:
        self.transcript = Transcript()
        self._opening = opening
        self._call = audio_call(channel, identity)
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._call.open(api.StreamRequest(open=self._opening))
                await self._next()
        except TimeoutError:
            self._call.cancel()
            raise DeadlineExceeded(f"the service did not open the recording within {OPEN_SECONDS:g} s", reason="OPEN_TIMEOUT") from None
        except BaseException:
            self._call.cancel()
            raise
        self._reader = asyncio.create_task(self._read(), name="edge-recording")
        return self

    async def __aexit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        assert self._reader is not None, "entered"
        self._reader.cancel()
        if self.transcript.closed:  # its status comes at once, and a call that is left before it counts as given up
            with contextlib.suppress(MalhaError, TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self._call.read()
        self._call.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def feed(self, content: bytes) -> None:
        """Send a piece of the file. Raises what the call failed with."""
        await self._send(audio_request(content))

    async def finish(self, seconds: float) -> Transcript:
        """Say that the file is whole, and wait for its transcript."""
        assert self._reader is not None, "entered"
        await self._send(api.StreamRequest(finish=api.Finish()).SerializeToString())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._reader)
        except TimeoutError:
            raise DeadlineExceeded(f"the recording was not transcribed within {seconds:g} s", reason="TRANSCRIPTION_TIMEOUT") from None
        return self.transcript

    async def _send(self, request: bytes) -> None:
        assert self._reader is not None, "entered"
        try:
            async with asyncio.timeout(FEED_SECONDS):
                sent = await self._call.write(request)
        except TimeoutError:
            raise DeadlineExceeded("the service does not take the recording", reason="FEED_TIMEOUT") from None
        if not sent or (self._reader.done() and not self.transcript.closed):
            await self._reader
            raise ServiceAway("the service ended the recording before its end: try again")

    async def _read(self) -> None:
        while not self.transcript.closed:
            await self._next()

    async def _next(self) -> None:
        response = await self._call.read()
        if response is None:
            raise ServiceAway("the service ended the recording without a word: try again")
        self.transcript.add(response)
