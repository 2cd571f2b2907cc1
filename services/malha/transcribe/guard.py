"""What stands around a recogniser that may fail: places, tries, a deadline, a circuit breaker. It is a recogniser itself.

Engines compute and know none of this. A guarded one takes utterances whole: to ask again, it must have heard them to their end.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final, Self

from prometheus_client import Counter, Gauge

from malha.runtime import logs
from malha.runtime.breaker import Breaker, State
from malha.runtime.errors import (
    DeadlineExceeded,
    EngineBusy,
    Internal,
    InvalidArgument,
    MalhaError,
    ResourceExhausted,
    Unavailable,
)
from malha.runtime.logs import Event
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Capabilities, Hypothesis, Recogniser, RecognitionConfig, TranscribeEngine
from malha.transcribe.errors import RecogniserOpen
from malha.transcribe.settings import RoutingSettings

log = logs.get("transcribe.guard")

ASKED: Final = Counter("malha_transcribe_asked_total", "Utterances a recogniser was asked for.", ("recogniser", "outcome"))
BREAKER: Final = Gauge("malha_transcribe_breaker_state", "0 closed, 1 half open, 2 open.", ("recogniser",))
_LEVELS: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}

MAX_SECONDS: Final = 120.0
"""Of one utterance: who calls cuts speech long before."""
_MAX_BYTES: Final = int(MAX_SECONDS) * SAMPLE_RATE_HERTZ * 2
_FIRST_PAUSE_SECONDS: Final = 0.25
_WAITING_PER_PLACE: Final = 4


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """How much a recogniser is trusted with."""

    failures: int
    """One after the other, after which it is left alone."""
    open_seconds: float
    total_seconds: float | None = None
    """For an utterance, all tries and pauses included; None: as long as the engine takes."""
    tries: int = 1
    concurrency: int | None = None
    """Utterances at once; four times as many may wait, more are refused. None: the engine's own queue is enough."""

    @classmethod
    def of(cls, settings: RoutingSettings) -> Self:
        """For an engine of this machine, that has its own queue and deadline."""
        return cls(settings.smart_routing_failures, settings.smart_routing_open_seconds)


class GuardedEngine:
    """An engine by a name of its own; see `malha.transcribe.engine.TranscribeEngine`."""

    def __init__(self, name: str, engine: TranscribeEngine, limits: GuardLimits) -> None:
        self.name = name
        self._engine = engine
        self._limits = limits
        gauge = BREAKER.labels(name)
        self._breaker = Breaker(limits, lambda state: gauge.set(_LEVELS[state]))
        self._places = asyncio.Semaphore(limits.concurrency) if limits.concurrency else None
        self._waiting = 0

    async def start(self) -> None:
        await self._engine.start()

    async def close(self) -> None:
        await self._engine.close()

    @property
    def capabilities(self) -> Capabilities:
        """Those of the engine, utterances whole."""
        return replace(self._engine.capabilities, incremental=False, interim=False)

    @property
    def left_alone(self) -> bool:
        """Whether it has failed too often to be asked now."""
        return self._breaker.state is State.OPEN

    def check(self, language: str, model: str) -> Capabilities:
        return replace(self._engine.check(language, model), incremental=False, interim=False)

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        """One final hypothesis. Raises what the last try raised, RecogniserOpen, EngineBusy, DeadlineExceeded."""
        yield await self.recognise_whole(config, await gather(audio))

    async def recognise_whole(self, config: RecognitionConfig, pcm: bytes, seconds: float | None = None) -> Hypothesis:
        """The same for an utterance that has ended, in at most so many seconds."""
        if not self._breaker.enter():
            ASKED.labels(self.name, "left_alone").inc()
            raise RecogniserOpen(f"recogniser {self.name} has failed too often", retry_seconds=self._breaker.retry_seconds)
        try:
            async with self._place():
                found = await self._persist(config, pcm, seconds)
        except Exception as error:
            raise self._judged(error) from error
        except BaseException:  # the caller has gone
            self._breaker.left()
            raise
        self._breaker.succeeded()
        ASKED.labels(self.name, "ok").inc()
        return found

    def _judged(self, error: Exception) -> MalhaError:
        """Tell the breaker what an error says of the engine."""
        if isinstance(error, EngineBusy | InvalidArgument):
            self._breaker.left()
        else:
            self._breaker.failed(error.retry_seconds if isinstance(error, ResourceExhausted) else None)
        ASKED.labels(self.name, "failed").inc()
        if isinstance(error, MalhaError):
            return error
        log.error(Event.ENGINE_ITEM_FAILED, cause=error, engine=self.name)
        return Internal("the engine failed on this utterance")

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._places is None:
            yield
            return
        if self._waiting >= _WAITING_PER_PLACE * (self._limits.concurrency or 1):
            raise EngineBusy(f"too many utterances wait for recogniser {self.name}", retry_seconds=1.0, quota="recogniser_waiting")
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()

    async def _persist(self, config: RecognitionConfig, pcm: bytes, seconds: float | None) -> Hypothesis:
        """Try until it went well, tries are used up, or the deadline would pass before the next."""
        total = min((limit for limit in (seconds, self._limits.total_seconds) if limit is not None), default=None)
        ends = float("inf") if total is None else time.monotonic() + total
        pause = _FIRST_PAUSE_SECONDS
        try:
            async with asyncio.timeout(total):
                for left in range(self._limits.tries - 1, -1, -1):
                    try:
                        return await self._ask(config, pcm)
                    except (Unavailable, ResourceExhausted, DeadlineExceeded) as error:
                        wait = pause if error.retry_seconds is None else max(error.retry_seconds, pause)
                        if not left or time.monotonic() + wait >= ends:
                            raise
                    await asyncio.sleep(wait)
                    pause *= 2
        except TimeoutError:
            raise DeadlineExceeded(f"recogniser {self.name} did not answer within {total:g} s", reason="RECOGNISER_TIMEOUT") from None
        raise AssertionError("the last try returns or raises")

    async def _ask(self, config: RecognitionConfig, pcm: bytes) -> Hypothesis:
        hypotheses = self._engine.recognise(replace(config, interim=False), whole(pcm))
        try:
            found = [hypothesis async for hypothesis in hypotheses if hypothesis.final]
        finally:
            await hypotheses.aclose()  # type: ignore[attr-defined]  # an engine's iterator is an async generator
        if len(found) != 1:
            raise Internal(f"recogniser {self.name} gave {len(found)} finals for an utterance")
        can = self._engine.capabilities
        model = config.model or (can.models[0] if can.models else "")
        return replace(found[0], recogniser=found[0].recogniser or Recogniser(can.name, can.version, model))


async def gather(audio: AsyncIterator[bytes]) -> bytes:
    """An utterance whole. Raises InvalidArgument for one that is too long."""
    pcm = bytearray()
    async for piece in audio:
        pcm += piece
        if len(pcm) > _MAX_BYTES:
            raise InvalidArgument(f"an utterance lasts at most {MAX_SECONDS:g} s", reason="UTTERANCE_TOO_LONG")
    return bytes(pcm)


async def whole(pcm: bytes) -> AsyncIterator[bytes]:
    """A whole utterance as the audio an engine takes."""
    yield pcm
