"""What espeak-ng is given to read, and where in the caller's text a word lies."""

import unicodedata
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from malha.synthesize.engines.espeak_text import Words, portions, prepare


def words(text: str) -> list[str]:
    """Each word of a text, found again in the text by its mark."""
    prepared = prepare(text)
    finder = Words(prepared)
    marks = [finder.mark(position, 0.0) for position in range(len(prepared.text))]
    return [text[mark.text_start : mark.text_end] for mark in marks if mark is not None]


def test_words_come_without_the_punctuation_around_them() -> None:
    assert words('«Olá», disse (ela): "R$ 1.234,56?" — não!') == ["Olá", "disse", "ela", "R$", "1.234,56", "—", "não"]


def test_controls_become_spaces_and_invisible_characters_go() -> None:
    assert prepare("a\x00\x01b\tc\u00a0d\ue000e").text == "a  b c d e"
    assert prepare("ca\u00adsa\u200b \ufeffnova\u202e").text == "casa nova"


def test_the_joiner_of_an_emoji_stays() -> None:
    family = "👨\u200d👩\u200d👧"
    assert prepare(family).text == family


def test_accents_are_composed_and_words_still_found_in_the_text_as_sent() -> None:
    sent = unicodedata.normalize("NFD", "não recebi, cartão é ação")
    assert prepare(sent).text == "não recebi, cartão é ação"
    assert words(sent) == [unicodedata.normalize("NFD", word) for word in ("não", "recebi", "cartão", "é", "ação")]


def test_a_word_is_told_once_and_never_after_a_later_one() -> None:
    finder = Words(prepare("total 1.234 reais"))
    assert [mark and mark.text_start for mark in (finder.mark(6, 0.1), finder.mark(7, 0.2), finder.mark(12, 0.3), finder.mark(6, 0.4))] == [
        6,
        None,
        12,
        None,
    ]
    assert Words(prepare("  casa")).mark(0, 0.0) is None


def test_prose_is_spoken_in_one_go_and_numbers_in_portions() -> None:
    prose = "Não recebi a fatura de julho, de 56 reais, e quero falar com alguém. " * 5
    assert list(portions(prose)) == [(0, len(prose))]
    numbers = "1.234.567 " * 40
    cuts = list(portions(numbers))
    assert len(cuts) > 1
    assert all(numbers[start:end].endswith(" ") for start, end in cuts)
    assert list(portions("⣿" * 40))[:2] == [(0, 18), (18, 36)]
    assert list(portions("")) == [(0, 0)]


@given(st.text())
def test_any_text_is_prepared(text: str) -> None:
    prepared = prepare(text)
    assert len(prepared.origins) == len(prepared.text) + 1
    assert list(prepared.origins) == sorted(prepared.origins)
    assert not any(unicodedata.category(character) in {"Cc", "Co", "Cn"} for character in prepared.text)
    assert "".join(prepared.text[start:end] for start, end in portions(prepared.text)) == prepared.text
    finder = Words(prepared)
    marks = [mark for position in range(len(prepared.text)) if (mark := finder.mark(position, 0.0))]
    assert all(0 <= mark.text_start < mark.text_end <= len(text) for mark in marks)
    assert all(before.text_end <= after.text_start for before, after in pairwise(marks))
