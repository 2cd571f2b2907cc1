"""Lines to blocks in reading order."""

from itertools import pairwise

import pytest

from malha.ocr.engine import Box, Line
from malha.ocr.layout import arrange

LETTER = 10.0
"""Pixels of one; lines are 20 high."""


def line(text: str, left: float, top: float, width: float | None = None, height: float = 20.0) -> Line:
    return Line(text, 1.0, Box(left, top, len(text) * LETTER if width is None else width, height))


def column(name: str, count: int, left: float, top: float, pitch: float = 26.0, letters: int = 30) -> list[Line]:
    return [line(f"{name}{number}".ljust(letters, "x"), left, top + number * pitch) for number in range(count)]


def names(blocks: list[list[Line]]) -> list[list[str]]:
    return [[line.text.rstrip("x") for line in block] for block in blocks]


def test_nothing_is_no_block() -> None:
    assert arrange([]) == []
    assert arrange([line("  ", 0, 0)]) == []


def test_paragraphs_are_blocks() -> None:
    first, second = column("a", 3, 50, 100), column("b", 2, 50, 250)
    assert names(arrange([*second, *first])) == [["a0", "a1", "a2"], ["b0", "b1"]]


def test_columns_are_read_one_after_the_other_even_where_their_lines_stand_level() -> None:
    left, right = column("l", 12, 50, 100), column("r", 12, 450, 100)
    assert names(arrange([each for pair in zip(left, right, strict=True) for each in pair])) == [
        [f"l{number}" for number in range(12)],
        [f"r{number}" for number in range(12)],
    ]


def test_a_head_and_a_foot_over_both_columns_stay_where_they_are() -> None:
    head, foot = line("H" * 70, 50, 40), line("F" * 70, 50, 460)
    left, right = column("l", 12, 50, 100), column("r", 12, 450, 107)
    told = names(arrange([foot, *right, head, *left]))
    assert told[0] == ["H" * 70]
    assert told[-1] == ["F" * 70]
    assert [text for block in told[1:-1] for text in block] == [f"l{n}" for n in range(12)] + [f"r{n}" for n in range(12)]


def test_a_page_number_below_columns_comes_last() -> None:
    left, right = column("l", 8, 50, 100), column("r", 8, 450, 100)
    told = names(arrange([*left, *right, line("12", 60, 500)]))
    assert told[-1] == ["12"]


def test_the_longer_of_two_columns_keeps_its_end() -> None:
    left, right = column("l", 10, 50, 100), column("r", 4, 450, 100)
    assert names(arrange([*left, *right])) == [[f"l{n}" for n in range(10)], [f"r{n}" for n in range(4)]]


def test_three_columns() -> None:
    lanes = [column(name, 6, place, 100) for name, place in (("a", 50), ("b", 400), ("c", 750))]
    told = names(arrange([each for row in zip(*lanes, strict=True) for each in row]))
    assert [text for block in told for text in block] == [f"{name}{n}" for name in "abc" for n in range(6)]


def test_labels_beside_their_values_are_read_row_by_row() -> None:
    labels = [line(text, 50, 100 + 30 * number) for number, text in enumerate(("Nome:", "CPF:", "Total:"))]
    values = [line(text, 400, 102 + 30 * number) for number, text in enumerate(("Maria da Silva Santos", "529.982.247-25", "R$ 1.234,56"))]
    told = [text for block in names(arrange([*values, *labels])) for text in block]
    assert told == ["Nome:", "Maria da Silva Santos", "CPF:", "529.982.247-25", "Total:", "R$ 1.234,56"]


def test_lines_that_slope_a_little_are_one_row() -> None:
    told = names(arrange([line("right", 300, 106), line("left", 50, 100), line("below", 50, 130)]))
    assert told == [["left", "right", "below"]]


@pytest.mark.parametrize("count", [1, 50, 2000])
def test_no_line_is_lost_or_told_twice(count: int) -> None:
    lines = [line(f"{number:05d}", (number * 7919) % 2000, (number * 104_729) % 3000) for number in range(count)]
    told = [each for block in arrange(lines) for each in block]
    assert sorted(each.text for each in told) == sorted(each.text for each in lines)


def test_rows_of_a_block_go_down() -> None:
    (block,) = arrange(column("a", 40, 50, 0))
    assert all(above.box.top < below.box.top for above, below in pairwise(block))
