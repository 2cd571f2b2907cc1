"""The generator, judged by libraries it does not use; the bench, by bars the product must meet."""

from pathlib import Path
from random import Random

import orjson
import pytest
from stdnum import iban, luhn
from stdnum.br import cnpj, cpf
from stdnum.es import dni, nie
from stdnum.pt import nif

from malha.bench import pii_ids
from malha.bench.pii import Options, run_pii
from malha.bench.pii_speech import before_noun, cardinal, spoken_email
from malha.bench.pii_texts import generate
from malha.runtime.errors import InvalidArgument

VALID = {
    "CPF": cpf,
    "CNPJ": cnpj,
    "CNPJ_ALPHANUMERIC": cnpj,
    "NIF": nif,
    "NIE": nie,
    "DNI": dni,
    "IBAN_BR": iban,
    "IBAN_PT": iban,
    "IBAN_ES": iban,
}


@pytest.mark.parametrize("kind", VALID)
def test_invented_identifiers_are_valid_and_misheard_ones_are_not(kind: str) -> None:
    random = Random(1)
    values = [pii_ids.KINDS[kind](random) for _ in range(100)]
    assert all(VALID[kind].is_valid(value) for value in values)
    assert sum(VALID[kind].is_valid(pii_ids.misheard(value, random)) for value in values) < 20


def test_invented_cards_pass_luhn() -> None:
    random = Random(1)
    assert all(luhn.is_valid(pii_ids.card(random).replace(" ", "")) for _ in range(100))


def test_numbers_are_spoken_as_people_do() -> None:
    assert cardinal(1234, "pt") == "mil duzentos e trinta e quatro"
    assert cardinal(2_000_100, "es") == "dos millones cien"
    assert before_noun(21, "es") == "veintiún"
    assert spoken_email("ana_b@x.pt", "pt", Random(1)) == "ana underline b arroba x ponto pt"


def test_texts_are_made_again_from_their_seed_and_spans_name_tokens() -> None:
    texts = list(generate(200, 5))
    assert texts == list(generate(200, 5)) != list(generate(200, 6))
    for text in texts:
        count = len(text.text.split())
        assert all(0 <= span.first <= span.last < count for span in text.spans)
    assert {text.language for text in texts} == {"pt", "es"}
    assert any(text.spoken and text.spans for text in texts)
    assert any(not text.spans for text in texts)


def test_the_bars() -> None:
    report = run_pii(Options(texts=600, seed=99))
    assert report["recall"] >= 0.99
    assert report["precision"] >= 0.98
    assert report["spoken_recall"] >= 0.97
    assert report["ms_per_segment"]["p50"] < 5
    assert orjson.dumps(report)


def test_spanish_cases_of_others(shared_data: Path) -> None:
    file = shared_data / "pii" / "presidio_es_id_cases.json"
    if not file.exists():
        pytest.skip(f"no annotated cases: {file} is absent")
    report = run_pii(Options(texts=1, seed=1, file=file))
    assert report["recall"] == 1.0


def test_a_file_that_is_not_annotated_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "texts.json"
    file.write_text('[{"x": 1}]')
    with pytest.raises(InvalidArgument) as refused:
        run_pii(Options(texts=1, seed=1, file=file))
    assert refused.value.reason == "NOT_ANNOTATED_TEXT"
