"""A tenant's glossary: what it replaces, what it refuses, what it costs."""

import time

import pytest

from malha.runtime.errors import InvalidArgument
from malha.text.glossary import MAX_ENTRIES, Glossary
from malha.text.spans import Piece, joined, pieces

GLOSSARY = Glossary.of(
    {
        "vivo": "Vivo",
        "vivo total": "Vivo Total",
        "turbo mil": "TurboMil",
        "malha": "Malha Telecom",
        "telecom": "Malha Telecom",
        "pneas": "Paneas",
        "wi fi": "Wi-Fi",
        "um": "dois",
        "dois": "três",
    }
)


@pytest.mark.parametrize(
    ("spoken", "expected"),
    [
        ("o VIVO total, por favor", "o Vivo Total, por favor"),
        ("(vivo)", "(Vivo)"),
        ("vivo, total", "Vivo, total"),
        ("vivos e convivo", "vivos e convivo"),
        ("o pnéas!", "o Paneas!"),
        ("assino turbo mil.", "assino TurboMil."),
        ("a malha", "a Malha Telecom"),
        ("a malha telecom", "a Malha Telecom"),
        ("o wi fi caiu", "o Wi-Fi caiu"),
        ("um dois", "dois três"),
        ("", ""),
    ],
)
def test_the_longest_term_is_replaced_once_and_punctuation_stays(spoken: str, expected: str) -> None:
    assert joined(GLOSSARY.apply(pieces(spoken))) == expected


def test_pieces_rest_on_the_term_they_replace() -> None:
    assert GLOSSARY.apply(pieces("o vivo total e malha e turbo mil")) == [
        Piece("o", 0, 0),
        Piece("Vivo", 1, 1),
        Piece("Total", 2, 2),
        Piece("e", 3, 3),
        Piece("Malha", 4, 4),
        Piece("Telecom", 4, 4),
        Piece("e", 5, 5),
        Piece("TurboMil", 6, 7),
    ]


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        ({"Vivo": "Vivo"}, "entries[0]"),
        ({"vivo  total": "vivo total"}, "entries[0]"),
        ({"x": "y", " ": "z"}, "entries[1].term"),
        ({"...": "z"}, "entries[0].term"),
        ({"x": "  "}, "entries[0].replacement"),
        ({"x" * 101: "y"}, "entries[0].term"),
        ({"x": "y" * 101}, "entries[0].replacement"),
        ({"Olá": "a", "ola": "b"}, "entries[1].term"),
        ({"a": "B", "b": "á"}, "entries[0]"),
        ({"a": "b", "b": "c", "c": "a"}, "entries[2]"),
    ],
)
def test_wrong_entries_are_refused_by_position_only(entries: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Glossary.of(entries)
    assert refused.value.reason == "INVALID_GLOSSARY"
    assert field in refused.value.violations
    told = refused.value.message + str(refused.value.violations)
    assert not any(word in told for word in ("Vivo", "vivo", "Olá", "xxx", "yyy"))


def test_a_glossary_of_too_many_entries_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        Glossary.of({f"termo {index}": "x" for index in range(MAX_ENTRIES + 1)})
    assert refused.value.reason == "GLOSSARY_TOO_LARGE"


def test_case_and_chains_are_allowed() -> None:
    assert joined(Glossary.of({"vivo": "Vivo", "a": "b", "b": "c"}).apply(pieces("vivo a b"))) == "Vivo b c"


def test_five_thousand_entries_cost_no_more_than_the_text() -> None:
    glossary = Glossary.of({f"termo {index} longo": f"Produto {index}" for index in range(MAX_ENTRIES)})
    segment = pieces(
        "eu queria o termo 77 longo que vi no site ontem à noite e também saber do termo 78 curto porque a fatura veio errada de novo este mês"
    )
    assert "Produto 77" in joined(glossary.apply(segment))
    best = min(_seconds(glossary, segment) for _ in range(200))
    assert best < 0.0002


def _seconds(glossary: Glossary, segment: list[Piece]) -> float:
    start = time.perf_counter()
    glossary.apply(segment)
    return time.perf_counter() - start
