"""Who speaks in a segment: by most of its time, word by word, and told again where it turns out otherwise."""

from dataclasses import replace

from malha.audio.events import RecognisedWord, Role, Segment
from malha.audio.labels import MOST_SEGMENTS, Labelled, Labels, Stretch

ALL = Stretch(0.0, float("inf"), "")


def segment(start: float, end: float, words: tuple[RecognisedWord, ...] = (), number: int = 1, revision: int = 1) -> Segment:
    return Segment(f"0-{number}", revision, True, 0, Role.UNKNOWN, "said", start, end, words=words, latency=0.3)


def word(start: float, end: float) -> RecognisedWord:
    return RecognisedWord("word", start, end, 1.0)


def test_a_segment_belongs_to_who_speaks_longest_in_it() -> None:
    labels = Labels()
    labels.say(1, Stretch(0.0, 1.0, "a"))
    labels.say(2, Stretch(1.0, 2.0, "b"))
    labels.say(3, Stretch(2.0, 2.7, "a"))
    assert labels.label(segment(0.5, 3.0)).speaker == "a"
    assert labels.label(segment(0.9, 2.2)).speaker == "b"
    assert labels.label(segment(5.0, 6.0)).speaker == ""


def test_each_word_has_its_speaker_and_one_between_two_turns_the_segments() -> None:
    labels = Labels()
    labels.say(1, Stretch(0.0, 2.0, "a"))
    labels.say(2, Stretch(2.4, 3.0, "b"))
    labelled = labels.label(segment(0.0, 3.0, (word(0.1, 0.5), word(2.1, 2.2), word(2.5, 2.9))))
    assert [each.speaker for each in labelled.words] == ["a", "a", "b"]


def test_a_turn_said_anew_takes_its_own_place() -> None:
    labels = Labels()
    labels.say(1, Stretch(0.0, 2.0, "a"))
    assert labels.say(1, Stretch(0.5, 3.0, "b")) == Stretch(0.0, 3.0, "")
    assert labels.label(segment(0.0, 3.0)).speaker == "b"
    labels.say(1, Stretch(0.5, 3.0, ""))
    assert labels.label(segment(0.0, 3.0)).speaker == ""


def test_a_name_replaces_a_label_and_can_be_taken_back() -> None:
    labels = Labels()
    labels.say(1, Stretch(0.0, 2.0, "a"))
    labels.name("a", "maria")
    assert labels.label(segment(0.0, 2.0)).speaker == "maria"
    labels.name("a", "")
    assert labels.label(segment(0.0, 2.0)).speaker == "a"


def test_a_late_label_amends_once_and_only_what_it_changes() -> None:
    labels, told = Labels(), Labelled()
    first, second = told.tell(segment(0.0, 1.0), labels), told.tell(segment(2.0, 3.0, number=2), labels)
    assert (first.speaker, second.speaker) == ("", "")
    within = labels.say(1, Stretch(0.0, 1.2, "a"))
    [amended] = told.changed(within, labels)
    assert amended == replace(first, revision=2, speaker="a", amended=True, relabelled=True, latency=None)
    assert told.changed(ALL, labels) == []


def test_a_segment_whose_end_is_not_labelled_waits_unless_all_is_heard() -> None:
    labels, told = Labels(), Labelled()
    told.tell(segment(0.0, 3.0), labels)
    labels.say(1, Stretch(0.0, 1.0, "a"))
    assert told.changed(ALL, labels) == []
    assert [each.speaker for each in told.changed(ALL, labels, all_heard=True)] == ["a"]


def test_a_text_amended_after_its_label_has_a_higher_revision() -> None:
    labels, told = Labels(), Labelled()
    told.tell(segment(0.0, 1.0), labels)
    told.changed(labels.say(1, Stretch(0.0, 1.0, "a")), labels)
    again = told.tell(replace(segment(0.0, 1.0, revision=2), text="shown", amended=True), labels)
    assert (again.revision, again.speaker, again.text) == (3, "a", "shown")


def test_an_hour_of_segments_is_kept_and_no_more() -> None:
    labels, told = Labels(), Labelled()
    for number in range(MOST_SEGMENTS + 10):
        told.tell(segment(number, number + 0.5, number=number), labels)
    labels.say(1, Stretch(0.0, 1e6, "a"))
    assert len(told.changed(ALL, labels)) == MOST_SEGMENTS
