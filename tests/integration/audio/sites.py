"""Servers that share a store, and calls to resume among them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np
from conftest import AUTHORIZED, RunningServer, silence, voice

from malha.api.audio.v1 import audio_pb2 as api
from malha.audio.session_ids import new_session_id
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.transcribe.engine import TranscribeEngine

from .resuming import Resuming

Span = tuple[int, float, float]


class Servers:
    """Starts them, each with an engine of its own."""

    def __init__(self, settings: RuntimeSettings, database: Database, store: StoreSettings, engine: Callable[[], TranscribeEngine]) -> None:
        self.store = store
        self._settings, self._database, self._engine = settings, database, engine
        self._stack = AsyncExitStack()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Servers"]:
        async with self._stack:
            yield self

    async def channel(self) -> grpc.aio.Channel:
        """To a new server."""
        server = RunningServer(self._settings, self._engine(), in_process=True, store=(self._database, self.store))
        target = (await self._stack.enter_async_context(server)).target
        return await self._stack.enter_async_context(grpc.aio.insecure_channel(target))


def metadata() -> tuple[tuple[str, str], ...]:
    """Of a new call."""
    return (*AUTHORIZED, ("malha-session", new_session_id()))


@dataclass
class Saying(Resuming):
    """Says controls at their frames. ``again``: those it comes by once more after a loss are said once more, but for keys."""

    script: Mapping[int, Sequence[api.Control]] = field(default_factory=dict)
    again: bool = True
    holes: Sequence[tuple[int, int]] = ()
    """Audio that this client never has."""
    said: set[int] = field(default_factory=set)

    async def send(self, frames: int) -> None:
        until = min(self.position + frames, len(self.pcm))
        stops = sorted({*(at for at in self.script if self.position <= at < until), *(start for start, _ in self.holes), until})
        for stop in stops:
            if self.position <= stop <= until:
                await self._send_to(stop)
                await self._say(stop)

    async def _send_to(self, frame: int) -> None:
        for start, end in self.holes:
            if start <= self.position < end:
                self.position = end
        await super().send(max(frame - self.position, 0))

    async def _say(self, frame: int) -> None:
        new = frame not in self.said
        self.said.add(frame)
        for control in self.script.get(frame, ()):
            if new or (self.again and not control.HasField("dtmf")):
                await self.call.write(api.StreamRequest(control=control))


def speech(seconds: float, rate: int, seeds: Sequence[int]) -> np.ndarray:
    """Utterances of one to two seconds with pauses, on each channel at its own times; seed 0 is silence. int16, shape (frames, channels)."""
    columns = []
    for seed in seeds:
        random, parts, length = np.random.default_rng(seed), [], 0.0
        while length < seconds:
            pause, spoken = random.uniform(0.6, 1.2), random.uniform(0.8, 1.8)
            sound = voice(spoken, rate, seed=int(random.integers(1000))) if seed else silence(spoken, rate)
            parts += [silence(pause, rate, seed=int(random.integers(1000))), sound]
            length += pause + spoken
        columns.append(np.concatenate([*parts, silence(1.0, rate)])[: int(seconds * rate)])
    return np.stack(columns, axis=1)


def assert_the_same(found: Sequence[Span], expected: Sequence[Span]) -> None:
    """Each utterance once, at its time: a detector that begins anew may see an edge a few frames off."""
    assert [channel for channel, *_ in found] == [channel for channel, *_ in expected], (found, expected)
    for (_, start, end), (_, known_start, known_end) in zip(found, expected, strict=True):
        assert abs(start - known_start) <= 0.1
        assert abs(end - known_end) <= 0.1


def assert_once(call: Resuming) -> None:
    """One unbroken numbering, nothing of it twice."""
    assert call.repeated == 0
    assert call.seqs == list(range(1, len(call.seqs) + 1))
