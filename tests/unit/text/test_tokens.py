"""Tokens, their punctuation and their folded form."""

import pytest

from malha.text.spans import Piece, joined, pieces, tokens
from malha.text.tokens import fold, primary, split


def test_pieces_are_the_tokens_in_order_each_resting_on_itself() -> None:
    assert pieces("  Bom  dia,\nMaria ") == [Piece("Bom", 0, 0), Piece("dia,", 1, 1), Piece("Maria", 2, 2)]
    assert tokens(" ") == []


def test_joined_shows_the_pieces_with_one_space_between() -> None:
    assert joined(pieces("  Bom  dia,\nMaria ")) == "Bom dia, Maria"
    assert joined([]) == ""


@pytest.mark.parametrize(
    ("token", "lead", "core", "tail"),
    [
        ("dia,", "", "dia", ","),
        ("(¿qué?)", "(¿", "qué", "?)"),
        ("wi-fi", "", "wi-fi", ""),
        ("é...", "", "é", "..."),
        ("can-", "", "can", "-"),
        ("...", "", "", "..."),
        ("—", "—", "", ""),
        ("R$10,50.", "", "R$10,50", "."),
        ("10%", "", "10%", ""),
        ("“não”", "“", "não", "”"),
    ],
)
def test_punctuation_parts_from_the_core(token: str, lead: str, core: str, tail: str) -> None:
    assert split(token) == (lead, core, tail)


def test_folding_takes_case_and_accents() -> None:
    assert fold("TRÊS") == fold("tres") == "tres"
    assert fold("Dieciséis") == "dieciseis"
    assert fold("e\u0301") == "e"
    assert fold("Año") == "ano"


def test_primary_language_of_a_tag() -> None:
    assert [primary(tag) for tag in ("pt-BR", "pt_PT", "ES-419", "en", "")] == ["pt", "pt", "es", "en", ""]
