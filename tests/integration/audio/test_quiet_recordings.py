"""Speech recorded at too low a level is heard all the same; nothing else is made louder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunningServer, silence, voice

from fakes.wav import wav
from malha.audio.formats.loudness import Loudness, amplified
from malha.runtime.settings import RuntimeSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

from .caller import Caller
from .test_twin_channels import heard, reasons

RATE = 16_000
SPEECH = np.concatenate((silence(0.5), voice(1.2), silence(0.8), voice(1.5), silence(0.6)))
FAINT = (SPEECH / 250).round().astype(np.int16)
"""Below `min_energy`."""
FAINT_NOISE = np.random.default_rng(1).normal(0, 20, 4 * RATE).astype(np.int16)


@pytest.fixture
async def target(settings: RuntimeSettings) -> Any:
    async with RunningServer(settings, NullEngine(TranscribeSettings(_env_file=None))) as running:
        yield running.target


def times(caller: Caller) -> list[tuple[float, float]]:
    return [(segment.start.ToTimedelta().total_seconds(), segment.end.ToTimedelta().total_seconds()) for segment in caller.finals]


async def test_it_is_heard_as_if_it_were_louder(target: str) -> None:
    loud, faint = await heard(target, wav(SPEECH)), await heard(target, wav(FAINT))
    assert reasons(loud) == []
    [warning] = faint.of("warning")
    assert warning.reason == "QUIET_AUDIO"
    assert warning.message == "the recording is quiet: it is heard 36 dB louder"
    assert len(times(faint)) == 2
    assert np.allclose(times(faint), times(loud), atol=0.15), "what rounds to nothing ends earlier"


async def test_noise_is_no_quiet_speech(target: str) -> None:
    for samples in (FAINT_NOISE, np.zeros_like(FAINT_NOISE), np.random.default_rng(1).integers(-1, 2, RATE).astype(np.int16)):
        caller = await heard(target, wav(samples))
        assert (reasons(caller), caller.finals) == ([], [])


async def test_of_two_channels_the_louder_one_counts(target: str) -> None:
    both = np.stack((SPEECH, FAINT), axis=1)
    assert reasons(await heard(target, wav(both.ravel(), channels=2))) == []
    assert reasons(await heard(target, wav((both / 250).round().astype(np.int16).ravel(), channels=2))) == ["QUIET_AUDIO"]


async def test_real_speech_that_was_empty_before(target: str, shared_data: Path) -> None:
    caller = await heard(target, (shared_data / "speech" / "fleurs-en-004.ogg").read_bytes())
    assert reasons(caller) == ["QUIET_AUDIO"]
    assert sum(end - start for start, end in times(caller)) > 2


def gain(samples: np.ndarray) -> float:
    loudness, samples = Loudness(RATE), samples.reshape(-1, 1)
    for at in range(0, len(samples), RATE):
        loudness.add(samples[at : at + RATE])
    return loudness.gain


def test_one_loud_second_is_enough() -> None:
    assert gain(np.concatenate((FAINT, FAINT, SPEECH))) == 1
    short = np.concatenate((silence(1.0), voice(0.5), silence(1.5)))
    assert gain(short) == 1


def test_a_click_does_not_make_it_loud() -> None:
    clicked = np.concatenate((FAINT, FAINT))
    clicked[5_000:5_010] = 20_000
    assert 2 < gain(clicked) < 64
    assert np.abs(amplified(clicked.reshape(-1, 1), 64.0)).max() == np.iinfo(np.int16).max


def test_a_recording_of_nothing_stays_as_it_is() -> None:
    assert gain(np.zeros(0, np.int16)) == 1
    assert gain(np.zeros(50, np.int16)) == 1
