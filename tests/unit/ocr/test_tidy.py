"""Signs of one piece, and of double width."""

import pytest

from malha.ocr.engines.tidy import tidy


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (" 100%,50°℉ e 25℃ ", "100%,50°F e 25°C"),
        ("Total：R＄ 10（dez）", "Total:R$ 10(dez)"),  # noqa: RUF001 - these are the signs in question
        ("ação, reação", "ação, reação"),
        ("温度：25℃", "温度：25℃"),  # noqa: RUF001 - for that reason
    ],
)
def test_signs_are_written_as_usual(read: str, told: str) -> None:
    assert tidy(read) == told
