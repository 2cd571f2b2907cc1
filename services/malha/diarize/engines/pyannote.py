"""pyannote.audio 4: the production diarizer, in an environment of its own (`make engine-pyannote`), on a pipeline of this machine's disk.

A recording gets what pyannote says of a whole file. A live stream gets turns each second, by the same networks, amended as more is heard, and at
its end exactly what the file would (`malha.diarize.engines.pyannote_hearing`). Turns of two speakers overlap where both speak.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from malha.diarize.engine import SAMPLE_RATE_HERTZ, Capabilities, DiarizationConfig, Embedding, Turn, VoicePrint, Voices
from malha.diarize.engines.pyannote_messages import Loaded, Opening, Print, Said, Told, WorkerOptions
from malha.diarize.speech import FRAME_SECONDS
from malha.diarize.timeline import Span
from malha.diarize.turns import ToldTurns
from malha.runtime.errors import EngineCrashed, FailedPrecondition, Internal
from malha.runtime.host import EngineHost, HostOptions, HostStream

NAME: Final = "pyannote"
COMMAND: Final = "make engine-pyannote"
PRINT_SECONDS: Final = 3.0
"""Of speech that a voice needs before its print is told."""
_WORKER: Final = "malha.diarize.engines.pyannote_worker:PyannoteWorker"
_START_SECONDS: Final = 300.0
_ITEM_SECONDS: Final = 600.0
"""Clustering the voices of two hours takes half a minute of a core, on a slow or busy one minutes."""
_PIECE_BYTES: Final = 10 * SAMPLE_RATE_HERTZ * 2
_REPLAY_BYTES: Final = 120 << 20
"""Of audio that is heard again when a worker dies: an hour."""
# Nothing is fetched and nothing reported; of Python's warnings, that it cannot read audio files is one too many: it gets none.
_ENVIRONMENT: Final = {"PYANNOTE_METRICS_ENABLED": "0", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True, slots=True)
class PyannoteSettings:
    """How the engine runs."""

    worker: WorkerOptions
    python: Path | None
    """The interpreter that has pyannote.audio; None: this one."""
    workers: int
    max_open: int
    """Streams at once in all workers; others wait."""
    max_waiting: int


class PyannoteEngine:
    """The engine ``pyannote``; see `malha.diarize.engine.DiarizeEngine`."""

    def __init__(self, settings: PyannoteSettings) -> None:
        self._host = EngineHost(
            NAME,
            _WORKER,
            settings.worker,
            host=HostOptions(
                workers=settings.workers,
                max_open=settings.max_open,
                max_waiting=settings.max_waiting,
                start_seconds=_START_SECONDS,
                item_seconds=_ITEM_SECONDS,
                replay_bytes=_REPLAY_BYTES,
                environment=_ENVIRONMENT | {"OMP_NUM_THREADS": str(settings.worker.threads)},
                python="" if settings.python is None else str(settings.python.absolute()),
            ),
        )
        self._loaded: Loaded | None = None

    @property
    def capabilities(self) -> Capabilities:
        if self._loaded is None:
            return Capabilities(NAME, "", "", online=True)
        return Capabilities(NAME, f"pyannote.audio {self._loaded.version}", self._loaded.print_model, online=True)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The worker processes, for supervision and measurement."""
        return self._host.worker_pids

    async def start(self) -> None:
        """Load the pipeline. Raises FailedPrecondition where that cannot be, naming the command that helps."""
        try:
            self._loaded = cast("Loaded", await self._host.start())
        except (EngineCrashed, Internal) as error:
            raise FailedPrecondition(f"the Python of MALHA_PYANNOTE_PYTHON cannot run it: {COMMAND}", reason="MISSING_EXTRA") from error

    async def close(self) -> None:
        await self._host.close()

    def check(self) -> None:
        """It can: it would not have started otherwise."""

    async def diarize(self, config: DiarizationConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Turn | VoicePrint]:
        turns, said, prints = ToldTurns(), list[Said](), _Prints()
        async for told in self._told(Opening(config.max_speakers, config.online, config.prints), audio, background=config.background):
            said[told.kept :] = told.said
            for turn in turns.update([span for one in said if (span := _span(one)).end > span.start]):
                yield turn
            for voice_print in prints.take(told.prints if config.prints else (), said):
                yield voice_print
        for voice_print in prints.last(said):
            yield voice_print

    async def listen(self, pcm: bytes) -> Voices:
        """Hear a recording whole. Its print is of the voice that speaks most."""
        said: list[Said] = []
        prints: dict[int, Embedding] = {}
        async for told in self._told(Opening(0, online=False, prints=True), _pieces(pcm), background=False):
            said[told.kept :] = told.said
            prints = dict(told.prints)  # told once, at the end
        spoken = {voice: _seconds(said, voice) for voice in {one.voice for one in said}}
        most = max(spoken, key=lambda voice: spoken[voice], default=None)
        return Voices(sum(spoken.values()), None if most is None else prints.get(most), len(spoken))

    async def _told(self, opening: Opening, audio: AsyncIterator[bytes], *, background: bool) -> AsyncGenerator[Told, None]:
        async with self._host.stream(opening, background=background) as stream:
            sending = asyncio.create_task(_send(stream, audio), name="pyannote-send")
            try:
                async for output in stream:
                    yield cast("Told", output.item)
                await sending
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)


class _Prints:
    """Voice prints of a stream: told once they rest on enough speech, again at each doubling of it, and at the end."""

    def __init__(self) -> None:
        self._newest: dict[int, Embedding] = {}
        self._told_seconds: dict[int, float] = {}

    def take(self, prints: Sequence[Print], said: Sequence[Said]) -> list[VoicePrint]:
        """What to tell after a look. Between looks at everything there are none."""
        if not prints:
            return []
        self._newest = dict(prints)
        return self._due(said, 2.0)

    def last(self, said: Sequence[Said]) -> list[VoicePrint]:
        """What to tell at the end."""
        return self._due(said, 1.0 + 1e-9)

    def _due(self, said: Sequence[Said], growth: float) -> list[VoicePrint]:
        found = []
        for voice, embedding in self._newest.items():
            seconds = _seconds(said, voice)
            if seconds >= PRINT_SECONDS and seconds >= growth * self._told_seconds.get(voice, 0.0):
                self._told_seconds[voice] = seconds
                found.append(VoicePrint(voice + 1, embedding, seconds))
        return found


async def _send(stream: HostStream, audio: AsyncIterator[bytes]) -> None:
    try:
        async for piece in audio:
            await stream.send(piece)
    finally:
        await stream.finish()


async def _pieces(pcm: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(pcm), _PIECE_BYTES):
        yield pcm[at : at + _PIECE_BYTES]


def _span(one: Said) -> Span:
    return Span(round(one.start / FRAME_SECONDS), round(one.end / FRAME_SECONDS), one.voice)


def _seconds(said: Sequence[Said], voice: int) -> float:
    return sum(one.end - one.start for one in said if one.voice == voice)
