"""Languages by letters."""

import pytest

from malha.ocr.languages import ALPHABETS, check_languages, languages_of
from malha.runtime.errors import UnsupportedLanguage


def test_a_model_reads_the_languages_all_of_whose_letters_it_knows() -> None:
    ascii_only = [chr(code) for code in range(33, 127)]
    assert languages_of(ascii_only) == ("en", "id")
    portuguese = [*ascii_only, *"áâãàçéêíóôõúüÁÂÃÀÇÉÊÍÓÔÕÚÜ"]
    assert "pt" in languages_of(portuguese)
    assert "es" not in languages_of(portuguese)
    assert "pt" not in languages_of([*ascii_only, *"áâãàçéêíóôõúü"])  # no capitals


def test_a_language_that_is_not_read_lists_those_that_are() -> None:
    check_languages(["pt-BR", "en_US", "ES"], ("en", "es", "pt"), "rapidocr")
    with pytest.raises(UnsupportedLanguage, match="en, es, pt") as refused:
        check_languages(["pt", "tlh"], ("pt", "es", "en"), "rapidocr")
    assert "tlh" not in refused.value.message
    assert "open.languages" in refused.value.violations


def test_alphabets_are_small_letters_told_once() -> None:
    for letters in ALPHABETS.values():
        assert len(set(letters)) == len(letters)
        assert letters == letters.lower()
