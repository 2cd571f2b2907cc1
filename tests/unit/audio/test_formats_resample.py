"""Streaming sample rate conversion."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.audio.format_streams import TONE_HERTZ, peak_hertz, tone

from malha.audio.formats.resample import Resampler

SECOND = tone(1.0, 48_000, 1)[:, 0]


def resample(samples, from_rate, to_rate, cuts=()):
    resampler = Resampler(from_rate, to_rate)
    edges = [0, *sorted(cuts), len(samples)]
    pieces = [resampler.feed(samples[start:end]) for start, end in itertools.pairwise(edges)]
    return np.concatenate([*pieces, resampler.finish()])


@pytest.mark.parametrize("from_rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000])
def test_the_tone_and_the_length_stay(from_rate):
    samples = resample(tone(1.0, from_rate, 1)[:, 0], from_rate, 16_000)
    assert samples.dtype == np.int16
    assert samples.shape == (16_000,)
    assert peak_hertz(samples, 16_000) == pytest.approx(TONE_HERTZ, abs=1)
    middle = samples[1000:-1000].astype(float)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(9000 / np.sqrt(2), rel=0.02)


def test_what_the_lower_rate_cannot_hold_does_not_fold_back():
    time = np.arange(48_000) / 48_000
    high = (np.sin(2 * np.pi * 11_000 * time) * 20_000).astype(np.int16)
    assert np.abs(resample(high, 48_000, 16_000)[500:-500]).max() < 20


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, len(SECOND)), max_size=20))
def test_any_cut_gives_the_same_samples(cuts):
    assert np.array_equal(resample(SECOND, 48_000, 16_000, cuts), resample(SECOND, 48_000, 16_000))


def test_a_channel_of_interleaved_samples_can_be_fed():
    stereo = tone(0.5, 48_000, 2)
    assert np.array_equal(resample(stereo[:, 1], 48_000, 16_000), resample(stereo[:, 1].copy(), 48_000, 16_000))


def test_equal_rates_pass_through():
    resampler = Resampler(16_000, 16_000)
    assert resampler.feed(SECOND) is SECOND
    assert resampler.finish().shape == (0,)


def test_silence_stays_silence():
    assert not resample(np.zeros(8_000, np.int16), 8_000, 16_000).any()
