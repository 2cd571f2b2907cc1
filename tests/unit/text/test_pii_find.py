"""What is personal, and what is not. Every identifier here is invented."""

from random import Random

import pytest

from malha.bench.pii_texts import generate
from malha.text.pii import Found, Kind, find, scrub, scrub_text
from malha.text.spans import Piece, pieces

PERSONAL = [
    ("pt", "Meu CPF é 529.982.247-25, tá?", "Meu CPF é [CPF], tá?"),
    ("pt", "pode anotar 52998224725 obrigado", "pode anotar [CPF] obrigado"),
    ("pt", "meu cpf é 529.982.247-26", "meu cpf é [CPF]"),
    ("pt", "meu cpf é 52998224726", "meu cpf é [CPF]"),
    ("pt", "cpf:529.982.247-25.", "cpf:[CPF]."),
    ("pt", "(CPF 529.982.247-25)", "(CPF [CPF])"),
    ("pt", "111.111.111-11", "[CPF]"),
    ("pt", "11111111111", "[NUMBER]"),
    ("pt", "meu cpf é cinco dois nove nove oito dois dois quatro sete dois cinco", "meu cpf é [CPF]"),
    ("pt", "quinhentos e vinte e nove ponto novecentos e oitenta e dois ponto duzentos e quarenta e sete traço vinte e cinco", "[CPF]"),
    ("pt", "cinco dois nove, é, nove oito dois, dois quatro sete, dois cinco", "[CPF]"),
    ("pt", "CNPJ 16.727.230/0001-97", "CNPJ [CNPJ]"),
    ("pt", "a nota saiu no 16727230000197", "a nota saiu no [CNPJ]"),
    ("pt", "o CNPJ é 12.ABC.345/01DE-35.", "o CNPJ é [CNPJ]."),
    ("pt", "cadastrei 12ABC34501DE35 ontem", "cadastrei [CNPJ] ontem"),
    ("pt", "RG 12.345.678-X", "RG [RG]"),
    ("pt", "meu rg é um dois três quatro cinco seis sete oito xis", "meu rg é [RG]"),
    ("pt", "moro no 01310-100", "moro no [CEP]"),
    ("pt", "cep zero um três um zero cem", "cep [CEP]"),
    ("pt-PT", "o meu NIF é 501 442 600", "o meu NIF é [NIF]"),
    ("es", "mi NIE es X-1234567-L.", "mi NIE es [NIE]."),
    ("es", "es la equis uno dos tres cuatro cinco seis siete ele", "es la [NIE]"),
    ("es", "Apunte: 12345678Z.", "Apunte: [DNI]."),
    ("es", "mi dni es doce treinta y cuatro cincuenta y seis setenta y ocho zeta", "mi dni es [DNI]"),
    ("es", "el dni uno dos tres cuatro cinco seis siete ocho con la letra zeta", "el dni [DNI]"),
    ("es", "mi dni es 12.345.678", "mi dni es [DNI]"),
    ("es", "IBAN ES91 2100 0418 4502 0005 1332", "IBAN [IBAN]"),
    (
        "es",
        "haga el ingreso en e ese noventa y uno veintiuno cero cero cero cuatro dieciocho cuarenta y cinco cero dos cero cero cero cinco trece treinta y dos",
        "haga el ingreso en [IBAN]",
    ),
    ("pt", "PT50 0002 0123 1234 5678 9015 4", "[IBAN]"),
    ("es", "la tarjeta 4111 1111 1111 1111, caduca en 09/27", "la tarjeta [CARD], caduca en 09/27"),
    ("en", "it is three seven eight two eight two two four six three one zero zero zero five", "it is [CARD]"),
    ("pt", "me liga no (11) 98765-4321", "me liga no [PHONE]"),
    ("pt", "meu celular é 98765-4321", "meu celular é [PHONE]"),
    ("pt", "fixo 3456 7890", "fixo [PHONE]"),
    ("pt", "+351 912 345 678", "[PHONE]"),
    ("es", "llámeme al 612 34 56 78", "llámeme al [PHONE]"),
    ("en", "call me at +44 20 7946 0958", "call me at [PHONE]"),
    ("en", "my number is two one two five five five zero one four seven", "my number is [PHONE]"),
    ("pt", "Manda para joao.silva@gmail.com, por favor", "Manda para [EMAIL], por favor"),
    ("pt", "joao ponto silva arroba gmail ponto com", "[EMAIL]"),
    ("pt", "meu email é maria silva tudo junto arroba uol ponto com ponto br", "meu email é [EMAIL]"),
    ("es", "es maria arroba hotmail punto com", "es [EMAIL]"),
    ("en", "it is john dot smith at gmail dot com", "it is [EMAIL]"),
    ("pt", "o código é 1234567", "o código é [NUMBER]"),
    ("pt", "cpf 529.982.247-25 tel (11) 98765-4321", "cpf [CPF] tel [PHONE]"),
]

HARMLESS = [
    ("pt", "Paguei R$ 1.234.567,89 em 12/03/2024 às 14h30"),
    ("pt", "são doze milhões trezentos e quarenta e cinco mil seiscentos e setenta e oito habitantes"),
    ("pt", "nasci em doze de março de mil novecentos e oitenta"),
    ("pt", "o protocolo é 123456"),
    ("pt", "em 12 vezes de 199,90 ou 24 de 99,90"),
    ("pt", "em 10, 12, 24, 36 ou 48 vezes"),
    ("pt", "de 2019 2020 2021 até 2024"),
    ("pt", "entre onze e quarenta e cinco e quinze e trinta"),
    ("pt", "comprei uma RTX 4090 e um WRT54G no iPhone 15"),
    ("pt", "o cartão final 1234 foi recusado"),
    ("pt", "a arroba do boi custa 300 reais"),
    ("pt", "o CPF tem onze dígitos"),
    ("es", "son 1.500.000 habitantes y un 21,5 % más"),
    ("es", "el 12 de marzo de 2024 a las 10:30"),
    ("es", "pasó de mil doscientos euros a mil trescientos euros"),
    ("en", "it cost $1,234,567.89 on March 12, 2024"),
    ("en", "look at amazon dot com for model 9340"),
    ("en", "see you at the office at ten thirty"),
]


@pytest.mark.parametrize(("language", "text", "masked"), PERSONAL, ids=[text for _, text, _ in PERSONAL])
def test_personal_numbers_are_masked(language: str, text: str, masked: str) -> None:
    assert scrub_text(text, language) == masked


@pytest.mark.parametrize(("language", "text"), HARMLESS, ids=[text for _, text in HARMLESS])
def test_what_names_nobody_stays_as_it_was_said(language: str, text: str) -> None:
    assert scrub_text(text, language) == " ".join(text.split())


@pytest.mark.parametrize(("language", "text", "masked"), PERSONAL, ids=[text for _, text, _ in PERSONAL])
def test_in_an_unknown_language_nothing_personal_is_shown(language: str, text: str, masked: str) -> None:
    shown = {piece.text for piece in scrub(pieces(text), "")}
    planted = {token for token in text.split() if token not in masked.split()}
    assert not shown & planted


def test_what_is_scrubbed_once_is_scrubbed() -> None:
    for language, text, _ in PERSONAL:
        once = scrub_text(text, language)
        assert scrub_text(once, language) == once


def test_found_names_pieces_and_scrub_keeps_the_input_they_rest_on() -> None:
    told = [Piece(token, 10 + number, 10 + number) for number, token in enumerate(["o", "cpf", "é", "529", "982", "247", "25", "tá"])]
    assert find(told, "pt") == [Found(Kind.CPF, 3, 6)]
    assert scrub(told, "pt") == [*told[:3], Piece("[CPF]", 13, 16), told[7]]


def test_listed_names_are_masked_whole_and_in_part() -> None:
    names = ("Maria da Silva", "Rosa Pires", "José Ñáñez")
    assert scrub_text("falei com maria da silva, e a Silva ligou", "pt", names) == "falei com [NAME], e a [NAME] ligou"
    assert scrub_text("dona Rosa comprou uma rosa", "pt", names) == "dona [NAME] comprou uma rosa"
    assert scrub_text("JOSE NANEZ y Josefa", "es", names) == "[NAME] y Josefa"
    assert scrub_text("a Ana falou", "pt", names) == "a Ana falou"


def test_two_numbers_in_one_token_keep_what_is_between() -> None:
    assert scrub_text("529.982.247-25/joao@gmail.com", "pt") in {"[CPF]/[EMAIL]", "[EMAIL]"}
    assert scrub_text("CPF=529.982.247-25;CEP=01310-100", "pt") == "CPF=[CPF];CEP=[CEP]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "...",
        "1" * 20_000,
        "1 " * 5_000,
        "a@" * 5_000,
        "x" * 20_000 + "@",
        "1,2 e " * 3_000,
        "\x00 \ud800 529",
        "ponto " * 4_000,
        "arroba " * 3_000,
    ],
)
def test_hostile_text_ends_soon_and_well(text: str) -> None:
    for language in ("pt", "es", "en", ""):
        assert "1111111" not in scrub_text(text, language)


@pytest.mark.parametrize(
    "text",
    [
        "o cnpj novo é g um zê v dois oito s um e t e g zero sete",
        "o cnpj é um h nove y z o r o w f l c sete oito",
        "o cnpj é um meia g quatro v o v r l b d i oito oito",
        "o cnpj é um o um y zero g quatro e oito ahn k x e setenta e seis",
        "O CNPJ é RZUQINCZKKLH90",
    ],
)
def test_letters_and_small_digits_of_a_cnpj_are_no_articles(text: str) -> None:
    assert scrub_text(text, "pt").endswith(" é [CNPJ]")


@pytest.mark.parametrize("text", ["o cnpj é um problema", "qual o cnpj e a razão social", "um h depois", "a conta é um e a outra dois"])
def test_articles_stay_articles(text: str) -> None:
    assert scrub_text(text, "pt") == text


def test_what_is_passed_over_unread_holds_nothing() -> None:
    """With a name to look for a text is always read whole: the same must be found in it as without."""
    random = Random(5)
    for sample in generate(600, seed=5):
        words = sample.text.split()
        first = random.randrange(len(words))
        for part in (words, words[first : first + random.randrange(1, 9)]):
            told = pieces(" ".join(part))
            for language in (sample.language, ""):
                assert find(told, language) == find(told, language, ["Zzyzzyx"])
