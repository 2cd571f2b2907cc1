"""One stream: its audio to the engine, channel by channel, and what the engine finds to the client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import soxr

from malha.api.diarize.v1 import diarize_pb2 as api
from malha.diarize.engine import SAMPLE_RATE_HERTZ, DiarizationConfig, DiarizeEngine, Turn, VoicePrint
from malha.diarize.matching import match
from malha.diarize.settings import DiarizeSettings
from malha.diarize.store import SpeakerStore
from malha.runtime import logs
from malha.runtime.durations import duration
from malha.runtime.errors import DeadlineExceeded, Internal, MalhaError, ResourceExhausted, UnsupportedFormat
from malha.runtime.logs import Event
from malha.runtime.stream import Stream

log = logs.get("diarize")

QUEUED_PIECES: Final = 16
PIECE_SECONDS: Final = 1.0
"""Longer messages are taken in parts, so that others have their turn."""
SAMPLE_BYTES: Final = 2
GATHERED_BYTES: Final = SAMPLE_RATE_HERTZ * SAMPLE_BYTES // 4


@dataclass(frozen=True, slots=True)
class Opening:
    """What a stream was opened with, checked."""

    config: DiarizationConfig
    rate: int
    channels: int


class Session:
    """The channels of one stream, each labelled by a task of its own."""

    def __init__(
        self,
        stream: Stream[api.DiarizeRequest, api.DiarizeResponse],
        engine: DiarizeEngine,
        opening: Opening,
        settings: DiarizeSettings,
        store: SpeakerStore | None,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._stream = stream
        self._engine = engine
        self._opening = opening
        self._settings = settings
        self._store = store
        self._frames = 0
        self._turns: dict[tuple[int, int], Turn] = {}
        self._labels: dict[int, int] = {}
        """The number a voice is told by: of a recording the first that speaks is `S1`, whatever was thought before."""
        self._channels = [_Channel(opening.rate) for _ in range(opening.channels)]
        for number, channel in enumerate(self._channels):
            tasks.create_task(self._label(number, channel), name="diarize-channel")

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return self._frames / self._opening.rate

    @property
    def speech_seconds(self) -> float:
        """Speech in it, as the turns have it."""
        return sum(turn.end - turn.start for turn in self._turns.values())

    @property
    def speakers(self) -> int:
        """How many speak."""
        return len({(channel, turn.speaker) for (channel, _), turn in self._turns.items()})

    async def hear(self, content: bytes) -> None:
        """Take audio. Waits while the engine is behind. Raises UnsupportedFormat, ResourceExhausted."""
        channels, rate = self._opening.channels, self._opening.rate
        if len(content) % (SAMPLE_BYTES * channels):
            raise UnsupportedFormat("audio.content is not a whole number of 16-bit frames", reason="PARTIAL_FRAME")
        frames = np.frombuffer(content, "<i2").reshape(-1, channels)
        self._frames += len(frames)
        if self.seconds > self._settings.diarize_max_seconds:
            raise ResourceExhausted(
                f"a stream may have {self._settings.diarize_max_seconds:,.0f} s of audio: open another one",
                reason="AUDIO_TOO_LONG",
                quota="stream_seconds",
            )
        step = int(rate * PIECE_SECONDS)
        for at in range(0, len(frames), step):
            for number, channel in enumerate(self._channels):
                await channel.put(frames[at : at + step, number])

    async def end(self) -> None:
        """No more audio comes."""
        for channel in self._channels:
            await channel.end()

    async def _label(self, number: int, channel: "_Channel") -> None:
        """What fails here ends the stream with its status; raised, it would cancel the session's read, and take the status along."""
        try:
            found = self._engine.diarize(self._opening.config, channel.pieces())
            async with contextlib.aclosing(found) as results:  # type: ignore[type-var]  # an engine's iterator is an async generator
                async for result in results:
                    if isinstance(result, Turn):
                        await self._tell_turn(number, result)
                    else:
                        await self._tell_match(number, result)
        except MalhaError as error:
            self._stream.end(error)
        except Exception as error:
            log.error(Event.ENGINE_ITEM_FAILED, cause=error)
            self._stream.end(Internal("the engine failed on this stream"))

    async def _tell_turn(self, channel: int, turn: Turn) -> None:
        if turn.speaker:
            self._turns[channel, turn.id] = turn
        else:
            self._turns.pop((channel, turn.id), None)
        told = api.Turn(
            id=turn.id * self._opening.channels + channel - (self._opening.channels - 1),
            revision=turn.revision,
            speaker=self._speaker(channel, turn.speaker),
            start=duration(turn.start),
            end=duration(turn.end),
            channel=channel,
        )
        await self._send(api.DiarizeResponse(turn=told))

    async def _tell_match(self, channel: int, voice: VoicePrint) -> None:
        """Compare with who is enrolled now: a consent may have been withdrawn meanwhile. Without the database nobody is recognised."""
        tenant = self._stream.principal.tenant_id
        if self._store is None or tenant is None:
            return
        try:
            enrolled = await self._store.enrolled(tenant, self._engine.capabilities.print_model)
        except MalhaError as error:
            log.warning(Event.ENGINE_ITEM_FAILED, reason=error.reason)
            return
        found = match(voice.embedding, enrolled, self._settings.speaker_threshold)
        told = api.SpeakerMatch(
            speaker=self._speaker(channel, voice.speaker),
            top=found.top,
            score=found.score,
            all=[api.Candidate(speaker_id=name, score=score) for name, score in found.candidates],
            speech=duration(voice.seconds),
        )
        await self._send(api.DiarizeResponse(speaker_match=told))

    def _speaker(self, channel: int, speaker: int) -> str:
        """The label: of several channels each has one speaker."""
        if not speaker:
            return ""
        return f"S{channel + speaker if channel else self._labels.setdefault(speaker, len(self._labels) + 1)}"

    async def _send(self, response: api.DiarizeResponse) -> None:
        """Send once there is room. A client that has stopped reading must not hold its place for ever."""
        try:
            async with asyncio.timeout(self._settings.diarize_reader_seconds):
                await self._stream.send(response)
        except TimeoutError:
            seconds = self._settings.diarize_reader_seconds
            raise DeadlineExceeded(f"turns were not read for {seconds:g} s", reason="READER_SLOW") from None


class _Channel:
    """The audio of one channel on its way to the engine, at the rate it hears."""

    def __init__(self, rate: int) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED_PIECES)
        self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE_HERTZ, 1, dtype=np.int16) if rate != SAMPLE_RATE_HERTZ else None

    async def put(self, samples: np.ndarray[Any, np.dtype[np.int16]]) -> None:
        """Add samples, once there is room."""
        await self._queue.put(self._resampled(np.ascontiguousarray(samples), last=False))

    async def end(self) -> None:
        """No more come."""
        await self._queue.put(self._resampled(np.empty(0, np.int16), last=True))
        await self._queue.put(None)

    async def pieces(self) -> AsyncIterator[bytes]:
        """What was put, until the end, a quarter of a second or more at once: what a piece costs hardly depends on its length."""
        gathered = bytearray()
        while (piece := await self._queue.get()) is not None:
            gathered += piece
            if len(gathered) >= GATHERED_BYTES:
                await asyncio.sleep(0)  # a full queue never lets others run
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    def _resampled(self, samples: np.ndarray[Any, np.dtype[np.int16]], *, last: bool) -> bytes:
        if self._resampler is None:
            return samples.tobytes()
        resampled: bytes = self._resampler.resample_chunk(samples, last=last).tobytes()
        return resampled
