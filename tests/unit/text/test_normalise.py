"""Fillers, glossary and numbers together."""

import statistics
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.text.glossary import Glossary
from malha.text.normalise import normalise
from malha.text.spans import Piece, joined, pieces, tokens

GLOSSARY = Glossary.of({"turbo mil": "TurboMil", "vivo": "Vivo", "plano familia": "Plano Família"})


@pytest.mark.parametrize(
    ("language", "spoken", "expected"),
    [
        ("pt", "eu eu pago vinte e hã cinco reais no turbo mil, né?", "eu pago 25 reais no TurboMil?"),
        ("pt", "o plano é... familia da vivo", "o Plano Família da Vivo"),
        ("es", "eh son treinta y este... cinco en vivo", "son 35 en Vivo"),
        ("en", "um it's um twenty uh five dollars on Vivo", "it's 25 dollars on Vivo"),
        ("de", "um um zwanzig vivo", "um um zwanzig Vivo"),
        ("pt", "hã...", ""),
    ],
)
def test_the_three_steps_in_their_order(language: str, spoken: str, expected: str) -> None:
    assert joined(normalise(pieces(spoken), language, GLOSSARY)) == expected


def test_without_a_glossary() -> None:
    assert normalise(pieces("hã turbo mil"), "pt") == [Piece("turbo", 1, 1), Piece("1000", 2, 2)]


SPOKEN = "eu eu, hã é... né? turbo mil vivo plano familia um dois três vinte e cinco vírgula meia can- cancelar não. 5 um uh one twenty and este... dos y"


@given(st.lists(st.sampled_from(tokens(SPOKEN)), max_size=12), st.sampled_from(["pt-BR", "es", "en", "de"]))
def test_normalising_again_changes_nothing_and_spans_never_go_back(words: list[str], language: str) -> None:
    once = normalise(pieces(" ".join(words)), language, GLOSSARY)
    assert joined(normalise(pieces(joined(once)), language, GLOSSARY)) == joined(once)
    assert all(0 <= piece.first <= piece.last < len(words) for piece in once)
    assert all(before.first <= after.first and before.last <= after.last for before, after in pairwise(once))


def test_a_segment_of_thirty_words_costs_no_more_than_milliseconds() -> None:
    segment = pieces(
        "hã eu eu queria saber por que a minha fatura veio com cento e vinte e três reais e cinquenta centavos se o plano turbo mil custa noventa e nove por mês né?"
    )
    assert len(segment) >= 30
    glossary = Glossary.of({f"termo {index} longo": f"Produto {index}" for index in range(5000)})
    times = []
    for _ in range(300):
        start = time.perf_counter()
        normalise(segment, "pt-BR", glossary)
        times.append(time.perf_counter() - start)
    assert statistics.quantiles(times, n=10)[0] < 0.005  # the bar is 0.5 ms; ten times that is a defect on any machine
