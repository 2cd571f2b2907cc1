"""What the tests' tiny language model is taught is what Insight asks and shows.

It is made where Malha is not installed, and passes as soon as it answers as it was taught: that those answers are shown is proven here.
"""

import random

import pytest

from fakes import tiny_qwen2_insights as insights
from fakes.tiny_qwen2_matters import MATTERS
from malha.insight.answers import check
from malha.insight.domain import Evidence, InsightType, Request, TriggerKind, Utterance
from malha.insight.prompts import NO_DATA, make_prompt

KIND = InsightType(insights.KIND)
CALLS = 40


def request(window: insights.Window) -> Request:
    said = tuple(
        Utterance(f"0-{number}", number, turn.role, turn.text, number * 3.0, number * 3.0 + 2, "pt")  # type: ignore[arg-type]
        for number, turn in enumerate(window.turns, 1)
    )
    return Request(TriggerKind.MANUAL, len(window.turns), (KIND,), said, ())


def judged(window: insights.Window) -> list[str]:
    """For each answer that is taught, why it would not be shown; empty where it would."""
    return [check(answer, KIND, "pt-BR", request(window), (), (), insights.instructions()).reason for answer in window.answers]


def test_it_is_asked_in_insights_own_words() -> None:
    window = insights.imagined(random.Random(1), 6)
    prompt = make_prompt(KIND, "pt-BR", request(window), (), ())
    assert (prompt.system, prompt.data) == (insights.instructions(), window.data)
    assert NO_DATA["pt"] == insights.NO_DATA


@pytest.mark.parametrize("matter", MATTERS)
def test_what_it_says_of_a_matter_is_shown(matter: str) -> None:
    said = insights.Turn("customer", f"olha {matter} faz 3 dias", (matter,))
    window = insights.Window([insights.Turn("agent", "em que posso ajudar"), said])
    [answer] = window.answers
    checked = check(answer, KIND, "pt-BR", request(window), (), (), insights.instructions())
    assert checked.reason == ""
    assert checked.draft is not None
    assert checked.draft.evidence == (Evidence("0-2", matter),)


def test_what_it_is_taught_about_calls_is_shown_or_says_that_there_is_nothing() -> None:
    draw = random.Random(3)
    calls = [insights.imagined(draw, 2 + number % 8) for number in range(CALLS)] + list(insights.real())
    for window in calls:
        about = any(turn.matters for turn in window.turns)
        assert set(judged(window)) == {"" if about else "EMPTY"}
