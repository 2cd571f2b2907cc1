"""TranscribeService: the contract's messages to an engine's utterances and its hypotheses back."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import numpy as np
import soxr

from malha.api.transcribe.v1 import transcribe_pb2 as api
from malha.runtime import logs
from malha.runtime.auth import Principal
from malha.runtime.durations import duration
from malha.runtime.errors import FailedPrecondition, Internal, MalhaError, ResourceExhausted, Unavailable, UnsupportedFormat
from malha.runtime.logs import Event
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.runtime.stream import Stream
from malha.transcribe.aligner import Aligner
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Hypothesis, RecognitionConfig, TranscribeEngine, Word
from malha.transcribe.messages import (
    SAMPLE_BYTES,
    align_rate,
    engine_message,
    final_message,
    model_message,
    opened_message,
    stream_rate,
    word_message,
)

log = logs.get("transcribe")

PENDING_UTTERANCES = 8
"""Utterances of one stream that may be with the engine at once; more audio is not read until one is done."""
PENDING_BACKGROUND = 4
"""The same of a stream of background work: enough to keep workers busy, and recordings take turns by so many utterances."""
QUEUED_PIECES = 64
"""Pieces of audio that may wait for the engine."""

TranscribeStream = Stream[api.TranscribeRequest, api.TranscribeResponse]


class TranscribeService:
    """Serves one engine, which may be several in one, and an aligner where there is one."""

    name = "malha.api.transcribe.v1.TranscribeService"

    def __init__(self, engine: TranscribeEngine, aligner: Aligner | None = None) -> None:
        self._engine = engine
        self._aligner = aligner

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
        if self._aligner is not None:
            await self._aligner.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {
            "Transcribe": StreamMethod(self.transcribe),
            "ListModels": UnaryMethod(self.list_models),
            "Align": UnaryMethod(self.align),
        }

    async def transcribe(self, stream: TranscribeStream) -> None:
        """One channel's utterances."""
        opening = stream.opening.open
        rate = stream_rate(opening)
        language = opening.languages[0] if opening.languages else ""
        can = self._engine.check(language, opening.model)
        aligner = self._aligner if opening.align and self._aligns(language) else None
        config = RecognitionConfig(
            stream.principal.tenant,
            language,
            opening.model,
            words=(opening.words or opening.align) and can.words,
            interim=opening.interim and can.interim,
            background=opening.background,
        )
        stream.emit(api.TranscribeResponse(opened=opened_message(config, can, align=aligner is not None)))
        async with asyncio.TaskGroup() as tasks:
            session = _Session(stream, self._engine, aligner, config, rate, tasks)
            async for request in stream:
                kind = request.WhichOneof("request")
                if kind == "audio":
                    await session.add(request.audio.content)
                elif kind == "flush":
                    await session.flush()
            await session.flush()
        await stream.send(api.TranscribeResponse(closed=api.Closed(utterances=session.utterances, audio=duration(session.seconds))))

    async def list_models(self, request: api.ListModelsRequest, principal: Principal) -> api.ListModelsResponse:
        """The loaded models, each with the engine that holds it."""
        del request, principal
        can = self._engine.capabilities
        return api.ListModelsResponse(models=[model_message(one, name) for one in can.parts or (can,) for name in one.models])

    async def align(self, request: api.AlignRequest, principal: Principal) -> api.AlignResponse:
        """Words of a text with their times."""
        del principal
        if self._aligner is None:
            raise FailedPrecondition("this server aligns nothing", reason="NO_ALIGNER")
        rate, language = align_rate(request), request.language or "en"
        who = self._aligner.check(language)
        pcm = request.content if rate == SAMPLE_RATE_HERTZ else await asyncio.to_thread(_at_engine_rate, request.content, rate)
        words = await self._aligner.align(request.text, pcm, language)
        return api.AlignResponse(words=map(word_message, words), engine=engine_message(who))

    def _aligns(self, language: str) -> bool:
        """Whether a language can be aligned here; one that is not known yet is decided on by each final."""
        if self._aligner is None:
            return False
        try:
            self._aligner.check(language)
        except FailedPrecondition:
            return False
        return True


class _Session:
    """One stream's utterances. Each is recognised by a task of its own, so that the next can begin before the last is told."""

    def __init__(
        self,
        stream: TranscribeStream,
        engine: TranscribeEngine,
        aligner: Aligner | None,
        config: RecognitionConfig,
        rate: int,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.utterances = 0
        self.seconds = 0.0
        self._stream = stream
        self._engine = engine
        self._aligner = aligner
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
        heard = _Heard(audio, keep=self._aligner is not None)
        hypotheses = self._engine.recognise(self._config, heard.pieces())
        try:
            async for hypothesis in hypotheses:
                await self._tell(ordinal, hypothesis, heard)
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

    async def _tell(self, ordinal: int, hypothesis: Hypothesis, heard: "_Heard") -> None:
        if hypothesis.final:
            words = await self._aligned(hypothesis, heard)
            self._stream.retract(ordinal)
            final = final_message(
                ordinal, hypothesis, heard.seconds, hypothesis.words if words is None else words, aligned=words is not None
            )
            await self._stream.send(api.TranscribeResponse(final=final))
        else:
            partial = api.Partial(utterance=ordinal, text=hypothesis.text, audio=duration(heard.seconds))
            self._stream.emit(api.TranscribeResponse(partial=partial), partial_of=ordinal)

    async def _aligned(self, hypothesis: Hypothesis, heard: "_Heard") -> tuple[Word, ...] | None:
        """The words with times found by alignment; None where nothing aligns them: the recogniser's own stand then."""
        if self._aligner is None or not hypothesis.text:
            return None
        try:
            language = hypothesis.language or self._config.language
            words = await self._aligner.align(hypothesis.text, bytes(heard.kept), language, background=self._config.background)
        except MalhaError as error:
            log.info(Event.ENGINE_ITEM_FAILED, reason=error.reason, engine="aligner")
            return None
        own = [word.confidence for word in hypothesis.words]
        trust = own if len(own) == len(words) else [hypothesis.confidence] * len(words)
        return tuple(replace(word, confidence=confidence) for word, confidence in zip(words, trust, strict=True))

    async def _tell_failed(self, ordinal: int, error: MalhaError) -> None:
        retryable = isinstance(error, Unavailable | ResourceExhausted)
        failed = api.Failed(utterance=ordinal, reason=error.reason, message=error.message, retryable=retryable)
        await self._stream.send(api.TranscribeResponse(failed=failed))


class _Heard:
    """An utterance's audio as an iterator that counts what the engine took, and keeps it where it will be needed again."""

    def __init__(self, queue: asyncio.Queue[bytes | None], *, keep: bool) -> None:
        self.seconds = 0.0
        self.kept = bytearray()
        self._keep = keep
        self._queue = queue
        self._ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self._queue.get()) is not None:
            self.seconds += len(piece) / SAMPLE_BYTES / SAMPLE_RATE_HERTZ
            if self._keep:
                self.kept += piece
            yield piece
        self._ended = True

    async def drain(self) -> None:
        """Take what an engine that failed left, so that whoever fills the queue is not stuck."""
        while not self._ended:
            self._ended = await self._queue.get() is None


def _at_engine_rate(content: bytes, rate: int) -> bytes:
    samples: bytes = soxr.resample(np.frombuffer(content, np.int16), rate, SAMPLE_RATE_HERTZ).tobytes()
    return samples
