"""Stems bring the forms of a word together."""

import pytest

from malha.text.stems import stems


@pytest.mark.parametrize(
    ("language", "forms"),
    [
        ("pt-BR", "cancelamento cancelar cancelei Cancelando"),
        ("pt", "reclamação reclamações reclamacao reclamacoes reclamac\u0327a\u0303o"),
        ("es", "cancelación cancelacion cancelar cancelando"),
        ("es-MX", "factura facturas"),
        ("en", "cancel cancelled cancelling"),
    ],
)
def test_forms_of_a_word_share_a_stem(language: str, forms: str) -> None:
    assert len(set(stems(forms, language))) == 1


def test_stems_are_folded_and_in_order_with_numbers_as_they_stand() -> None:
    assert stems("Não, paguei 12,50 à Vivo!", "pt") == ["nao", "pagu", "12,50", "a", "viv"]


def test_stop_words_can_be_left_out_but_never_a_negation() -> None:
    assert stems("eu não quero o plano", "pt", stop_words=False) == ["nao", "quer", "plan"]
    assert "no" in stems("yo no quiero el plan", "es", stop_words=False)
    assert "not" in stems("I do not want the plan", "en", stop_words=False)


def test_words_of_other_languages_are_only_folded() -> None:
    assert stems("Kündigung läuft", "de", stop_words=False) == ["kundigung", "lauft"]
    assert stems("", "pt") == []


def test_a_negation_meets_no_other_word() -> None:
    assert stems("não", "pt") != stems("na", "pt")
