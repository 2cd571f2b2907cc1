"""Number words to digits: every number, every dictated form, and what must stay words."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.spoken_numbers import SPELLERS
from malha.text.numbers import fold_numbers, is_number_word
from malha.text.spans import Piece, joined, pieces


def folded(text: str, language: str) -> str:
    return joined(fold_numbers(pieces(text), language))


SAMPLES = random.Random(4)
NUMBERS = [
    0,
    *range(2, 10_000),
    *(SAMPLES.randrange(10**digits, 10 ** (digits + 1)) for digits in range(4, 10) for _ in range(300)),
    10**9,
    10**6,
    10**5,
]
NUMBERS = [number for number in NUMBERS if number < 2 * 10**9]


@pytest.mark.parametrize("speller", SPELLERS)
def test_every_number_said_is_written_with_its_digits(speller: str) -> None:
    language, said = SPELLERS[speller]
    wrong = [(said(number), found) for number in NUMBERS if (found := folded(said(number), language)) != str(number)]
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("speller", SPELLERS)
def test_case_and_missing_accents_do_not_matter(speller: str) -> None:
    language, said = SPELLERS[speller]
    for number in (3, 16, 23, 26, 1_003, 2_116, 3_000_022):
        bare = "".join(mark for mark in unicodedata.normalize("NFD", said(number)) if not unicodedata.combining(mark))
        assert folded(bare.upper(), language) == str(number)


CASES = {
    "pt": [
        ("um dois três", "123"),
        ("meu cpf é um um um meia quatro quatro traço zero nove", "meu cpf é 111644-09"),
        ("um dois três ponto quatro cinco seis ponto sete oito nove traço zero nove", "123.456.789-09"),
        ("vinte e três quarenta e cinco", "23 45"),
        ("cento e onze quatrocentos e quarenta e quatro", "111 444"),
        ("onze nove nove oito sete", "11 9987"),
        ("vinte cinco", "25"),
        ("vinte cinco cinco", "20 55"),
        ("duplo zero sete", "007"),
        ("um, dois, três.", "1, 2, 3."),
        ("Um. Dois. Três.", "1. 2. 3."),
        ("1 2 três", "123"),
        ("1 2 3", "123"),
        ("três vírgula cinco por cento", "3,5 por cento"),
        ("três vírgula zero cinco", "3,05"),
        ("um vírgula cinco", "1,5"),
        ("dois vírgula cinco milhões", "2,5 milhões"),
        ("dois vírgula cinco mil e quinhentos", "2,5 mil e 500"),
        ("um milhão e meio de reais", "1500000 de reais"),
        ("dez ponto zero ponto zero ponto um", "10.0.0.1"),
        ("doze barra três barra dois mil e vinte", "12/3/2020"),
        ("dez reais e cinquenta centavos", "10 reais e 50 centavos"),
        ("um real e noventa", "1 real e 90"),
        ("um por cento", "1 por cento"),
        ("dois mil e quinhentos e três mil", "2500 e 3000"),
        ("mil e dois mil", "1000 e 2000"),
        ("dez e quinze", "10 e 15"),
        ("cinco e seis", "5 e 6"),
        ("2 mil e 500", "2500"),
        ("500 mil", "500000"),
        ("às duas e meia", "às 2 e meia"),
        ("dois três dias", "2 3 dias"),
        ("(vinte e cinco)!", "(25)!"),
        ("Vinte, e cinco!", "20, e 5!"),
        ("vinte-e-cinco", "25"),
        ("dezassete e dezanove", "17 e 19"),
        ("um mil", "1000"),
        ("um bilião", "1000000000000"),
    ],
    "es": [
        ("dos mil veinticuatro", "2024"),
        ("tres dieciseis", "3 16"),
        ("el treinta y uno de mayo", "el 31 de mayo"),
        ("seiscientos doce treinta y cuatro cincuenta y seis", "612 34 56"),
        ("novecientos dos cinco cinco", "902 55"),
        ("uno dos tres", "123"),
        ("doble cinco", "55"),
        ("tres coma catorce", "3,14"),
        ("el cien por cien", "el 100 por cien"),
        ("diez por ciento", "10 por ciento"),
        ("un millón y medio", "1500000"),
        ("cinco y seis", "5 y 6"),
        ("un euro", "1 euro"),
        ("doce guion tres", "12-3"),
    ],
    "en": [
        ("twenty five thousand", "25000"),
        ("twenty-five hundred", "2500"),
        ("a hundred and five", "105"),
        ("five hundred and six hundred", "500 and 600"),
        ("double five oh seven", "5507"),
        ("triple nine", "999"),
        ("five five five one two oh o", "5551200"),
        ("one-two-three", "123"),
        ("nine one one", "911"),
        ("one two three", "123"),
        ("twenty one two three", "21 23"),
        ("three point one four", "3.14"),
        ("two point five million", "2.5 million"),
        ("version two point oh", "version 2.0"),
        ("nineteen ninety eight", "1998"),
        ("nineteen oh five", "1905"),
        ("twenty twenty-four", "2024"),
        ("nineteen ninety dollars", "19 90 dollars"),
        ("july twenty first two thousand twenty", "july 21st 2020"),
        ("the twenty second of july", "the 22nd of july"),
        ("twenty second break", "20 second break"),
        ("one percent", "1 percent"),
        ("two million and a half", "2500000"),
    ],
}


@pytest.mark.parametrize(("language", "spoken", "expected"), [(language, *case) for language, cases in CASES.items() for case in cases])
def test_dictated_forms(language: str, spoken: str, expected: str) -> None:
    assert folded(spoken, language) == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("pt", "eu quero um plano e uma linha"),
        ("pt", "um um carro"),
        ("pt", "um dia eu volto"),
        ("pt", "um real problema"),
        ("pt", "meia hora"),
        ("pt", "mil desculpas"),
        ("pt", "quantos mil"),
        ("pt", "primeiro segundo vigésimo"),
        ("pt", "o ponto e a vírgula"),
        ("pt", "dobro e dupla sertaneja"),
        ("pt", "um milhar, alguns milhões"),
        ("pt", "custa R$ 1.234,56 em 10x"),
        ("es", "un plan y una línea para uno"),
        ("es", "mil gracias"),
        ("es", "el punto de la reunión"),
        ("en", "no one wants this one"),
        ("en", "oh a plan"),
        ("en", "thanks a million"),
        ("en", "half a million"),
        ("en", "a couple hundred"),
        ("en", "twenty-first"),
        ("en", "double room, first floor, and a half"),
        ("de", "eins zwei drei one dos três"),
        ("", "um dois três"),
        ("pt", "25000 23 45 3,5"),
    ],
)
def test_what_is_no_number_stays(language: str, text: str) -> None:
    assert fold_numbers(pieces(text), language) == pieces(text)


def test_a_number_rests_on_all_its_words() -> None:
    assert fold_numbers(pieces("são vinte e cinco, tá?"), "pt") == [Piece("são", 0, 0), Piece("25,", 1, 3), Piece("tá?", 4, 4)]


def test_spans_are_those_of_the_input_not_positions_in_it() -> None:
    assert fold_numbers([Piece("dois", 3, 4), Piece("mil", 7, 8)], "pt") == [Piece("2000", 3, 8)]


def test_number_words_are_known() -> None:
    assert is_number_word("tres", "pt")
    assert is_number_word("meia", "pt")
    assert not is_number_word("e", "pt")
    assert not is_number_word("tres", "de")


WORDS = {
    "pt": "um uma dois três nove zero meia dez vinte trinta cento cem duzentos mil milhão milhões e vírgula ponto traço duplo por meio reais real , . 2 5 23 500 3,5",
    "es": "un uno dos tres nueve cero diez veinte veintiuno treinta ciento cien doscientos mil millón y coma punto doble por medio euros gracias 2 5 23 500",
    "en": "one two three nine zero oh o ten nineteen twenty thirty hundred thousand million a and point dash double half first second the dollars 2 5 23 500",
}


@pytest.mark.parametrize("language", WORDS)
def test_folding_again_changes_nothing_and_spans_cover_the_input(language: str) -> None:
    tails = st.sampled_from(["", "", "", "", ",", ".", "?"])
    word = st.builds(lambda core, tail: core + tail, st.sampled_from(WORDS[language].split()), tails)

    @given(st.lists(word, max_size=12))
    def check(spoken: list[str]) -> None:
        once = fold_numbers(pieces(" ".join(spoken)), language)
        assert [index for piece in once for index in range(piece.first, piece.last + 1)] == list(range(len(spoken)))
        again = fold_numbers(pieces(joined(once)), language)
        assert joined(again) == joined(once)

    check()
