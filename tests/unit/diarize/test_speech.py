"""Speech is found in a channel, however its audio is divided."""

import numpy as np
import pytest
from conftest import silence, voice

from malha.diarize.speech import FRAME_SAMPLES, FRAME_SECONDS, SpeechFinder, Stretch


def found(samples: np.ndarray, step: int) -> list[Stretch]:
    finder = SpeechFinder()
    stretches = [each for at in range(0, len(samples), step) for each in finder.feed(samples[at : at + step])]
    return [stretch for stretch in (*stretches, *finder.end()) if not stretch.dismissed]


TALK = np.concatenate([silence(1.0), voice(2.0), silence(0.6), voice(1.5, seed=3), silence(1.0)])


def test_each_stretch_is_found_where_it_is() -> None:
    one, other = found(TALK, 1600)
    for stretch, start, end in ((one, 1.0, 3.0), (other, 3.6, 5.1)):
        assert stretch.start * FRAME_SECONDS == pytest.approx(start, abs=0.1)
        assert stretch.end * FRAME_SECONDS == pytest.approx(end, abs=0.15)


@pytest.mark.parametrize("step", [1, 7, 160, 333, 16_000, 10**6])
def test_how_audio_is_divided_changes_nothing(step: int) -> None:
    samples = TALK[: 16_000 * 4] if step == 1 else TALK
    assert found(samples, step) == found(samples, 320)


def test_silence_and_noise_are_no_speech() -> None:
    assert found(np.zeros(32_000, np.int16), 1600) == []
    assert found(silence(3.0, noise=300.0), 1600) == []


def test_what_goes_on_is_told_while_it_does() -> None:
    finder = SpeechFinder()
    assert finder.open is None
    assert finder.feed(TALK[: 16_000 * 2]) == []
    assert finder.open is not None
    assert finder.heard == 2 * 16_000 // FRAME_SAMPLES
    [stretch] = finder.end()
    assert finder.speech == stretch.end - stretch.start
    assert finder.open is None


def test_somebody_in_the_background_takes_no_part() -> None:
    loud, faint = voice(3.0, loudness=28_000.0), voice(2.0, loudness=3_500.0, seed=4)
    samples = np.concatenate([silence(0.5), loud, silence(1.0), faint, silence(1.0), loud])
    assert [round(each.start * FRAME_SECONDS) for each in found(samples, 1600)] == [0, 8]
    alone = np.concatenate([silence(0.5), faint, silence(1.0)])
    assert len(found(alone, 1600)) == 1, "where nobody is louder, it counts"
