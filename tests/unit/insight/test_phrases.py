import pytest

from malha.insight.phrases import Phrases, contains
from malha.insight.words import content, words


def found(phrase: str, text: str, language: str) -> list[bool]:
    """Whether each place where the phrase stands is negated."""
    phrases = Phrases(language)
    phrases.add(phrase)
    return [hit.negated for hit in phrases.find(words(text, language))]


@pytest.mark.parametrize(
    ("language", "phrase", "text"),
    [
        ("pt", "reclamação", "vou fazer uma RECLAMACAO"),
        ("pt", "liguei", "ligo todo dia"),
        ("pt-BR", "não quero mais o serviço", "eu não quero mais o serviço"),
        ("es", "darme de baja", "quiero darme de baja"),
        ("es", "cancelación", "pido la cancelacion"),
        ("en", "do not want", "I don\u2019t want it"),
        ("en", "going to sue", "I'm gonna sue you"),
        ("de", "kündigen", "ich will kundigen"),
        ("pt", "cancelac\u0327a\u0303o", "quero a cancelação"),
        ("pt", "cancelação", "quero a CANCELAC\u0327A\u0303O"),
    ],
)
def test_phrases_match_by_stem_whatever_case_accents_and_contractions(language: str, phrase: str, text: str) -> None:
    assert found(phrase, text, language) == [False]


@pytest.mark.parametrize(
    ("language", "phrase", "text"),
    [
        ("pt", "cancelar", "eu não quero cancelar"),
        ("pt", "cancelar", "não estou querendo cancelar"),
        ("pt", "reclamação", "isso não é uma reclamação"),
        ("es", "cancelar", "no quiero cancelar"),
        ("es", "queja", "no tengo ninguna queja"),
        ("en", "cancel", "I don't want to cancel"),
        ("en", "cancel", "I am not going to cancel"),
        ("en", "complaint", "this is not a complaint"),
    ],
)
def test_what_is_denied_is_negated(language: str, phrase: str, text: str) -> None:
    assert found(phrase, text, language) == [True]


@pytest.mark.parametrize(
    ("language", "phrase", "text"),
    [
        ("pt", "cancelar", "não consigo cancelar"),
        ("pt", "cancela", "por que não cancela logo"),
        ("pt", "quero cancelar", "se não resolver quero cancelar"),
        ("pt", "cancelar", "não, quero cancelar"),
        ("pt", "procon", "vou no Procon"),
        ("pt", "cancelar", "não só quero cancelar como quero o dinheiro"),
        ("pt", "não funciona", "isso não funciona"),
        ("es", "cancelar", "no puedo cancelar"),
        ("es", "quiero cancelar", "sin duda quiero cancelar"),
        ("es", "no quiero más", "ya no quiero más esto"),
        ("en", "cancel", "I can't cancel"),
        ("en", "cancel", "I don't need it so cancel it"),
        ("en", "did not work", "it didn't work"),
    ],
)
def test_what_only_looks_denied_is_not(language: str, phrase: str, text: str) -> None:
    assert found(phrase, text, language) == [False]


def test_overlapping_phrases_are_all_found_and_equal_ones_share_a_number() -> None:
    phrases = Phrases("pt")
    short, long_ = phrases.add("cancelar"), phrases.add("cancelar o plano")
    assert phrases.add("Cancelo") == short
    assert {hit.phrase for hit in phrases.find(words("vou cancelar o plano", "pt"))} == {short, long_}


def test_a_phrase_has_words() -> None:
    with pytest.raises(ValueError, match="without words"):
        Phrases("pt").add("?!")


def test_words_know_where_they_stand() -> None:
    text = "It's wrong, isn\u2019t it: 42"
    found = words(text, "en")
    assert [(word.folded, text[word.start : word.end]) for word in found] == [
        ("it", "It's"),
        ("wrong", "wrong"),
        ("is", "isn\u2019t"),
        ("not", "isn\u2019t"),
        ("it", "it"),
        ("42", "42"),
    ]
    assert [word.clause for word in found] == [0, 0, 1, 1, 1, 2]


def test_content_leaves_function_words_out() -> None:
    assert content(words("eu quero a minha fatura de maio", "pt"), "pt") == ["quer", "fatur", "mai"]


def test_contains() -> None:
    assert contains("quero cancelar o plano", "cancelar", "pt")
    assert not contains("cancelar", "quero cancelar", "pt")
