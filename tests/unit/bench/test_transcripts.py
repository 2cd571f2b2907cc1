import itertools
import json
from pathlib import Path

import pytest

from malha.bench.transcripts import OURS, Turn, our_transcript, parse_transcript, read_transcript, scrubbed
from malha.runtime.errors import InvalidArgument


def said(text: str) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in parse_transcript(text)]


@pytest.mark.parametrize(
    ("line", "turn"),
    [
        ("[00:01:05] Cliente: quero cancelar", ("customer", "quero cancelar")),
        ("Operador: bom dia", ("agent", "bom dia")),
        ("OPERADORA 2: bom dia", ("agent", "bom dia")),
        ("Usuária: oi", ("customer", "oi")),
        ("agent: good morning", ("agent", "good morning")),
        ("**Customer:** hello", ("customer", "hello")),
        ("Asesor: buenos días", ("agent", "buenos días")),
        ("(12:07) Cliente (Ana): hola", ("customer", "hola")),
        ("00:03 - Agente: hola", ("agent", "hola")),
        ("Maria: bom dia", ("unknown", "bom dia")),
        ("bom dia", ("unknown", "bom dia")),
        ("o total é o seguinte: dez reais", ("unknown", "o total é o seguinte: dez reais")),
        ("a reunião é às 10:30 amanhã", ("unknown", "a reunião é às 10:30 amanhã")),
        ("\ufeffCliente:   muito    espaço  ", ("customer", "muito espaço")),
    ],
)
def test_a_line_says_who_and_what(line: str, turn: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "call.txt").write_text(line, "utf-8")
    assert [(each.role, each.text) for each in read_transcript(tmp_path / "call.txt")] == [turn]


def test_times_are_read_and_where_they_are_missing_guessed_from_the_words() -> None:
    turns = parse_transcript("[01:02:03,5] Agente: um dois três quatro cinco\nCliente: um dois três quatro cinco\n[0:30] Cliente: antes")
    assert [turn.start for turn in turns] == [30.0, 3723.5, pytest.approx(3725.9)]
    assert [turn.end - turn.start for turn in turns] == [pytest.approx(0.4), pytest.approx(2.0), pytest.approx(2.0)]


def test_jsonl_has_its_own_times() -> None:
    lines = [
        {"role": "customer", "text": "hola", "start": 1.5, "end": 2},
        {"role": "Atendente", "text": "olá  você"},
        {"text": ""},
        {"text": "x", "role": 7},
    ]
    turns = parse_transcript("\n".join(json.dumps(line) for line in lines))
    assert turns[0] == Turn("customer", "hola", 1.5, 2.0)
    assert [(turn.role, turn.text) for turn in turns[1:]] == [("agent", "olá você"), ("unknown", "x")]
    assert turns[1].start == pytest.approx(2.4)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"Cliente:\nAgente:  \n", "no text"),
        (b"Cliente: ol\xe1", "UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not text"),
        (b"a" * 1_000_000, "line 1 is longer"),
        (b"oi\n" + b"b" * 10_001, "line 2 is longer"),
        (b"a\n" * 4_000_001, "larger than 8 MB"),
        (b'{"text": "oi"}\n{"text": 3}', "line 2"),
        (b'{"text": "oi"}\nCliente: oi', "line 2 is no JSON"),
        (b'{"text": "oi", "start": -1}', "start must be seconds"),
        (b'{"text": "oi", "start": 1e999}', "start must be seconds"),
        (b'{"text": "oi", "start": true}', "start must be seconds"),
        (b'{"text": "oi", "start": 2, "end": 1}', "ends before"),
        (b"{" * 9_000, "line 1 is no JSON"),
        (b"[99:59:59] Cliente: oi", "longer than a day"),
    ],
)
def test_what_is_no_transcript_is_refused_with_its_place(content: bytes, told: str, tmp_path: Path) -> None:
    file = tmp_path / "call.txt"
    file.write_bytes(content)
    with pytest.raises(InvalidArgument, match=told) as caught:
        read_transcript(file)
    assert str(file) in caught.value.message
    assert len(caught.value.message) < 300


def test_a_file_of_windows_notepad_is_read() -> None:
    assert said("Cliente: olá\r\nAgente: oi\r\n") == [("customer", "olá"), ("agent", "oi")]


def test_identity_numbers_are_masked_also_where_they_go_on_in_the_next_turn() -> None:
    turns = parse_transcript(
        "Cliente: meu cpf é três nove zero cinco três três\nAgente: sim\nCliente: quatro quatro sete zero cinco\nCliente: vinte e dois reais"
    )
    texts = " ".join(turn.text for turn in scrubbed(turns, "pt"))
    assert "[CPF]" in texts
    assert "390" not in texts.replace(" ", "")
    assert "22 reais" in texts


@pytest.mark.parametrize("language", OURS)
def test_our_calls_are_as_long_as_calls_are(language: str) -> None:
    turns = our_transcript(language)
    assert 24 <= len(turns) <= 30
    assert {turn.role for turn in turns} == {"agent", "customer"}
    assert 120 < turns[-1].end < 240
    assert all(before.start < after.start and before.end <= after.start + 1 for before, after in itertools.pairwise(turns))
    assert any("[" in turn.text for turn in turns), "an identity number is masked"
    assert sum(turn.text == turn.text.lower() for turn in turns) >= len(turns) - 1, "as a recogniser writes"
