from malha.insight.domain import Utterance
from malha.insight.window import MOST_CHARACTERS, MOST_UTTERANCES, Entry, Placed, Window
from malha.insight.words import words


def entry(segment: str, start: float, text: str = "uma palavra", seq: int = 1) -> Entry:
    return Entry(Utterance(segment, seq, "customer", text, start, start + 2, "pt"), words(text, "pt"), ())


def segments(window: Window) -> list[str]:
    return [utterance.segment_id for utterance in window.utterances]


def test_what_is_older_than_the_window_leaves() -> None:
    window = Window(90.0)
    assert window.put(entry("a", 0.0)) is Placed.NEW
    assert window.put(entry("b", 60.0)) is Placed.NEW
    window.move(92.0)
    assert segments(window) == ["a", "b"]
    window.move(92.1)
    assert segments(window) == ["b"]


def test_time_never_goes_back() -> None:
    window = Window(90.0)
    window.move(200.0)
    window.move(10.0)
    assert window.put(entry("a", 20.0)) is Placed.OLD
    assert segments(window) == []


def test_an_amendment_replaces_and_an_empty_text_retracts() -> None:
    window = Window(90.0)
    window.put(entry("a", 0.0))
    window.put(entry("b", 3.0))
    assert window.put(entry("a", 0.0, "outra coisa", seq=3)) is Placed.AMENDED
    assert [each.text for each in window.utterances] == ["outra coisa", "uma palavra"]
    assert window.put(entry("a", 0.0, "...")) is Placed.RETRACTED
    assert window.put(entry("a", 0.0, "")) is Placed.NOTHING
    assert segments(window) == ["b"]


def test_utterances_of_two_channels_are_in_the_order_they_began() -> None:
    window = Window(90.0)
    for name, start in (("c", 8.0), ("a", 1.0), ("b", 4.0)):
        window.put(entry(name, start))
    assert segments(window) == ["a", "b", "c"]


def test_it_is_bounded_in_utterances_and_characters() -> None:
    many = Window(1800.0)
    for number in range(MOST_UTTERANCES + 5):
        many.put(entry(f"s{number}", float(number)))
    assert len(many.utterances) == MOST_UTTERANCES
    assert segments(many)[0] == "s5"
    long_ = Window(1800.0)
    for number in range(4):
        long_.put(entry(f"s{number}", float(number), "a " * (MOST_CHARACTERS // 4)))
    assert len(long_.utterances) == 2
