"""Who speaks in a call: a real Audio asks a real Diarize, and a call goes on without one."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from conftest import AUTHORIZED, RunningServer

from fakes.talkers import Talkers, spoken
from malha.api.audio.v1 import audio_pb2 as api
from malha.api.audio.v1 import audio_pb2_grpc
from malha.api.common.v1 import transcript_pb2
from malha.diarize.engines.resemblyzer import ResemblyzerEngine
from malha.diarize.engines.resemblyzer_weights import COMMAND, find
from malha.diarize.service import DiarizeService
from malha.diarize.settings import DiarizeSettings
from malha.runtime.durations import seconds
from malha.runtime.settings import RuntimeSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

pytestmark = pytest.mark.engine("resemblyzer")

PIECE = 1_600
NULL = NullEngine(TranscribeSettings(_env_file=None))
FINAL, AMENDED = transcript_pb2.SEGMENT_STATE_FINAL, transcript_pb2.SEGMENT_STATE_AMENDED


@pytest.fixture(scope="module")
def talkers() -> Talkers:
    if find() is None:
        pytest.skip(f"the diarizer's weights are not installed: {COMMAND}")
    return asyncio.run(spoken())


@pytest.fixture
def engine() -> ResemblyzerEngine:
    return ResemblyzerEngine(DiarizeSettings(_env_file=None))


@pytest.fixture
async def target(settings: RuntimeSettings, engine: ResemblyzerEngine) -> AsyncIterator[str]:
    diarize = DiarizeService(engine, DiarizeSettings(_env_file=None), None)
    async with RunningServer(settings, NULL, diarize=diarize) as running:
        yield running.target


class Heard:
    """What became of one call."""

    def __init__(self) -> None:
        self.segments: dict[str, transcript_pb2.Segment] = {}
        self.states: dict[str, list[int]] = {}
        self.warnings: list[str] = []
        self.kinds: list[str] = []

    def take(self, event: api.StreamResponse) -> None:
        self.kinds.append(str(event.WhichOneof("event")))
        if event.HasField("warning"):
            self.warnings.append(event.warning.reason)
        segment = event.transcript.segment
        if event.HasField("transcript") and segment.state in (FINAL, AMENDED):
            known = self.segments.get(segment.id)
            assert known is None or segment.revision > known.revision
            assert known is None or (segment.start, segment.end, segment.text) == (known.start, known.end, known.text)
            self.segments[segment.id] = segment
            self.states.setdefault(segment.id, []).append(segment.state)


async def call(target: str, samples: np.ndarray, during: Any = None, **opening: Any) -> Heard:
    """Send audio as fast as it is taken; ``during`` is awaited in the middle."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    opening.setdefault("format", {"encoding": "ENCODING_PCM16", "channels": channels})
    heard = Heard()
    async with grpc.aio.insecure_channel(target) as channel, asyncio.timeout(60):
        stream: Any = audio_pb2_grpc.AudioStreamServiceStub(channel).Stream(metadata=AUTHORIZED)
        await stream.write(api.StreamRequest(open=api.Open(diarize=True, **opening)))
        await stream.read()

        async def read() -> None:
            while (event := await stream.read()) is not grpc.aio.EOF:
                heard.take(event)

        reading = asyncio.create_task(read())
        for number, at in enumerate(range(0, len(samples), PIECE)):
            if during is not None and at <= len(samples) // 2 < at + PIECE:
                await during()
            await stream.write(api.StreamRequest(audio=api.Audio(content=samples[at : at + PIECE].tobytes())))
            if number % 10 == 9:
                await asyncio.sleep(0.05)
        await stream.write(api.StreamRequest(finish=api.Finish()))
        await reading
    return heard


def agreement(heard: Heard, truth: list[tuple[float, float, str]]) -> float:
    """The share of segments whose label stands for who speaks most in them, of the two ways to read two labels."""
    pairs = []
    for segment in heard.segments.values():
        start, end = seconds(segment.start), seconds(segment.end)
        shares = {name: sum(max(0.0, min(end, e) - max(start, s)) for s, e, n in truth if n == name) for name in ("ana", "rui")}
        pairs.append((segment.speaker, max(shares, key=lambda name: shares[name])))
    first = pairs[0][0]
    same = sum((label == first) == (name == pairs[0][1]) for label, name in pairs) / len(pairs)
    return max(same, 1 - same)


async def test_a_mono_call_has_speakers_late_ones_by_amendment(target: str, talkers: Talkers) -> None:
    audio, truth = talkers.dialogue()
    heard = await call(target, audio)
    assert len(heard.segments) >= 8
    assert len({segment.speaker for segment in heard.segments.values()}) == 2
    assert agreement(heard, truth) >= 0.85
    assert any(AMENDED in states for states in heard.states.values())
    assert all(states[0] == FINAL and FINAL not in states[1:] for states in heard.states.values())
    assert heard.kinds[-2:] == ["summary", "closed"]
    assert heard.warnings == []


async def test_of_two_channels_each_is_a_speaker_at_once(target: str, talkers: Talkers) -> None:
    ana, rui = talkers.alone(talkers.ana), talkers.alone(talkers.rui)
    length = max(len(ana), len(rui))
    stereo = np.stack([np.pad(each, (0, length - len(each))) for each in (ana, rui)], axis=1)
    heard = await call(target, stereo, channels=[{"role": "ROLE_AGENT"}])
    by_channel = {segment.channel: set() for segment in heard.segments.values()}
    for segment in heard.segments.values():
        by_channel[segment.channel].add(segment.speaker)
    assert by_channel == {0: {"agent"}, 1: {"S2"}}
    assert all(states == [FINAL] for states in heard.states.values())


async def test_a_diarizer_that_dies_costs_the_call_nothing(target: str, talkers: Talkers, engine: ResemblyzerEngine) -> None:
    audio, _ = talkers.dialogue()

    async def kill() -> None:
        for pid in engine.worker_pids:
            os.kill(pid, signal.SIGKILL)

    heard = await call(target, audio, kill)
    assert len(heard.segments) >= 8
    assert heard.kinds[-1] == "closed"
    assert all(segment.speaker for segment in heard.segments.values())


async def test_without_a_diarizer_a_call_says_so_and_goes_on(settings: RuntimeSettings, talkers: Talkers) -> None:
    audio, _ = talkers.dialogue()
    async with RunningServer(settings, NULL) as running:
        heard = await call(running.target, audio)
    assert heard.warnings == ["NOT_IN_THIS_VERSION"]
    assert len(heard.segments) >= 8
    assert {segment.speaker for segment in heard.segments.values()} == {""}


async def test_a_diarizer_that_cannot_serve_is_warned_about_once(target: str, talkers: Talkers, engine: ResemblyzerEngine) -> None:
    audio, _ = talkers.dialogue()
    await engine.close()
    heard = await call(target, audio)
    assert len(heard.segments) >= 8
    assert {segment.speaker for segment in heard.segments.values()} == {""}
    assert heard.kinds[-1] == "closed"
