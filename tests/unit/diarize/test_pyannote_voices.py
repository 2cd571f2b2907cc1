"""How the voices of one look at a stream get the names they had."""

import numpy as np

from malha.diarize.engines.pyannote_messages import Said
from malha.diarize.engines.pyannote_voices import KnownVoices, Look

ONE, OTHER, THIRD = np.eye(3, dtype=np.float32)


def told(said: list[Said], *takes: tuple[int, tuple[Said, ...]]) -> list[Said]:
    for kept, more in takes:
        said[kept:] = more
    return said


def test_voices_keep_their_names_whatever_a_look_calls_them() -> None:
    voices = KnownVoices(0)
    first = voices.take(Look(0, [Said(0, 4, 1), Said(4, 8, 0)], {0: ONE, 1: OTHER}, whole=True))
    assert first.said == (Said(0, 4, 0), Said(4, 8, 1))
    again = voices.take(Look(0, [Said(0, 4, 0), Said(4, 9, 1)], {0: OTHER, 1: ONE}, whole=True))
    assert (again.kept, again.said) == (1, (Said(4, 9, 1),))
    assert dict(again.prints)[1] is ONE


def test_a_look_at_the_end_leaves_the_beginning() -> None:
    voices = KnownVoices(0)
    voices.take(Look(0, [Said(0, 4, 0), Said(4, 20, 1)], {0: ONE, 1: OTHER}, whole=True))
    later = voices.take(Look(15, [Said(12, 18, 0), Said(19, 25, 0)], {0: OTHER}, whole=False))
    assert (later.kept, later.said) == (1, (Said(4, 18, 1), Said(19, 25, 1)))
    assert later.prints == ()


def test_a_voice_that_comes_back_is_known_by_its_sound() -> None:
    voices = KnownVoices(0)
    voices.take(Look(0, [Said(0, 4, 0), Said(4, 20, 1)], {0: ONE, 1: OTHER}, whole=True))
    later = voices.take(Look(15, [Said(15, 20, 0), Said(20, 22, 1), Said(22, 24, 2)], {0: OTHER, 1: ONE, 2: THIRD}, whole=False))
    assert later.said == (Said(20, 22, 0), Said(22, 24, 2))


def test_no_more_voices_than_were_asked_for() -> None:
    voices = KnownVoices(2)
    voices.take(Look(0, [Said(0, 4, 0), Said(4, 20, 1)], {0: ONE, 1: OTHER}, whole=True))
    later = voices.take(Look(15, [Said(15, 20, 0), Said(21, 24, 1)], {0: OTHER, 1: THIRD}, whole=False))
    assert {said.voice for said in later.said} <= {0, 1}


def test_what_a_whole_look_no_longer_hears_is_gone() -> None:
    voices = KnownVoices(0)
    told_first = voices.take(Look(0, [Said(0, 4, 0), Said(4, 8, 1), Said(8, 12, 2)], {}, whole=True))
    after = voices.take(Look(0, [Said(0, 8, 0), Said(8, 12, 1)], {}, whole=True))
    assert told(list(told_first.said), (after.kept, after.said)) == [Said(0, 8, 0), Said(8, 12, 2)]
