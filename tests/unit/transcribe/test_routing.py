"""The rules of SMART_ROUTING_RULES."""

import pytest

from malha.runtime.errors import FailedPrecondition
from malha.transcribe.routing import candidates, parse_rules

KNOWN = ("pocketsphinx", "whisper/small", "whisper/medium", "openai")
RULES = "en<8: pocketsphinx, whisper/small; en>=8 s: whisper/small; pt, es: whisper/medium, openai; *: openai"


@pytest.mark.parametrize(
    ("language", "seconds", "names"),
    [
        ("en", 7.99, ("pocketsphinx", "whisper/small")),
        ("en-GB", 8.0, ("whisper/small",)),
        ("EN", 3.0, ("pocketsphinx", "whisper/small")),
        ("pt-BR", 600.0, ("whisper/medium", "openai")),
        ("es", 0.0, ("whisper/medium", "openai")),
        ("fr", 1.0, ("openai",)),
        ("", 1.0, ("openai",)),
        ("en", None, ("pocketsphinx", "whisper/small", "openai")),
    ],
)
def test_the_first_rule_that_fits_decides(language: str, seconds: float | None, names: tuple[str, ...]) -> None:
    assert candidates(parse_rules(RULES, KNOWN), language, seconds) == names


def test_nobody_where_no_rule_fits() -> None:
    assert candidates(parse_rules("en<5: pocketsphinx", KNOWN), "en", 6.0) == ()
    assert candidates(parse_rules("en<5: pocketsphinx", KNOWN), "pt", None) == ()
    assert parse_rules(" ; ", KNOWN) == ()


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("en pocketsphinx", "is no rule"),
        ("en<: pocketsphinx", "is no rule"),
        ("en>5: pocketsphinx", "is no rule"),
        (": pocketsphinx", "is no rule"),
        ("en:", "is no rule"),
        ("english language: openai", "is no language"),
        ("en,: openai", "is no language"),
        ("en: vosk", "`vosk` in `en: vosk` is no recogniser here: there are pocketsphinx, whisper/small"),
        ("en: openai,", "is no recogniser"),
    ],
)
def test_what_is_no_rule_is_named(rules: str, told: str) -> None:
    with pytest.raises(FailedPrecondition, match=told) as raised:
        parse_rules(f"*: openai; {rules}", KNOWN)
    assert raised.value.reason == "ROUTING_INVALID"
