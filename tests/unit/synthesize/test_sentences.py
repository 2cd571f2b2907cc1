"""Sentences out of text that comes in pieces."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from malha.synthesize.sentences import CLAUSE_CHARACTERS, MAX_CHARACTERS, SentenceBuffer


def cut(text: str) -> list[str]:
    """What is spoken of a text that came whole."""
    buffer = SentenceBuffer()
    return [sentence.text.strip() for sentence in (*buffer.feed(text), *buffer.flush())]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Bom dia!", "Tudo bem?", "Sim."],
        ["O Sr. Silva e a Sra. Dra. Souza moram na Av. Paulista.", "Ligo depois."],
        ["Prof. João falou com a Profa. Ana.", "Ótimo."],
        ["D. Pedro II assinou o plano B. depois de tudo.", "Fim."],
        ["O total é R$ 1.234,56 às 10.30h.", "Pode ser?"],
        ["A reunião é às 10 h. de segunda.", "Certo."],
        ["Saímos às 10 h.", "Chegamos tarde."],
        ["Traga água, pão, etc. para todos.", "Obrigado."],
        ["Traga água, pão, etc.", "Obrigado."],
        ["Use um código, p.ex. 1234, para entrar.", "Pronto."],
        ["Ver art. 5 da lei e pág. 12 do anexo.", "Ok."],
        ["Bem... acho que sim.", "Não sei…", "Talvez…"],
        ["¿Cuándo llegó?", "¡Ayer!", "Muy bien."],
        ["Espere.", "¿Me oye?"],
        ["El Sr. García vive en EE.UU. desde 1999.", "Ud. lo conoce."],
        ["Vive en EE.UU.", "Nadie lo sabe."],
        ["Llame al no. 5 de la lista.", "Gracias."],
        ["Did you cancel it?", "No.", "I want to, e.g. today."],
        ["Mr. J. Smith paid $3.50 at 5.30 p.m. on St. James St. yesterday.", "Right!"],
        ["1. Abra o menu.", "2. Escolha Fatura.", "3. Pague."],
        ['Ele disse: "não quero."', "Depois saiu (sem pagar!).", "Fim."],
        ["Veja malha.example.com e o arquivo notas.txt agora.", "Ok?!", "Sim!!!"],
        ["A versão 2.0.1 chegou em 01.02.2024.", "Boa."],
    ],
    ids=lambda sentences: sentences[0][:24],
)
def test_sentences_of_three_languages(sentences: list[str]) -> None:
    assert cut(" ".join(sentences)) == sentences


def test_spanish_opening_marks_begin_a_sentence_without_a_space() -> None:
    assert cut("Hola.¿Qué tal?¡Bien!") == ["Hola.", "¿Qué tal?", "¡Bien!"]


def test_a_line_end_ends_a_sentence() -> None:
    assert cut("Primeiro item\nSegundo item, do Sr.\r\nTerceiro\n\n\n") == ["Primeiro item", "Segundo item, do Sr.", "Terceiro", ""]


@pytest.mark.parametrize(
    ("text", "whole"),
    [("Bom dia.", 0), ("Bom dia. ", 1), ("Bom dia!?", 0), ("Veja etc. ", 0), ("Veja etc. O", 1), ("Sim… ", 0), ("Sim… E", 1)],
)
def test_a_sentence_is_given_as_soon_as_what_follows_settles_it(text: str, whole: int) -> None:
    assert len(SentenceBuffer().feed(text)) == whole


def test_offsets_count_all_text_sent() -> None:
    buffer = SentenceBuffer()
    text = "Olá 😀. Não recebi a fatura. Obrigado"
    sentences = [*buffer.feed(text[:10]), *buffer.feed(text[10:]), *buffer.flush()]
    assert [text[sentence.offset :].startswith(sentence.text) for sentence in sentences] == [True, True, True]
    assert [sentence.offset for sentence in sentences] == [0, 6, 27]
    later = [*buffer.feed(" Fim. "), *buffer.flush()]
    assert later[0].offset == len(text)


def test_a_flush_speaks_what_waits_and_nothing_twice() -> None:
    buffer = SentenceBuffer()
    assert buffer.feed("Um momento") == []
    assert [sentence.text for sentence in buffer.flush()] == ["Um momento"]
    assert buffer.flush() == []


TOKEN_STREAMS = {
    "pt": (
        [
            "O",
            " Sr",
            ".",
            " Silva",
            " pag",
            "ou",
            " R$",
            " 1",
            ".",
            "234",
            ",56",
            " às",
            " 10",
            ".",
            "30",
            "h",
            ".",
            " Certo",
            "?",
            " Bem",
            "...",
            " acho",
        ],
        ["O Sr. Silva pagou R$ 1.234,56 às 10.30h.", "Certo?"],
        "Bem... acho",
    ),
    "es": (
        ["El", " nº", " 5", " es", " de", " EE", ".", "UU", ".", " desde", " 1999", ".", "¿", "Lo", " ve", "?", " Sí", "…", " claro"],
        ["El nº 5 es de EE.UU. desde 1999.", "¿Lo ve?"],
        "Sí… claro",
    ),
    "en": (
        [
            "Dr",
            ".",
            " J",
            ".",
            " Smith",
            " paid",
            " $",
            "3",
            ".",
            "50",
            " at",
            " 5",
            " p",
            ".",
            "m",
            ".",
            " today",
            ".",
            " Right",
            "!",
            " E.g",
            ".",
            " this",
        ],
        ["Dr. J. Smith paid $3.50 at 5 p.m. today.", "Right!"],
        "E.g. this",
    ),
}


@pytest.mark.parametrize(("tokens", "sentences", "rest"), TOKEN_STREAMS.values(), ids=TOKEN_STREAMS)
def test_a_models_tokens_become_sentences_as_they_complete(tokens: list[str], sentences: list[str], rest: str) -> None:
    buffer = SentenceBuffer()
    told = [(number, sentence.text.strip()) for number, token in enumerate(tokens) for sentence in buffer.feed(token)]
    assert [text for _, text in told] == sentences
    assert [sentence.text.strip() for sentence in buffer.flush()] == [rest]
    for number, text in told:  # with the token that settles it, not later
        assert "".join(tokens[:number]).strip().endswith(text)


CLAUSES = {
    "behind its last pause": (
        "Entendi o seu caso, vou verificar agora mesmo o que aconteceu com a sua fatura deste mês, ",
        "porque o valor veio diferente do combinado e o senhor tem toda a razão de reclamar",
    ),
    "before its last conjunction": (
        "Voy a revisar ahora mismo lo que ha pasado con la factura de este mes ",
        "pero necesito que me confirme el número de contrato que figura en la parte superior de la primera página del documento",
    ),
    "at a dash": (
        "I have looked at everything that was billed to your account during the last three months \u2013 ",
        "the amount is not the one that was agreed on with our colleague on the telephone in January",
    ),
    "at the first pause after it": (
        (
            "I have looked for the amount that was agreed on with our colleague at the counter of your branch on the tenth day of January of this very"
            " year after lunch at about two: "
        ),
        "it differs",
    ),
}


@pytest.mark.parametrize(("clause", "rest"), CLAUSES.values(), ids=CLAUSES)
def test_a_sentence_that_goes_on_is_spoken_clause_by_clause(clause: str, rest: str) -> None:
    buffer = SentenceBuffer()
    told = [(number, sentence.text) for number, character in enumerate(clause + rest) for sentence in buffer.feed(character)]
    assert told[0][1] == clause
    assert told[0][0] <= max(CLAUSE_CHARACTERS, len(clause))
    assert "".join([*(piece for _, piece in told), *(sentence.text for sentence in buffer.flush())]) == clause + rest


def test_an_engine_may_take_shorter_ones() -> None:
    assert max(len(sentence.text) for sentence in SentenceBuffer(50).feed("palavra " * 50)) <= 50


def test_a_long_sentence_is_cut_behind_its_last_pause() -> None:
    text = "palavra " * 30 + "fim, " + "palavra " * 30
    first = SentenceBuffer().feed(text)[0].text
    assert first.endswith("fim, ")
    assert len(first) == 30 * 8 + 5


def test_a_long_sentence_without_a_pause_is_cut_at_a_space_and_a_long_word_anywhere() -> None:
    assert {len(sentence.text) for sentence in SentenceBuffer().feed("palavra " * 100)} == {MAX_CHARACTERS}
    assert {len(sentence.text) for sentence in SentenceBuffer().feed("a" * 801)} == {MAX_CHARACTERS}


def test_a_forced_cut_leaves_accents_with_their_letters() -> None:
    first = SentenceBuffer().feed("a" * 399 + "e\u0301" * 50)[0].text
    assert first == "a" * 399


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                ".",
                "...",
                "…",
                "?",
                "!",
                " ",
                "  ",
                "\n",
                "\r\n",
                "Sr",
                "Dra",
                "etc",
                "e.g",
                "No",
                "p.m",
                "EE.UU",
                "1.234,56",
                "¿",
                '"',
                ")",
                ",",
                ", ",
                " e ",
                " - ",
                "A",
                "b",
                "7",
            ]
        ),
        st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=6),
        st.sampled_from(["palavra " * 40, "palavra " * 19, "x" * 300, "x" * 155, " " * 450, "e\u0301" * 220]),
    ),
    max_size=25,
)


@given(PIECES, st.lists(st.integers(1, 30), min_size=1, max_size=12))
@example(["x" * 400, ".", " ", "A"], [1])
@example(["x" * 395, " etc. ", " " * 300, "A"], [7])
@example(["x" * 399, "..", " a"], [1, 400])
def test_nothing_is_lost_and_how_the_text_came_changes_nothing(pieces: list[str], lengths: list[int]) -> None:
    text = "".join(pieces)
    whole = SentenceBuffer()
    expected = [*whole.feed(text), *whole.flush()]
    assert "".join(sentence.text for sentence in expected) == text
    assert all(0 < len(sentence.text) <= MAX_CHARACTERS for sentence in expected)
    assert [sentence.offset for sentence in expected] == [
        sum(len(before.text) for before in expected[:index]) for index in range(len(expected))
    ]

    streamed = SentenceBuffer()
    given_out, position, step = [], 0, 0
    while position < len(text):
        length = lengths[step % len(lengths)]
        given_out += streamed.feed(text[position : position + length])
        position, step = position + length, step + 1
    assert [*given_out, *streamed.flush()] == expected
