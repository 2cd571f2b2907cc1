"""A mono recording that was saved as stereo is heard once; two channels that differ anywhere stay two."""

import io
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
import pytest
from conftest import RunningServer, silence, voice

from fakes.diarize_engine import NullDiarizeEngine
from fakes.wav import wav
from malha.api.audio.v1 import audio_pb2 as api
from malha.audio.formats.twins import alike
from malha.diarize.service import DiarizeService
from malha.diarize.settings import DiarizeSettings
from malha.runtime.settings import RuntimeSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

from .caller import Caller

RATE = 16_000
SPEECH = np.concatenate((silence(0.5), voice(1.2), silence(0.8), voice(1.5), silence(0.6)))
TWINS = np.stack((SPEECH, SPEECH), axis=1)
BOTH_ROLES = [{"role": "ROLE_AGENT"}, {"role": "ROLE_CUSTOMER"}]


@pytest.fixture
async def target(settings: RuntimeSettings) -> Any:
    diarize = DiarizeService(NullDiarizeEngine(), DiarizeSettings(_env_file=None), None)
    async with RunningServer(settings, NullEngine(TranscribeSettings(_env_file=None)), diarize=diarize) as running:
        yield running.target


async def heard(target: str, content: bytes, **opening: Any) -> Caller:
    """What became of a file."""
    async with grpc.aio.insecure_channel(target) as channel:
        caller = Caller(channel)
        await caller.open(format={"encoding": "ENCODING_FILE"}, pace="PACE_BATCH", **opening)
        for at in range(0, len(content), 1 << 19):
            await caller.call.write(api.StreamRequest(audio=api.Audio(content=content[at : at + (1 << 19)])))
        await caller.finish()
    return caller


def stereo(samples: np.ndarray) -> bytes:
    return wav(samples.ravel(), channels=2)


def coded(form: str, codec: str, samples: np.ndarray, bit_rate: int) -> bytes:
    """Lossy, in stereo, at 48 kHz."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=48_000, layout="stereo")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format=stream.format, layout="stereo", rate=48_000, frame_size=stream.frame_size or 0)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return out.getvalue()


def reasons(caller: Caller) -> list[str]:
    return [warning.reason for warning in caller.of("warning")]


@pytest.mark.parametrize(
    "content",
    {
        "wav": stereo(TWINS),
        "dithered": stereo(TWINS + np.random.default_rng(1).integers(-1, 2, TWINS.shape).astype(np.int16)),
        "mp3": coded("mp3", "libmp3lame", TWINS, 96_000),
        "aac": coded("ipod", "aac", TWINS, 128_000),
        "opus": coded("ogg", "libopus", TWINS, 64_000),
    }.values(),
    ids=["wav", "dithered", "mp3", "aac", "opus"],
)
async def test_what_is_said_on_both_channels_is_told_once(target: str, content: bytes) -> None:
    caller = await heard(target, content)
    assert [segment.id for segment in caller.finals] == ["0-1", "0-2"]
    assert reasons(caller) == ["EQUAL_CHANNELS"]
    [summary] = caller.of("summary")
    assert [channel.channel for channel in summary.channels] == [0]
    assert summary.duration.ToTimedelta().total_seconds() == pytest.approx(len(SPEECH) / RATE, abs=0.1)


async def test_so_it_is_on_an_old_tape(target: str, shared_data: Path) -> None:
    """Its two tracks differ by their balance and their crackle."""
    caller = await heard(target, (shared_data / "speech" / "jfk.flac").read_bytes())
    assert reasons(caller) == ["EQUAL_CHANNELS"]
    assert {segment.channel for segment in caller.finals} == {0}


async def test_of_whom_it_is_the_channel_does_not_tell(target: str) -> None:
    caller = await heard(target, stereo(TWINS), channels=BOTH_ROLES, diarize=True)
    assert [(segment.channel, segment.role) for segment in caller.finals if segment.revision == 1] == [(0, 0), (0, 0)]
    amended = [transcript.segment.speaker for transcript in caller.of("transcript") if transcript.segment.speaker]
    assert amended
    assert set(amended) == {"S1"}, "who speaks is heard, as in any mono call"
    assert [channel.role for channel in caller.of("summary")[0].channels] == [0]
    alone = await heard(target, stereo(TWINS), channels=BOTH_ROLES[1:])
    assert {segment.role for segment in alone.finals} == {2}, "one role was given, and one channel is left"


@pytest.mark.parametrize("at", [0, len(SPEECH), len(SPEECH) * 12])
async def test_channels_that_differ_anywhere_are_two(target: str, at: int) -> None:
    """What is said on the second only comes first, late, or last of all."""
    long = np.tile(SPEECH, 12)
    alone = np.concatenate((silence(0.5), voice(1.2, loudness=800.0, seed=3), silence(0.8)))
    quiet = silence(len(alone) / RATE)
    content = stereo(
        np.concatenate((np.stack((long[:at], long[:at]), 1), np.stack((quiet, alone), 1), np.stack((long[at:], long[at:]), 1)))
    )
    caller = await heard(target, content, channels=BOTH_ROLES)
    count = {index: sum(segment.channel == index for segment in caller.finals) for index in (0, 1)}
    assert count == {0: 24, 1: 25}
    assert reasons(caller) == []
    assert {(segment.channel, segment.role) for segment in caller.finals} == {(0, 1), (1, 2)}


async def test_a_mono_file_is_what_it_was(target: str) -> None:
    caller = await heard(target, wav(SPEECH))
    assert len(caller.finals) == 2
    assert reasons(caller) == []


def test_what_is_too_faint_to_be_heard_makes_no_difference() -> None:
    loud = voice(1.0)
    assert alike(np.stack((loud, loud), 1))
    assert alike(np.stack((np.zeros_like(loud), np.sign(loud)), 1))
    assert not alike(np.stack((loud, loud // 2), 1))
    assert alike(np.stack((loud, np.round(loud * 0.92)), 1))
    assert not alike(np.stack((loud, np.round(loud * 0.8)), 1))
    assert not alike(np.stack((loud, np.zeros_like(loud)), 1))
    assert not alike(np.stack((loud, -loud), 1))
    assert not alike(np.stack((np.zeros_like(loud), voice(1.0, loudness=60.0)), 1))
