"""Fillers and stutters go, content stays."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from malha.text.fillers import drop_fillers
from malha.text.spans import Piece, joined, pieces, tokens

LANGUAGES = ("pt", "es", "en")


def shown(text: str, language: str) -> str:
    return joined(drop_fillers(pieces(text), language))


@pytest.mark.parametrize(
    ("language", "spoken", "expected"),
    [
        ("pt", "é... eu quero cancelar", "eu quero cancelar"),
        ("pt-BR", "Hã, ahn, ééé o boleto, hum, venceu", "o boleto, venceu"),
        ("pt", "isso, né?", "isso?"),
        ("pt", "eu cancelei, né.", "eu cancelei."),
        ("pt", "eu eu eu quero", "eu quero"),
        ("pt", "Eu, eu... eu quero", "Eu quero"),
        ("pt", "eu hã eu quero", "eu quero"),
        ("pt", "quero can- cancelar", "quero cancelar"),
        ("pt", "obrigado obrigado obrigado", "obrigado"),
        ("es", "eh este... quiero la la factura", "quiero la factura"),
        ("es", "em bueno, ¿eh?", "bueno,"),
        ("en", "um I uh I want erm a refund", "I want a refund"),
        ("en", "so umm...", "so"),
        ("en", "ER I WANT UM A REFUND", "I WANT A REFUND"),
    ],
)
def test_what_carries_nothing_is_dropped(language: str, spoken: str, expected: str) -> None:
    assert shown(spoken, language) == expected


@pytest.mark.parametrize(
    ("language", "spoken"),
    [
        ("pt", "eu quero um plano"),
        ("pt", "é isso"),
        ("pt", "é um absurdo"),
        ("pt", "ele mora em casa"),
        ("pt", "há dias"),
        ("pt", "uhum aham mm mhm"),
        ("pt", "tipo assim"),
        ("pt", "não não quero"),
        ("pt", "muito muito bom"),
        ("pt", "nove nove nove oito"),
        ("pt", "um um"),
        ("pt", "w w w ponto"),
        ("pt", "A A B"),
        ("pt", "sim. sim. sim."),
        ("pt", "o número 123- 123"),
        ("es", "este plan es caro"),
        ("es", "él ha ido"),
        ("es", "uno uno dos"),
        ("en", "we went to the ER today"),
        ("en", "that is a bad error"),
        ("en", "very very bad"),
        ("en", "uh-huh mm"),
        ("de", "um um ähm äh"),
    ],
)
def test_content_stays(language: str, spoken: str) -> None:
    assert shown(spoken, language) == spoken


@pytest.mark.parametrize(("language", "spoken"), [("pt", "é... hã, hum né?"), ("es", "eh... em"), ("en", "um, uh")])
def test_fillers_alone_become_empty(language: str, spoken: str) -> None:
    assert drop_fillers(pieces(spoken), language) == []


def test_a_stutter_rests_on_all_its_words() -> None:
    assert drop_fillers(pieces("hã eu eu, ahn eu. quero"), "pt") == [Piece("eu.", 1, 4), Piece("quero", 5, 5)]


SPOKEN = (
    "é é... eu eu, eu. né? né hã um um, uma a A I este este... eh ¿eh? em um uh- er ER can- cancelar cancelar. nove 9 não sim... - “eu”"
)
WORDS = st.sampled_from(tokens(SPOKEN))


@given(st.lists(WORDS, max_size=14), st.sampled_from(LANGUAGES))
@example(["um", "ER"], "en")
def test_dropping_again_changes_nothing_and_order_stays(words: list[str], language: str) -> None:
    once = drop_fillers(pieces(" ".join(words)), language)
    again = drop_fillers(pieces(joined(once)), language)
    assert [piece.text for piece in again] == [piece.text for piece in once]
    assert all(before.last < after.first for before, after in pairwise(once))
    assert all(0 <= piece.first <= piece.last < len(words) for piece in once)
