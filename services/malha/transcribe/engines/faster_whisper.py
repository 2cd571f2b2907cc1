"""Whisper by CTranslate2: utterances of all sessions share batches in worker processes that hold the model, on one device or several.

This side gathers an utterance, queues it fairly between tenants and tries again where the first decoding is doubtful. A doubtful utterance
goes through the queue anew, so it never holds up the utterances it was decoded with. What computes lies in `faster_whisper_worker`; nothing
heavy is imported here.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from malha.runtime.batching import Batcher
from malha.runtime.engines import missing_extra
from malha.runtime.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, Unavailable, UnsupportedLanguage
from malha.runtime.host import EngineHost, HostOptions
from malha.runtime.precedence import LIVE_TURNS
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Capabilities, Hypothesis, RecognitionConfig
from malha.transcribe.engines.whisper_messages import DEFAULT_COMPUTE_TYPE, Decoding, Transcript, Utterance, WorkerInfo, WorkerOptions
from malha.transcribe.engines.whisper_windows import MAX_UTTERANCE_SECONDS, wider_window, window_frames
from malha.transcribe.replicas import Replicas

NAME = "faster-whisper"
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the tries an utterance has, as in the Whisper paper. Those after the first see a longer window and no prompt."""

_WORKER = "malha.transcribe.engines.faster_whisper_worker:FasterWhisperWorker"
_PACKAGES = ("ctranslate2", "faster_whisper", "tokenizers")
_SAMPLE_BYTES = 2
_MAX_PCM_BYTES = int(MAX_UTTERANCE_SECONDS * SAMPLE_RATE_HERTZ) * _SAMPLE_BYTES
_MAX_THREADS = 8
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
_WHISPER_CODES = {"cmn": "zh", "fil": "tl", "jv": "jw", "nb": "no"}
"""BCP 47 primary tags that Whisper has another code for."""
_PRIMARY_TAGS = {"jw": "jv"}


@dataclass(frozen=True, slots=True)
class Device:
    """The model's replicas on one device."""

    device: str
    """``cpu``, ``cuda`` (the first), ``cuda:N``, or ``auto``."""
    replicas: int = 1
    """Processes, each with the model in its memory."""
    compute_type: str = DEFAULT_COMPUTE_TYPE
    """A compute type of CTranslate2, such as ``int8_float16``; ``default``: int8 on a CPU, float16 on a GPU. No bfloat16."""
    threads: int = 0
    """CPU threads of one replica; 0: half of the cores, shared between all replicas."""

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise ValueError("device is cpu, cuda, cuda:N or auto")
        if "bfloat16" in self.compute_type:
            raise ValueError("compute_type: bfloat16 is not supported, float16 is")
        if self.threads < 0 or self.replicas < 1:
            raise ValueError("threads is at least 0, replicas at least 1")


@dataclass(frozen=True, slots=True)
class FasterWhisperSettings:
    """How the engine runs."""

    model_directory: Path
    """A CTranslate2 Whisper model with its ``tokenizer.json``."""
    model: str = "whisper/small"
    """The name it is told by."""
    devices: tuple[Device, ...] = (Device("auto"),)
    spare: bool = False
    """Whether a worker that stands by has the model loaded."""
    idle_seconds: float = 0.0
    """Without anybody speaking, after which the model is unloaded; 0: never."""
    instance: str = NAME
    """What metrics and logs call it: engines of one process have different ones."""
    max_batch: int = 8
    max_wait_seconds: float = 0.030
    """How long an utterance waits for company."""
    max_queued: int = 256
    """Utterances that wait; one more is refused with EngineBusy."""
    beam_size: int = 1
    """Of the first try. 5 is a little more accurate and takes about three times as long to decode a batch."""
    retry_seconds: float = 4.0
    """After this, a doubtful utterance is not tried again."""
    timeout_seconds: float = 60.0
    """For one batch; a background one may take as much longer as live ones can hold it up."""

    def __post_init__(self) -> None:
        if not self.devices or min(self.max_batch, self.max_queued, self.beam_size) < 1 or self.idle_seconds < 0:
            raise ValueError("there is at least one device; max_batch, max_queued and beam_size are at least 1, idle_seconds at least 0")

    @property
    def replicas(self) -> int:
        """On all devices together."""
        return sum(device.replicas for device in self.devices)

    def threads_of(self, device: Device) -> int:
        """CPU threads of each of its replicas."""
        return device.threads or max(1, min(_MAX_THREADS, (os.cpu_count() or 1) // 2 // self.replicas))


@dataclass(frozen=True, slots=True)
class _Job:
    """One try of one utterance. ``abandoned`` is done once nobody waits for it."""

    decoding: Decoding
    utterance: Utterance
    background: bool
    abandoned: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FasterWhisperEngine:
    """Recognises whole utterances of at most 30 s; see `malha.transcribe.engine.TranscribeEngine`."""

    def __init__(self, settings: FasterWhisperSettings) -> None:
        """Raises FailedPrecondition if the engine's packages or the model are not there."""
        if any(find_spec(package) is None for package in _PACKAGES):
            raise missing_extra(NAME)
        if not (settings.model_directory / "model.bin").is_file():
            raise FailedPrecondition(
                f"no model {settings.model!r} in {settings.model_directory}: `malha models pull {settings.model}`", reason="MODEL_NOT_LOCAL"
            )
        self._settings = settings
        self._info: WorkerInfo | None = None
        self._replicas = Replicas(
            settings.instance, [(partial(_host, settings, device), device.replicas) for device in settings.devices], settings.idle_seconds
        )
        self._batcher = Batcher(
            self._run,
            max_batch=settings.max_batch,
            max_wait_seconds=settings.max_wait_seconds,
            max_queued=settings.max_queued,
            concurrency=settings.replicas,
            compatible=lambda job: job.decoding,
            name=settings.instance,
        )

    async def start(self) -> None:
        """Load the model in every worker, each of which has decoded something before this returns. Raises FailedPrecondition if it cannot be."""
        self._info = cast("WorkerInfo", await self._replicas.start())

    async def close(self) -> None:
        await self._batcher.close()
        await self._replicas.close()

    @property
    def capabilities(self) -> Capabilities:
        info = self._loaded
        return Capabilities(
            name=NAME,
            version=f"{info.version}, {self._settings.model} {info.compute_type} on {info.device}",
            models=(self._settings.model,),
            languages=tuple(_PRIMARY_TAGS.get(code, code) for code in info.languages),
            incremental=False,
            interim=False,
            words=True,
            detects_language=info.multilingual,
        )

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The worker processes, for supervision and measurement; none while the model is unloaded."""
        return self._replicas.worker_pids

    def check(self, language: str, model: str) -> Capabilities:
        """Raises NotFound for another model, UnsupportedLanguage or FailedPrecondition for a language this one does not speak."""
        loaded = self._settings.model
        if model not in {"", loaded}:
            raise NotFound(f"model {model!r} is not loaded here, {loaded!r} is", reason="MODEL_NOT_LOADED")
        info = self._loaded
        if not language or _whisper_code(language) in info.languages:
            return self.capabilities
        if not info.multilingual:
            raise FailedPrecondition(
                f"model {loaded!r} recognises English only: for other languages `malha models pull whisper/small`",
                reason="MODEL_ENGLISH_ONLY",
            )
        raise UnsupportedLanguage(f"language {language!r} is not one of {', '.join(self.capabilities.languages)}")

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        """Yield one hypothesis, when ``audio`` has ended. Raises InvalidArgument if it is longer than 30 s."""
        with self._replicas.use():
            utterance = Utterance(
                pcm=await _gather(audio),
                language=_whisper_code(config.language),
                prompt=config.prompt,
                words=config.words,
            )
            transcript = await self._transcribe(utterance, config)
        yield Hypothesis(
            text=transcript.text,
            final=True,
            confidence=transcript.confidence,
            language=config.language or _PRIMARY_TAGS.get(transcript.language, transcript.language),
            words=transcript.words,
        )

    async def _transcribe(self, utterance: Utterance, config: RecognitionConfig) -> Transcript:
        """The first decoding that is not doubtful, or else the best of the tries; empty where nobody can have said that."""
        frames = window_frames(len(utterance.pcm) // _SAMPLE_BYTES)
        began = time.monotonic()
        tries: list[Transcript] = []
        for temperature in TEMPERATURES:
            transcript = await self._try(_Job(Decoding(frames, temperature), utterance, config.background), config.tenant)
            if not transcript.doubtful:
                return transcript
            tries.append(transcript)
            if time.monotonic() - began > self._settings.retry_seconds:
                break
            if len(tries) == 1:
                frames = wider_window(frames)
        best = max(tries, key=lambda transcript: (not transcript.implausible, transcript.confidence))
        return Transcript(text="", language=best.language, confidence=0.0) if best.implausible else best

    async def _try(self, job: _Job, tenant: str) -> Transcript:
        try:
            return await self._batcher.submit(job, tenant=tenant, background=job.background)
        finally:
            job.abandoned.cancel()

    async def _run(self, jobs: Sequence[_Job]) -> Sequence[Transcript]:
        """Decode a batch in a worker; give it up when nobody waits for any of it."""
        background = jobs[0].background  # as of all in the batch
        seconds = self._settings.timeout_seconds * (LIVE_TURNS + 1 if background else 1)
        call = asyncio.ensure_future(
            self._replicas.call(jobs[0].decoding, [job.utterance for job in jobs], timeout_seconds=seconds, background=background)
        )
        try:
            while not call.done() and not all(job.abandoned.done() for job in jobs):
                events: list[asyncio.Future[Any]] = [call, *(job.abandoned for job in jobs if not job.abandoned.done())]
                await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise Aborted("nobody waits for this batch")
            return cast("Sequence[Transcript]", call.result())
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    @property
    def _loaded(self) -> WorkerInfo:
        if self._info is None:
            raise Unavailable(f"the engine {NAME} is loading its model", reason="ENGINE_LOADING", retry_seconds=0.25)
        return self._info


def _host(settings: FasterWhisperSettings, device: Device) -> EngineHost:
    """The workers on one device, not yet started."""
    options = WorkerOptions(
        model_directory=settings.model_directory,
        device=device.device,
        compute_type=device.compute_type,
        threads=settings.threads_of(device),
        beam_size=settings.beam_size,
    )
    host = HostOptions(
        workers=device.replicas,
        spare=settings.spare,
        start_seconds=300,
        item_seconds=settings.timeout_seconds,
        replay_bytes=(settings.max_batch + 1) * _MAX_PCM_BYTES,
    )
    name = settings.instance if len(settings.devices) == 1 else f"{settings.instance} {device.device}"
    return EngineHost(name, _WORKER, options, host=host)


async def _gather(audio: AsyncIterator[bytes]) -> bytes:
    pcm = bytearray()
    async for chunk in audio:
        pcm += chunk
        if len(pcm) > _MAX_PCM_BYTES:
            raise InvalidArgument(f"an utterance lasts at most {MAX_UTTERANCE_SECONDS:g} s", reason="UTTERANCE_TOO_LONG")
    if len(pcm) % _SAMPLE_BYTES:
        raise InvalidArgument("16-bit audio has an even number of bytes", reason="ODD_PCM")
    return bytes(pcm)


def _whisper_code(language: str) -> str:
    """Whisper's code of a BCP 47 tag: ``pt`` of ``pt-BR``."""
    primary = language.replace("_", "-").partition("-")[0].lower()
    return _WHISPER_CODES.get(primary, primary)
