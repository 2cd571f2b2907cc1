"""Endpointing: utterances begin and end where speech does, whatever the pieces audio comes in."""

import itertools

import numpy as np
import pytest
from conftest import silence, voice
from hypothesis import given, settings
from hypothesis import strategies as st

from malha.audio.endpointing import Ended, EndpointConfig, Endpointer, EndpointEvent, Speech, Started
from malha.audio.vad import VoiceActivity

RATE = 16_000


def endpointer(config: EndpointConfig | None = None, rate: int = RATE) -> Endpointer:
    return Endpointer(VoiceActivity(rate, 1.5, 50.0), config or EndpointConfig(), rate)


def incremental(config: EndpointConfig | None = None) -> Endpointer:
    channel = endpointer(config)
    channel.incremental = True
    return channel


def run(audio: np.ndarray, piece: int = 1600, config: EndpointConfig | None = None, rate: int = RATE) -> list[EndpointEvent]:
    channel, events = endpointer(config, rate), []
    for at in range(0, audio.size, piece):
        events += channel.feed(audio[at : at + piece])
    return [*events, *channel.flush()]


def utterances(events: list[EndpointEvent]) -> list[tuple[int, int, bytes]]:
    """(audio start, acoustic end, audio) of each."""
    found, start, audio = [], 0, b""
    for event in events:
        match event:
            case Started():
                start, audio = event.start, b""
            case Speech():
                audio += event.pcm
            case Ended():
                found.append((start, event.speech_end, audio))
    return found


def test_two_sentences_are_two_utterances() -> None:
    audio = np.concatenate((silence(0.5), voice(1.2), silence(0.8), voice(1.5), silence(0.6)))
    first, second = utterances(run(audio))
    assert first[0] / RATE == pytest.approx(0.3, abs=0.1)
    assert first[1] / RATE == pytest.approx(1.7, abs=0.15)
    assert second[1] / RATE == pytest.approx(4.0, abs=0.15)


def test_an_utterance_holds_exactly_the_audio_between_its_ends() -> None:
    audio = np.concatenate((silence(0.5), voice(1.2), silence(0.8)))
    [(start, _, pcm)] = utterances(run(audio))
    assert np.array_equal(np.frombuffer(pcm, np.int16), audio[start : start + len(pcm) // 2])


@pytest.mark.parametrize("seconds", [1.2, 6.5])
def test_told_as_it_comes_or_at_the_end_the_audio_is_the_same(seconds: float) -> None:
    config = EndpointConfig(batch_window_seconds=2.0, max_batch_window_seconds=3.0)
    audio = np.concatenate((silence(0.5), voice(seconds), silence(0.8)))
    channel, events = incremental(config), []
    for at in range(0, audio.size, 1600):
        events += channel.feed(audio[at : at + 1600])
    assert sum(isinstance(event, Speech) for event in events) > 5, "told while speech goes on"
    told, whole = utterances(events), utterances(run(audio, config=config))
    assert [(start, end) for start, end, _ in told] == [(start, end) for start, end, _ in whole]
    assert all(early.startswith(late) for (*_, early), (*_, late) in zip(told, whole, strict=True)), "with more of the hangover"


def test_silence_and_steady_noise_are_no_speech() -> None:
    assert utterances(run(silence(3.0))) == []
    noisy = utterances(run(silence(6.0, noise=400.0)))
    assert all(end < RATE // 2 for _, end, _ in noisy), "once the noise floor is learnt"


def test_a_constant_offset_is_no_loudness() -> None:
    quiet = np.concatenate((silence(1.0), voice(1.0), silence(1.0)))
    shifted = (quiet.astype(np.int32) + 6_000).astype(np.int16)
    assert len(utterances(run(shifted))) == len(utterances(run(quiet))) == 1


def test_a_short_pause_ends_an_utterance_once_the_window_is_full() -> None:
    config = EndpointConfig(hangover_seconds=0.3, batch_window_seconds=2.0, max_batch_window_seconds=10.0)
    audio = np.concatenate((silence(0.3), voice(1.0), silence(0.2), voice(1.5), silence(0.2), voice(1.0), silence(0.5)))
    found = utterances(run(audio, config=config))
    assert len(found) == 2, "the pause before the window is full does not cut, the one after it does"
    assert found[0][1] / RATE == pytest.approx(3.0, abs=0.2)


def test_unbroken_speech_is_cut_where_the_last_second_is_quietest_and_nothing_is_lost() -> None:
    config = EndpointConfig(batch_window_seconds=2.0, max_batch_window_seconds=4.0)
    speech = voice(9.0)
    dip = int(3.6 * RATE)
    speech[dip : dip + 1600] = speech[dip : dip + 1600] // 6
    audio = np.concatenate((silence(0.3), speech, silence(0.6)))
    found = utterances(run(audio, config=config))
    assert len(found) >= 2
    assert found[0][1] / RATE == pytest.approx(3.95, abs=0.1)
    for (_, end, _), (start, _, _) in itertools.pairwise(found):
        assert start == end
    assert max(len(pcm) for _, _, pcm in found) / 2 / RATE <= 4.3


@settings(max_examples=25)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30))
def test_the_pieces_audio_comes_in_do_not_matter(pieces: list[int]) -> None:
    audio = np.concatenate((silence(0.3), voice(0.9), silence(0.5), voice(0.7), silence(0.4)))
    channel, events, at = endpointer(), [], 0
    for piece in pieces * (audio.size // sum(pieces) + 1):
        events += channel.feed(audio[at : at + piece])
        at += piece
    got, expected = utterances([*events, *channel.flush()]), utterances(run(audio))
    assert [(start, end) for start, end, _ in got] == [(start, end) for start, end, _ in expected]
    frame = RATE // 50
    assert all(abs(len(a[2]) - len(b[2])) <= 2 * frame + 2 * 5000 for a, b in zip(got, expected, strict=True))


def test_flush_ends_the_open_utterance_and_skip_hears_nothing() -> None:
    channel = endpointer()
    events = list(channel.feed(np.concatenate((silence(0.3), voice(0.8)))))
    events += channel.flush()
    assert len(utterances(events)) == 1
    channel.skip(RATE)
    assert channel.received == int(2.1 * RATE)
    events = [*channel.feed(np.concatenate((silence(0.3), voice(0.8), silence(0.5))))]
    [(start, _, _)] = utterances(events)
    assert start >= int(2.1 * RATE)


def test_eight_kilohertz_finds_the_same_places() -> None:
    audio = np.concatenate((silence(0.5, 8000), voice(1.2, 8000), silence(0.8, 8000)))
    [(start, end, _)] = utterances(run(audio, 800, rate=8000))
    assert (start / 8000, end / 8000) == (pytest.approx(0.3, abs=0.1), pytest.approx(1.7, abs=0.15))
