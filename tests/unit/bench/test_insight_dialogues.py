from pathlib import Path

import pytest

from malha.bench.insight_dialogues import hear, judge, ratio, read_calls, run_dialogues
from malha.insight.builtin_rules import builtin_rules
from malha.insight.keywords import Keywords
from malha.insight.rules import Rules


def test_the_interval_is_wilsons() -> None:
    """Of 81 of 263 (Newcombe 1998, table I): 0.2553 to 0.3662."""
    told = ratio(81, 263)
    assert told["low"] == pytest.approx(0.2553, abs=2e-4)
    assert told["high"] == pytest.approx(0.3662, abs=2e-4)
    assert ratio(0, 0)["value"] is None


def test_precision_and_recall() -> None:
    told = judge([True, True, False, False], [True, False, True, False])
    assert (told["alerted"], told["precision"]["value"], told["recall"]["value"]) == (2, 0.5, 0.5)


def test_labelled_calls_are_read_and_heard(shared_data: Path) -> None:
    calls = read_calls(shared_data / "dialogues")
    assert len(calls) == 188
    assert sum(not call.satisfied for call in calls) == 62
    assert all({utterance.role for utterance in call.utterances} == {"agent", "customer"} for call in calls)
    heard = hear(calls[0], Rules.compile(builtin_rules()), Keywords())
    assert len(heard.milliseconds) == len(calls[0].utterances)


def test_alerts_are_better_than_chance(shared_data: Path) -> None:
    """A third of the calls end unsatisfied; of those with an alert clearly more do."""
    report = run_dialogues(shared_data / "dialogues")
    assert report["alerts"]["precision"]["low"] > report["unsatisfied"] / report["calls"]
    assert report["alerts"]["recall"]["value"] > 0.4
