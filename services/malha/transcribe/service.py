"""TranscribeService: the contract's messages to an engine's utterances and its hypotheses back."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import numpy as np
import soxr
from google.protobuf.duration_pb2 import Duration

from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.transcribe.v1 import transcribe_pb2 as api
from malha.runtime import logs
from malha.runtime.auth import Principal
from malha.runtime.errors import Internal, MalhaError, ResourceExhausted, Unavailable, UnsupportedFormat
from malha.runtime.logs import Event
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.runtime.stream import Stream
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Hypothesis, RecognitionConfig, TranscribeEngine

log = logs.get("transcribe")

PENDING_UTTERANCES = 8
"""Utterances of one stream that may be with the engine at once; more audio is not read until one is done."""
PENDING_BACKGROUND = 4
"""The same of a stream of background work: enough to keep workers busy, and recordings take turns by so many utterances."""
QUEUED_PIECES = 64
"""Pieces of audio that may wait for the engine."""
SAMPLE_BYTES = 2
DEFAULT_RATE = 16_000

TranscribeStream = Stream[api.TranscribeRequest, api.TranscribeResponse]


class TranscribeService:
    """Serves one engine."""

    name = "malha.api.transcribe.v1.TranscribeService"

    def __init__(self, engine: TranscribeEngine) -> None:
        self._engine = engine

    @property
    def engine(self) -> str:
        """The engine's name."""
        return self._engine.capabilities.name

    async def start(self) -> None:
        """Load the engine."""
        await self._engine.start()

    async def close(self) -> None:
        """Give it back."""
        await self._engine.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {"Transcribe": StreamMethod(self.transcribe), "ListModels": UnaryMethod(self.list_models)}

    async def transcribe(self, stream: TranscribeStream) -> None:
        """One channel's utterances."""
        opening, can = stream.opening.open, self._engine.capabilities
        rate = _checked_rate(opening.format)
        language = opening.languages[0] if opening.languages else ""
        self._engine.check(language, opening.model)
        config = RecognitionConfig(
            stream.principal.tenant,
            language,
            opening.model,
            words=opening.words and can.words,
            interim=opening.interim and can.interim,
            background=opening.background,
        )
        stream.emit(api.TranscribeResponse(opened=self._opened(config)))
        async with asyncio.TaskGroup() as tasks:
            session = _Session(stream, self._engine, config, rate, tasks)
            async for request in stream:
                kind = request.WhichOneof("request")
                if kind == "audio":
                    await session.add(request.audio.content)
                elif kind == "flush":
                    await session.flush()
            await session.flush()
        await stream.send(api.TranscribeResponse(closed=api.Closed(utterances=session.utterances, audio=_duration(session.seconds))))

    async def list_models(self, request: api.ListModelsRequest, principal: Principal) -> api.ListModelsResponse:
        """The loaded models."""
        del request, principal
        can = self._engine.capabilities
        return api.ListModelsResponse(
            models=[
                api.Model(name=model, engine=media_pb2.Engine(name=can.name, version=can.version, model=model), languages=can.languages)
                for model in can.models
            ]
        )

    def _opened(self, config: RecognitionConfig) -> api.Opened:
        can = self._engine.capabilities
        model = config.model or (can.models[0] if can.models else "")
        return api.Opened(
            engine=media_pb2.Engine(name=can.name, version=can.version, model=model),
            language=config.language,
            incremental=can.incremental,
            interim=config.interim,
            words=config.words,
        )


class _Session:
    """One stream's utterances. Each is recognised by a task of its own, so that the next can begin before the last is told."""

    def __init__(
        self, stream: TranscribeStream, engine: TranscribeEngine, config: RecognitionConfig, rate: int, tasks: asyncio.TaskGroup
    ) -> None:
        self.utterances = 0
        self.seconds = 0.0
        self._stream = stream
        self._engine = engine
        self._config = config
        self._rate = rate
        self._tasks = tasks
        self._pending = asyncio.Semaphore(PENDING_BACKGROUND if config.background else PENDING_UTTERANCES)
        self._audio: asyncio.Queue[bytes | None] | None = None
        self._resampler: soxr.ResampleStream | None = None

    async def add(self, content: bytes) -> None:
        """Add audio to the present utterance, beginning one if none is open."""
        if len(content) % SAMPLE_BYTES:
            raise UnsupportedFormat("audio.content is not a whole number of 16-bit samples", reason="PARTIAL_FRAME")
        if not content:
            return
        if self._audio is None:
            await self._pending.acquire()
            self._audio = asyncio.Queue(QUEUED_PIECES)
            self.utterances += 1
            self._resampler = (
                soxr.ResampleStream(self._rate, SAMPLE_RATE_HERTZ, 1, dtype=np.int16) if self._rate != SAMPLE_RATE_HERTZ else None
            )
            self._tasks.create_task(self._recognise(self.utterances, self._audio), name="utterance")
        self.seconds += len(content) / SAMPLE_BYTES / self._rate
        await self._audio.put(self._resampled(content, last=False))

    async def flush(self) -> None:
        """End the present utterance, if one is open."""
        if self._audio is None:
            return
        audio, self._audio = self._audio, None
        if self._resampler is not None:
            await audio.put(self._resampled(b"", last=True))
        await audio.put(None)

    def _resampled(self, content: bytes, *, last: bool) -> bytes:
        if self._resampler is None:
            return content
        resampled: bytes = self._resampler.resample_chunk(np.frombuffer(content, np.int16), last=last).tobytes()
        return resampled

    async def _recognise(self, ordinal: int, audio: asyncio.Queue[bytes | None]) -> None:
        heard = _Heard(audio)
        hypotheses = self._engine.recognise(self._config, heard.pieces())
        try:
            async for hypothesis in hypotheses:
                await self._tell(ordinal, hypothesis, heard.seconds)
        except MalhaError as error:
            log.warning(Event.ENGINE_ITEM_FAILED, reason=error.reason)
            await self._tell_failed(ordinal, error)
            await heard.drain()
        except Exception as error:
            log.error(Event.ENGINE_ITEM_FAILED, cause=error)
            await self._tell_failed(ordinal, Internal("the engine failed on this utterance"))
            await heard.drain()
        finally:
            await hypotheses.aclose()  # type: ignore[attr-defined]  # an engine's iterator is an async generator
            self._pending.release()

    async def _tell(self, ordinal: int, hypothesis: Hypothesis, seconds: float) -> None:
        if hypothesis.final:
            self._stream.retract(ordinal)
            await self._stream.send(api.TranscribeResponse(final=_final(ordinal, hypothesis, seconds)))
        else:
            partial = api.Partial(utterance=ordinal, text=hypothesis.text, audio=_duration(seconds))
            self._stream.emit(api.TranscribeResponse(partial=partial), partial_of=ordinal)

    async def _tell_failed(self, ordinal: int, error: MalhaError) -> None:
        retryable = isinstance(error, Unavailable | ResourceExhausted)
        failed = api.Failed(utterance=ordinal, reason=error.reason, message=error.message, retryable=retryable)
        await self._stream.send(api.TranscribeResponse(failed=failed))


class _Heard:
    """An utterance's audio as an iterator that counts what the engine took."""

    def __init__(self, queue: asyncio.Queue[bytes | None]) -> None:
        self.seconds = 0.0
        self._queue = queue
        self._ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self._queue.get()) is not None:
            self.seconds += len(piece) / SAMPLE_BYTES / SAMPLE_RATE_HERTZ
            yield piece
        self._ended = True

    async def drain(self) -> None:
        """Take what an engine that failed left, so that whoever fills the queue is not stuck."""
        while not self._ended:
            self._ended = await self._queue.get() is None


def _checked_rate(audio: media_pb2.AudioFormat) -> int:
    if audio.encoding != media_pb2.ENCODING_PCM16 or (audio.HasField("channels") and audio.channels != 1):
        raise UnsupportedFormat(
            "Transcribe takes one channel of ENCODING_PCM16; AudioStreamService takes the other formats",
            violations={"open.format": "PCM16, one channel"},
        )
    return audio.sample_rate_hertz if audio.HasField("sample_rate_hertz") else DEFAULT_RATE


def _final(ordinal: int, hypothesis: Hypothesis, seconds: float) -> api.Final:
    return api.Final(
        utterance=ordinal,
        text=hypothesis.text,
        confidence=hypothesis.confidence or None,
        language=hypothesis.language,
        words=[
            transcript_pb2.Word(text=word.text, start=_duration(word.start), end=_duration(word.end), confidence=word.confidence)
            for word in hypothesis.words
        ],
        audio=_duration(seconds),
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
