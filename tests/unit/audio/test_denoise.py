"""Noise reduction: quieter silence, the same speech, every sample in its place."""

import numpy as np
import pytest
from conftest import silence, voice

from malha.audio.denoise import DELAY, Denoiser
from malha.audio.endpointing import Ended, EndpointConfig, Endpointer, EndpointEvent, Speech, Started
from malha.audio.vad import VoiceActivity

RATES = (8_000, 16_000)


NOISE = 400.0


def cleaned(audio: np.ndarray, rate: int, piece: int, noise: float = NOISE) -> np.ndarray:
    denoiser = Denoiser(rate)
    return np.concatenate([denoiser.feed(audio[at : at + piece], noise) for at in range(0, audio.size, piece)])


def noisy_call(rate: int, noise: float = NOISE) -> np.ndarray:
    """2 s of noise, 1 s of speech in it, 1 s of noise."""
    speech = np.concatenate((np.zeros(2 * rate), voice(1.0, rate), np.zeros(rate)))
    return (speech + np.random.default_rng(3).standard_normal(speech.size) * noise).astype(np.int16)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt((samples.astype(np.float64) ** 2).mean()))


@pytest.mark.parametrize("noise", [100.0, 400.0, 1_200.0])
@pytest.mark.parametrize("rate", RATES)
def test_noise_falls_and_speech_stays(rate: int, noise: float) -> None:
    audio = noisy_call(rate, noise)
    clean = cleaned(audio, rate, rate // 10, noise)
    quiet, spoken = slice(rate, 2 * rate), slice(int(2.2 * rate), int(2.8 * rate))
    assert level(clean[quiet]) < 0.5 * level(audio[quiet])
    assert level(clean[spoken]) > 0.8 * level(voice(1.0, rate)[int(0.2 * rate) : int(0.8 * rate)])


@pytest.mark.parametrize("rate", RATES)
def test_every_sample_keeps_its_place(rate: int) -> None:
    audio = noisy_call(rate)
    clean = cleaned(audio, rate, rate // 10)
    assert audio.size - clean.size == round(DELAY * rate)
    spoken, at = audio[int(2.1 * rate) : int(2.9 * rate)].astype(np.float64), int(2.1 * rate)
    likeness = {shift: float(np.dot(spoken, clean[at + shift : at + shift + spoken.size])) for shift in range(-40, 41)}
    assert max(likeness, key=lambda shift: likeness[shift]) == 0


def test_the_size_of_pieces_changes_nothing() -> None:
    audio = noisy_call(16_000)
    whole = cleaned(audio, 16_000, audio.size)
    assert np.array_equal(whole, cleaned(audio, 16_000, 333)[: whole.size])


def run(audio: np.ndarray, *, denoise: bool, config: EndpointConfig | None = None, skip_at: int = 0) -> list[EndpointEvent]:
    channel = Endpointer(VoiceActivity(16_000, 1.5, 50.0), config or EndpointConfig(), 16_000, denoise=denoise)
    channel.incremental = True
    events: list[EndpointEvent] = []
    for at in range(0, audio.size, 1_600):
        if at and at == skip_at:
            events += channel.flush()
            channel.skip(16_000)
        events += channel.feed(audio[at : at + 1_600])
    return [*events, *channel.flush()]


@pytest.mark.parametrize("skip_at", [0, 48_000])
@pytest.mark.parametrize("longest", [0.7, 10.0])
def test_utterances_lie_where_they_lie_without_it(skip_at: int, longest: float) -> None:
    audio = np.concatenate((silence(1.0), voice(1.5), silence(0.6), voice(1.9), silence(0.4), voice(0.8)))
    config = EndpointConfig(0.3, min(5.0, longest), longest)
    plain, clean = (run(audio, denoise=denoise, config=config, skip_at=skip_at) for denoise in (False, True))
    places = [[event for event in events if isinstance(event, Started | Ended)] for events in (plain, clean)]
    assert len(places[0]) >= 4
    assert places[0] == places[1]
    heard = [b"".join(event.pcm for event in events if isinstance(event, Speech)) for events in (plain, clean)]
    assert len(heard[0]) == len(heard[1])
    assert heard[0] != heard[1]


def test_a_channel_whose_noise_is_not_known_is_left_alone() -> None:
    audio = noisy_call(16_000)
    clean = cleaned(audio, 16_000, 1_600, noise=0.0)
    assert level(clean[:32_000]) > 0.9 * level(audio[:32_000])


def test_nothing_in_nothing_out() -> None:
    assert Denoiser(16_000).feed(np.empty(0, np.int16), 0.0).size == 0
