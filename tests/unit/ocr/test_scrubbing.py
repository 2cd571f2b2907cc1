"""Personal data in the lines of a page."""

from malha.ocr.engine import Box, Line
from malha.ocr.scrubbing import scrub_block


def lines(*texts: str) -> list[Line]:
    return [Line(text, 0.9, Box(10, 20 * number, 100, 18)) for number, text in enumerate(texts)]


def shown(*texts: str, names: tuple[str, ...] = ()) -> list[str]:
    return [line.text for line in scrub_block(lines(*texts), "pt", names)]


def test_what_is_personal_is_masked_where_it_stands() -> None:
    assert shown("CPF: 529.982.247-25, conforme", "contrato de 12/03/2024") == ["CPF: [CPF], conforme", "contrato de 12/03/2024"]


def test_a_number_that_goes_on_in_the_next_line_is_found() -> None:
    told = shown("o CPF é 529.982.", "247-25 e nada mais")
    assert "529" not in "".join(told)
    assert "247" not in "".join(told)
    assert told[-1].endswith("e nada mais")


def test_listed_names_are_masked() -> None:
    assert "Joana" not in "".join(shown("A cliente Joana Prado pediu", names=("Joana Prado",)))
    assert shown("A cliente Joa\u0303o Prado pediu", names=("João Prado",)) == ["A cliente [NAME] pediu"]


def test_boxes_and_confidence_stay() -> None:
    before = lines("sem nada pessoal", "aqui também não")
    assert scrub_block(before, "pt", ()) == before


def test_a_long_block_is_scrubbed_all_of_it() -> None:
    told = shown(*(f"linha {number} com o CPF 529.982.247-25 no meio" for number in range(300)))
    assert len(told) == 300
    assert all("529" not in line for line in told)
    assert all(line.endswith("no meio") for line in told)
