"""Where a text ends inside a run of digits or number words."""

import pytest

from malha.text.numbers import number_run_open
from malha.text.spans import pieces


@pytest.mark.parametrize(
    ("language", "text", "first"),
    [
        ("pt", "meu cpf é um dois três", 3),
        ("pt", "meu cpf é um, dois, três.", 3),
        ("pt", "o número é cento e vinte e", 3),
        ("pt", "é vinte e três quarenta", 1),
        ("pt", "cpf 123.456.", 1),
        ("pt", "cpf 123 quatro cinco", 1),
        ("pt", "um dois três ponto", 0),
        ("pt", "um dois três, é...", 0),
        ("pt", "cinco hã", 0),
        ("pt", "um um", 0),
        ("pt", "meu rg é duplo zero", 3),
        ("es", "mi número es seis uno dos", 3),
        ("es", "treinta y", 0),
        ("en", "my card is four double five", 3),
        ("en", "it is twenty-five", 2),
        ("en", "it is four oh", 2),
        ("de", "meine Nummer ist 0170 12", 3),
    ],
)
def test_a_run_at_the_end_is_open_from_its_first_word(language: str, text: str, first: int) -> None:
    assert number_run_open(pieces(text), language) == first


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("pt", ""),
        ("pt", "quero cancelar"),
        ("pt", "eu quero um"),
        ("pt", "dez reais"),
        ("pt", "dez por cento"),
        ("pt", "um dois três obrigado"),
        ("pt", "dois dias e"),
        ("pt", "a meia"),
        ("pt", "hã"),
        ("pt", "custa 10%"),
        ("es", "quiero uno"),
        ("en", "I want this one"),
        ("en", "oh"),
        ("en", "a double"),
        ("de", "eins zwei"),
    ],
)
def test_no_run_is_open(language: str, text: str) -> None:
    assert number_run_open(pieces(text), language) is None
