"""A recording to enrol is read, or refused with a reason."""

import io
import wave

import numpy as np
import pytest
from conftest import voice

from malha.diarize.recording import read_wav
from malha.runtime.errors import UnsupportedFormat


def wav(samples: np.ndarray, rate: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def test_what_engines_hear_is_taken_as_it_is() -> None:
    samples = voice(0.5)
    np.testing.assert_array_equal(read_wav(wav(samples), 60.0), samples)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_are_resampled(rate: int) -> None:
    assert len(read_wav(wav(voice(1.0, rate), rate), 60.0)) == pytest.approx(16_000, abs=2)


def test_two_channels_are_mixed() -> None:
    samples = voice(0.5)
    both = np.stack([samples, samples], axis=1)
    np.testing.assert_array_equal(read_wav(wav(both, channels=2), 60.0), samples)


def test_no_more_is_read_than_can_be_used() -> None:
    assert len(read_wav(wav(voice(3.0)), 1.0)) == 16_000


def test_a_file_that_says_more_than_it_has_is_read_as_far_as_it_goes() -> None:
    whole = wav(voice(0.5))
    assert len(read_wav(whole[:-1001], 60.0)) == 16_000 // 2 - 501


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"OggS" + bytes(100), wav(voice(0.1), width=1), wav(voice(0.1), rate=4_000), wav(voice(0.1), channels=4), bytes(1000)],
)
def test_what_is_no_such_file_is_refused(content: bytes) -> None:
    with pytest.raises(UnsupportedFormat) as refused:
        read_wav(content, 60.0)
    assert refused.value.reason == "NO_WAV"
