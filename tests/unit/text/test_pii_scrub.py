"""A segment's whole way: masks, held ends, and what two segments decide together."""

import unicodedata

import pytest

from malha.text.glossary import Glossary
from malha.text.scrub import HELD, Pipeline
from malha.text.spans import tokens


def test_a_final_is_masked_then_made_readable() -> None:
    pipeline = Pipeline("pt", Glossary.of({"turbo mil": "TurboMil", "cpf": "documento"}), ("Maria da Silva",))
    shown = pipeline.final(
        "hã meu cpf é cinco dois nove nove oito dois dois quatro sete dois cinco, quero o turbo mil de vinte e cinco reais, Maria"
    )
    assert shown.text == "meu documento é [CPF], quero o TurboMil de 25 reais, [NAME]"
    assert not shown.held
    mask = next(piece for piece in shown.pieces if piece.text == "[CPF],")
    assert (mask.first, mask.last) == (4, 14)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_that_are_characters_of_their_own_hide_nothing(form: str) -> None:
    def written(text: str) -> str:
        return unicodedata.normalize(form, text)

    for names in (["Zuleika Conceição"], [written("Zuleika Conceição")]):
        pipeline = Pipeline("pt", Glossary.of({written("plano família"): "Família+"}), names)
        shown = pipeline.final(written("a ZULEIKA CONCEIÇÃO, joão.silva@exemplo.com.br, quer o plano família, né?"))
        assert shown.text == "a [NAME], [EMAIL], quer o Família+?"


def test_the_tenant_may_have_neither() -> None:
    text = "hã meu cpf é 529.982.247-25 e vinte e cinco"
    shown = Pipeline("pt", scrub=False, normalise=False).final(text)
    assert (shown.text, shown.held) == (text, False)
    assert Pipeline("pt", normalise=False).alone(text).text == "hã meu cpf é [CPF] e vinte e cinco"


@pytest.mark.parametrize(
    "text",
    [
        "meu número é cinco dois nove",
        "são cinquenta",
        "meu cpf é 529 982",
        "529.982.247",
        "é joao ponto silva arroba",
        "meu email é joao silva",
        "é joao arroba gmail ponto",
    ],
)
def test_an_open_end_is_held_and_seen_neither_in_finals_nor_in_partials(text: str) -> None:
    pipeline = Pipeline("pt")
    shown = pipeline.final(text)
    assert shown.held
    assert shown.text.endswith(HELD)
    assert pipeline.partial(text) == shown.text
    assert not {"cinco", "529", "cinquenta", "silva", "982", "529.982.247"} & set(shown.text.split())
    assert shown.pieces[-1].last == len(tokens(text)) - 1


@pytest.mark.parametrize(
    "text",
    ["obrigado", "custa R$ 50", "em 12 de março de 2024", "às 14:30", "meu cpf é 529.982.247-25.", "é joao@gmail.com", "quero um", ""],
)
def test_what_cannot_go_on_is_not_held(text: str) -> None:
    assert not Pipeline("pt").final(text).held


@pytest.mark.parametrize(
    ("earlier", "later", "shown"),
    [
        ("meu cpf é cinco dois nove", "nove oito dois dois quatro sete dois cinco obrigado", ("meu cpf é [CPF]", "[CPF] obrigado")),
        ("anota 11 98765,", "4321 tá", ("anota [PHONE],", "[PHONE] tá")),
        ("é joao ponto silva", "arroba gmail ponto com tá", ("é [EMAIL]", "[EMAIL] tá")),
        ("são vinte", "reais por mês", ("são 20", "reais por mês")),
        ("custa cinquenta", "meu cpf é 529.982.247-25 tá", ("custa 50", "meu cpf é [CPF] tá")),
        ("são vinte", "", ("são 20", "")),
    ],
)
def test_the_next_segment_decides(earlier: str, later: str, shown: tuple[str, str]) -> None:
    first, second = Pipeline("pt").joined(earlier, later)
    assert (first.text, second.text) == shown
    assert not first.held
    assert not second.held
    for scrubbed, text in ((first, earlier), (second, later)):
        assert all(0 <= piece.first <= piece.last < len(tokens(text)) for piece in scrubbed.pieces)


def test_a_number_over_three_segments_is_never_seen() -> None:
    pipeline = Pipeline("pt")
    texts = ("o número é cinco dois nove", "nove oito dois", "dois quatro sete dois cinco tá")
    first, second = pipeline.joined(texts[0], texts[1])
    assert (first.text, first.held) == ("o número é [NUMBER]", False)
    assert (second.text, second.held) == (HELD, True)
    second, third = pipeline.joined(texts[1], texts[2])
    assert (second.text, third.text) == ("[NUMBER]", "[NUMBER] tá")


def test_alone_after_the_wait_a_short_number_is_shown() -> None:
    assert Pipeline("pt").alone("são cinquenta e dois").text == "são 52"
    assert Pipeline("pt").alone("meu cpf é cinco dois nove").text == "meu cpf é [CPF]"


def test_an_unknown_language_is_scrubbed_and_not_rewritten() -> None:
    shown = Pipeline("").final("mi dni es doce treinta y cuatro cincuenta y seis setenta y ocho zeta gracias")
    assert shown.text == "mi dni es [DNI] gracias"


@pytest.mark.parametrize("language", ["es", ""])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("¿es el 12345678Z?", "¿es el [DNI]?"),
        ("¿12345678Z?", "¿[DNI]?"),
        ("¿seis uno dos tres cuatro cinco seis siete ocho?", "¿[PHONE]?"),
        ("¡mi tarjeta es 4111 1111 1111 1111!", "¡mi tarjeta es [CARD]!"),
        ("es ana@x.com, ¿no?", "es [EMAIL], ¿no?"),
    ],
)
def test_what_stands_around_a_mask_stays_in_whichever_languages_it_is_read(language: str, text: str, shown: str) -> None:
    assert Pipeline(language).final(text).text == shown
