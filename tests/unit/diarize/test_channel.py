"""A channel is labelled as it is heard; here each voice is known by its loudness, so that nothing has to be computed."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from conftest import silence, voice

from malha.diarize.channel import Channel, Job
from malha.diarize.clustering import group, normalised
from malha.diarize.engine import Turn

LOUD, SOFT = 12_000.0, 3_000.0


def prints(jobs: Sequence[Job]) -> np.ndarray:
    """Of windows: one direction for what is loud, another for what is soft, and between them for what is both."""
    rms = [np.abs(np.frombuffer(job.pcm, np.int16).astype(float)).mean() for job in jobs]
    angles = np.interp(np.log(np.maximum(rms, 1)), np.log([SOFT / 6, LOUD / 6]), [0, np.pi / 2])
    return normalised(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))


def talk(*parts: tuple[float, float]) -> np.ndarray:
    """(loudness, seconds) of each part, with half a second of a quiet line after it."""
    pieces = [silence(0.5)]
    for number, (loudness, seconds) in enumerate(parts):
        pieces += [voice(seconds, loudness=loudness, seed=number), silence(0.5)]
    return np.concatenate(pieces)


def heard(samples: np.ndarray, step: int, channel: Channel, *, groupings: bool = True) -> dict[int, Turn]:
    """What a client has in the end."""
    known: dict[int, Turn] = {}

    def tell(jobs: list[Job], *, last: bool = False) -> None:
        if jobs:
            channel.label(jobs, prints(jobs))
        grouping = channel.grouping(last=last) if groupings else None
        if grouping is not None:
            channel.regroup(group(grouping.prints, grouping.seconds))
        for turn in channel.turns():
            assert turn.revision == (known[turn.id].revision + 1 if turn.id in known else 1)
            known[turn.id] = turn

    for at in range(0, len(samples), step):
        tell(channel.hear(samples[at : at + step]))
    tell(channel.finish(), last=True)
    return {key: turn for key, turn in known.items() if turn.speaker}


TALK = talk((LOUD, 3.0), (SOFT, 2.5), (LOUD, 2.0), (SOFT, 3.0))
WHOSE = [1, 2, 1, 2]
STARTS = [0.5, 4.0, 7.0, 9.5]


@pytest.mark.parametrize("step", [160, 1_600, 16_000, 10**7])
@pytest.mark.parametrize("groupings", [True, False])
def test_who_speaks_when_however_audio_is_divided(step: int, *, groupings: bool) -> None:
    turns = sorted(heard(TALK, step, Channel(), groupings=groupings).values(), key=lambda turn: turn.start)
    assert [turn.speaker for turn in turns] == WHOSE
    assert [turn.start for turn in turns] == pytest.approx(STARTS, abs=0.15)


def test_turns_are_told_while_somebody_still_speaks() -> None:
    channel, samples = Channel(), voice(4.0, loudness=LOUD)
    told = []
    for at in range(0, len(samples), 1_600):
        jobs = channel.hear(samples[at : at + 1_600])
        if jobs:
            channel.label(jobs, prints(jobs))
            told += [(at / 16_000 + 0.1, turn) for turn in channel.turns()]
    assert told[0][0] <= 2.0
    assert {turn.id for _, turn in told} == {1}
    assert len(told) >= 3


def test_one_speaker_alone_needs_no_prints() -> None:
    channel, known = Channel(alone=True), {}
    for at in range(0, len(TALK), 1_600):
        channel.hear(TALK[at : at + 1_600])
        if channel.due or at + 1_600 >= len(TALK):
            known |= {turn.id: turn for turn in channel.turns()}
    channel.finish()
    known |= {turn.id: turn for turn in channel.turns()}
    assert {turn.speaker for turn in known.values()} == {1}
    assert channel.grouping(last=True) is None
    assert sum(turn.end - turn.start for turn in known.values()) == pytest.approx(10.5, abs=1.6)


def test_little_audio_is_kept_however_long_a_stream_is() -> None:
    channel = Channel()
    for number in range(60):
        jobs = channel.hear(voice(1.0, seed=number) if number % 7 else silence(1.0))
        if jobs:
            channel.label(jobs, prints(jobs))
        assert len(channel._audio) < 5 * 16_000


def test_prints_come_with_enough_speech_and_again_as_more_is_known() -> None:
    channel, told = Channel(), []
    for number in range(14):
        jobs = channel.hear(voice(1.0, loudness=LOUD, seed=number))
        if jobs:
            channel.label(jobs, prints(jobs))
            told += channel.prints()
    assert [print_.speaker for print_ in told] == [1] * len(told)
    assert told[0].seconds >= 3.0
    assert all(later.seconds >= 2 * earlier.seconds for earlier, later in itertools.pairwise(told))
    assert np.linalg.norm(told[0].embedding) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("step", [160, 1_600, 4_000, 10**7])
def test_windows_have_the_audio_of_their_time(step: int) -> None:
    """Also where a stretch seems too faint at first, and nothing of it is asked for until it is not."""
    rising = np.concatenate([voice(2.0, loudness=2_500.0, seed=8), voice(3.0, loudness=28_000.0, seed=9)])
    samples = np.concatenate([silence(0.5), voice(3.0, loudness=28_000.0), silence(1.0), rising, silence(1.0)])
    channel = Channel()
    jobs = [job for at in range(0, len(samples), step) for job in channel.hear(samples[at : at + step])] + channel.finish()
    assert len(jobs) >= 6
    for window, pcm in jobs:
        np.testing.assert_array_equal(np.frombuffer(pcm, np.int16), samples[window.start * 320 : window.end * 320])


def test_a_print_that_comes_after_its_stretch_has_ended_amends_the_turn() -> None:
    """The first window of a stretch says it is the loud one's, a later one, heard during the next stretch, whose the rest of it is."""
    samples = np.concatenate([silence(0.5), voice(1.5, loudness=LOUD), voice(1.8, loudness=SOFT, seed=3), silence(0.5), voice(2.0, seed=4)])
    channel, known, late = Channel(max_speakers=2), {}, []
    for at in range(0, len(samples), 1_600):
        for job in channel.hear(samples[at : at + 1_600]):
            if late or job.window.start != job.window.stretch:
                late.append(job)
            else:
                channel.label([job], prints([job]))
        known |= {turn.id: turn for turn in channel.turns()}
    assert [turn.speaker for turn in known.values() if turn.start < 3.0] == [1]
    channel.label(late, prints(late))
    known |= {turn.id: turn for turn in channel.turns()}
    told = sorted((turn.start, turn.speaker) for turn in known.values() if turn.speaker and turn.start < 3.5)
    assert [speaker for _, speaker in told] == [1, 2]
    assert told[1][0] == pytest.approx(2.0, abs=0.5)
