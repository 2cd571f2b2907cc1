"""The embedded diarizer: resemblyzer's voice prints, compared as they come and grouped again as more is known.

What is heard is cut and labelled here (`malha.diarize.channel`), where it costs little; the network runs in worker processes.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

import numpy as np

from malha.diarize.channel import Channel
from malha.diarize.clustering import means
from malha.diarize.engine import Capabilities, DiarizationConfig, Turn, VoicePrint, Voices
from malha.diarize.engines.resemblyzer_messages import WorkerOptions
from malha.diarize.engines.resemblyzer_questions import Questions, Waiting
from malha.diarize.engines.resemblyzer_weights import COMMAND, PACKAGE, find
from malha.diarize.settings import DiarizeSettings
from malha.diarize.speech import is_steady
from malha.diarize.windows import WINDOW_FRAMES, Window
from malha.runtime.errors import FailedPrecondition
from malha.runtime.host import EngineHost, HostOptions

NAME: Final = "resemblyzer"
FIRST_FRAMES: Final = WINDOW_FRAMES
"""After the start of a stretch of a live stream its first window is due: the turn is told within two seconds."""
LATER_FRAMES: Final = 150
"""After its end any other is, which may amend what was told. One that is due takes along all that wait: alone it costs what three do together."""
BACKGROUND_WINDOWS: Final = 32
"""Windows of a recording asked for at once."""

_WORKER: Final = "malha.diarize.engines.resemblyzer_worker:create_worker"


class ResemblyzerEngine:
    """The engine ``resemblyzer``; see `malha.diarize.engine.DiarizeEngine`."""

    def __init__(self, settings: DiarizeSettings) -> None:
        """Raises FailedPrecondition without the wheel or ONNX Runtime."""
        weights = find()
        if weights is None or find_spec("onnxruntime") is None:
            raise FailedPrecondition(f"engine {NAME!r} needs: {COMMAND} && pip install onnxruntime", reason="MISSING_EXTRA")
        workers = settings.diarize_workers
        host = HostOptions(workers=workers, max_open=64 * workers, max_waiting=2 * settings.diarize_max_streams)
        self._host = EngineHost(NAME, _WORKER, WorkerOptions(weights), host=host)
        self._questions = Questions(self._host)
        self._version = version(PACKAGE)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(NAME, f"resemblyzer {self._version}", f"{NAME}-{self._version}", online=True)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The worker processes, for supervision and measurement."""
        return self._host.worker_pids

    async def start(self) -> None:
        await self._host.start()

    async def close(self) -> None:
        await self._host.close()

    def check(self) -> None:
        """It can: without its weights it was not made."""

    async def diarize(self, config: DiarizationConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Turn | VoicePrint]:
        stream = _Stream(self._questions, config)
        with stream.in_company():
            async for pcm in audio:
                for told in await stream.hear(pcm):
                    yield told
            for told in await stream.finish():
                yield told

    async def listen(self, pcm: bytes) -> Voices:
        """Hear a recording whole. Its speakers are counted as in any other."""
        channel, samples = Channel(), np.frombuffer(pcm, "<i2")
        if is_steady(samples):
            return Voices(0.0, None, 0)
        jobs = [*channel.hear(samples), *channel.finish()]
        if not jobs:
            return Voices(channel.speech_seconds, None, 0)
        prints = await self._questions.prints(jobs, background=False)
        channel.label(jobs, prints)
        grouping = channel.grouping(last=True)
        assert grouping is not None
        groups = await self._questions.groups(grouping.prints, grouping.seconds, 0, background=False)
        whole = means(grouping.prints, grouping.seconds, np.zeros(len(groups), np.intp))[0]
        return Voices(channel.speech_seconds, whole, int(groups.max()) + 1)


class _Stream:
    """One channel on its way through a worker. One question is under way at a time."""

    def __init__(self, questions: Questions, config: DiarizationConfig) -> None:
        self._questions = questions
        self._config = config
        self._channel = Channel(config.max_speakers, alone=config.max_speakers == 1)
        self._needs_prints = config.prints or config.max_speakers != 1
        self._waiting = Waiting()

    @contextlib.contextmanager
    def in_company(self) -> Iterator[None]:
        """While it is live, its windows may go along with those of others."""
        together = self._needs_prints and self._config.online and not self._config.background
        if together:
            self._questions.join(self._waiting)
        try:
            yield
        finally:
            if together:
                self._questions.leave(self._waiting)

    async def hear(self, pcm: bytes) -> list[Turn | VoicePrint]:
        ended = self._channel.stretches
        self._waiting.jobs += self._channel.hear(np.frombuffer(pcm, "<i2"))
        if not self._config.online:
            if len(self._waiting.jobs) >= BACKGROUND_WINDOWS:
                await self._ask()
                self._label()
            return []
        over = self._channel.stretches != ended
        due = any(_due_frame(job.window) <= self._channel.frames for job in self._waiting)
        if due:
            await self._ask()
        if self._label() or due:
            await self._regroup(last=False)
        elif not (over or self._channel.due):
            return []
        return [*self._channel.turns(), *(self._channel.prints() if self._config.prints else ())]

    async def finish(self) -> list[Turn | VoicePrint]:
        """Look at everything again."""
        self._waiting.jobs += self._channel.finish()
        await self._ask()
        self._label()
        await self._regroup(last=True)
        return [*self._channel.turns(), *(self._channel.prints(last=True) if self._config.prints else ())]

    async def _ask(self) -> None:
        if self._needs_prints:
            await self._questions.ask(self._waiting, background=self._config.background)
        else:
            self._waiting.jobs.clear()

    def _label(self) -> bool:
        """Take the prints that have come, asked for here or along with another stream's. Whether there were any."""
        answered, self._waiting.answered = self._waiting.answered, []
        for jobs, prints in answered:
            self._channel.label(jobs, prints)
        return bool(answered)

    async def _regroup(self, *, last: bool) -> None:
        grouping = self._channel.grouping(last=last)
        if grouping is not None:
            most = self._config.max_speakers
            groups = await self._questions.groups(grouping.prints, grouping.seconds, most, background=self._config.background)
            self._channel.regroup(groups)


def _due_frame(window: Window) -> int:
    """The frame of a live stream at which a window's print is asked for at the latest."""
    return window.start + FIRST_FRAMES if window.start == window.stretch else window.end + LATER_FRAMES
