"""The error rate, on cases worked out by hand."""

from pathlib import Path

import pytest

from malha.bench.der import Talk, errors, read_rttm
from malha.runtime.errors import InvalidArgument

TWO = [Talk(0.0, 10.0, "a"), Talk(10.0, 20.0, "b")]


def test_the_same_under_other_names_is_right() -> None:
    found = errors(TWO, [Talk(0.0, 10.0, "x"), Talk(10.0, 20.0, "y")], collar=0.0)
    assert (found.rate, found.speech) == (0.0, 20.0)


def test_each_kind_of_error() -> None:
    found = errors(TWO, [Talk(2.0, 10.0, "x"), Talk(10.0, 13.0, "x"), Talk(13.0, 22.0, "y")], collar=0.0)
    assert (found.missed, found.false_alarm, found.confused) == (2.0, 2.0, 3.0)
    assert found.rate == pytest.approx(7 / 20)


def test_one_speaker_for_two_is_confusion_of_the_lesser() -> None:
    found = errors([Talk(0.0, 12.0, "a"), Talk(12.0, 20.0, "b")], [Talk(0.0, 20.0, "x")], collar=0.0)
    assert (found.confused, found.missed) == (8.0, 0.0)


def test_overlapping_speech_counts_for_each() -> None:
    reference = [Talk(0.0, 10.0, "a"), Talk(6.0, 10.0, "b")]
    found = errors(reference, [Talk(0.0, 10.0, "x")], collar=0.0)
    assert (found.speech, found.missed, found.confused) == (14.0, 4.0, 0.0)


def test_nothing_is_counted_around_the_reference_s_boundaries() -> None:
    found = errors(TWO, [Talk(0.0, 10.2, "x"), Talk(10.2, 20.2, "y")], collar=0.25)
    assert found.rate == 0.0
    assert found.speech == pytest.approx(20 - 0.25 - 0.5 - 0.25)
    late = errors(TWO, [Talk(0.0, 11.0, "x"), Talk(11.0, 20.0, "y")], collar=0.25)
    assert late.confused == pytest.approx(0.75)


def test_speakers_are_paired_for_the_whole_file_and_not_greedily() -> None:
    reference = [Talk(0.0, 10.0, "a"), Talk(10.0, 19.0, "b")]
    hypothesis = [Talk(0.0, 6.0, "x"), Talk(6.0, 10.0, "y"), Talk(10.0, 17.0, "x"), Talk(17.0, 19.0, "y")]
    found = errors(reference, hypothesis, collar=0.0)  # x with a, y with b: 8 s right; x with b, y with a: 11 s
    assert found.confused == pytest.approx(8.0)


def test_without_speech_in_the_reference() -> None:
    assert errors([], []).rate == 0.0
    assert errors([], [Talk(0.0, 1.0, "x")]).rate == 1.0


def test_rttm(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    path.write_text("SPEAKER one 1 1.5 2.25 <NA> <NA> anna <NA> <NA>\n\nSPKR-INFO one 1 <NA>\nSPEAKER two 1 0 1 <NA> <NA> b <NA> <NA>\n")
    assert read_rttm(path) == {"one": [Talk(1.5, 3.75, "anna")], "two": [Talk(0.0, 1.0, "b")]}
    path.write_text("SPEAKER one 1 x y\n")
    with pytest.raises(InvalidArgument):
        read_rttm(path)
