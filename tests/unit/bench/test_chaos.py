"""The audio and the verdict of `malha bench chaos`."""

import numpy as np
import pytest

from malha.bench import speech
from malha.bench.chaos import TURN_SECONDS, _turns, advised_twice, lateness, missing, repeated
from malha.bench.chaos_call import ChaosCall, Final, Told


def call(*spans: tuple[float, float], seqs: list[int] | None = None, ended: str = "finished") -> ChaosCall:
    finals = [Final(seq, start, end, "", None, 0.0) for seq, (start, end) in enumerate(spans, 1)]
    return ChaosCall("", "", [], finals=finals, seqs=seqs or list(range(1, len(finals) + 1)), ended=ended)


@pytest.mark.parametrize("talk", [0.1, 0.25, 0.5])
def test_calls_with_pauses_talk_the_share_asked_for(talk: float) -> None:
    recordings = [np.full(int(seconds * speech.RATE), 3_000, np.int16) for seconds in (8, 2, 5, 4, 9, 3) * 4]
    samples = speech.join(_turns(recordings, talk), "tones").samples
    assert np.mean(np.abs(samples) > 1_000) == pytest.approx(talk, rel=0.15)


def test_recordings_are_cut_to_turns_only_where_calls_have_pauses() -> None:
    recording = np.ones(int(8 * speech.RATE), np.int16)
    assert [len(each) for each in _turns([recording], 1.0)] == [len(recording)]
    [turn] = _turns([recording], 0.25)
    assert int(np.count_nonzero(turn)) == int(TURN_SECONDS * speech.RATE)


def test_what_is_lost_and_what_is_told_twice() -> None:
    reference = call((1.0, 2.0), (3.0, 4.0), (5.0, 5.2))
    assert missing(reference, call((1.0, 2.0), (3.1, 4.1), (5.0, 5.2))) == 0
    assert missing(reference, call((1.0, 2.0), (5.0, 5.2))) == 1
    assert missing(reference, call((1.0, 2.0), (3.0, 4.0), (5.0, 5.2), seqs=[1, 2, 4])) == 1
    assert missing(reference, call((1.0, 2.0), (3.0, 4.0), (5.0, 5.2), ended="")) == 1
    assert repeated(reference) == 0
    assert repeated(call((1.0, 2.0), (1.2, 2.2))) == 1
    assert repeated(call((1.0, 2.0), (3.0, 4.0), seqs=[1, 2, 2])) == 1


def test_which_insights_are_told_twice() -> None:
    told = call()
    words, others = (("0-1", "quero cancelar"),), (("0-2", "quero cancelar"),)
    told.insights = [Told("a", "risk_alert", words), Told("b", "next_step", words), Told("c", "risk_alert", others)]
    assert advised_twice(told) == 0
    told.insights += [Told("a", "risk_alert", words)]
    assert advised_twice(told) == 1, "by its id"
    told.insights += [Told("d", "risk_alert", others)]
    assert advised_twice(told) == 2, "by what it says"


def test_a_final_is_late_against_the_same_words_in_other_calls() -> None:
    reference = call((1.0, 2.0), (3.0, 3.2))

    def heard(*latencies: float) -> ChaosCall:
        finals = [Final(1, 1.0, 2.0, "", latencies[0], 10.0), Final(2, 3.0, 3.2, "", latencies[1], 20.0)]
        return ChaosCall("", "", [], finals=finals, seqs=[1, 2], ended="finished")

    calls = [heard(100, 3_000), heard(100, 3_000), heard(100, 3_000), heard(1_100, 3_000), heard(100, 3_500)]
    assert lateness(reference, calls) == [[(10.0, 0.0), (20.0, 0.0)]] * 3 + [[(10.0, 1_000.0), (20.0, 0.0)], [(10.0, 0.0), (20.0, 500.0)]]
