import dataclasses
import math
from typing import Any

import pytest

from malha.insight.domain import TriggerKind
from malha.insight.policy import CALL_CENTER, COUNTER, PolicySettings, Signals, Verdict, make_policy
from malha.runtime.errors import InvalidArgument

KEYWORD = Signals(5, keyword=True)
TOPIC = Signals(5, topic=True)
TALK = Signals(5)


def test_call_center_needs_a_topic_or_keyword() -> None:
    policy = make_policy(CALL_CENTER)
    assert policy.say(60.0, Signals(500)).reason == "NO_TOPIC_OR_KEYWORD"
    assert policy.say(61.0, TOPIC).trigger is TriggerKind.TOPIC


def test_call_center_needs_enough_words_or_time() -> None:
    policy = make_policy(CALL_CENTER)
    assert policy.say(5.0, KEYWORD).reason == "TOO_LITTLE"
    assert policy.say(6.0, Signals(115)).trigger is TriggerKind.KEYWORD
    later = make_policy(CALL_CENTER)
    later.say(5.0, KEYWORD)
    assert later.tick(19.9) is None
    assert later.tick(20.0) == Verdict(TriggerKind.KEYWORD, "FIRED")


def test_call_center_has_a_rate() -> None:
    policy = make_policy(CALL_CENTER)
    policy.say(25.0, KEYWORD)
    policy.asked(25.0)
    assert policy.say(30.0, Signals(200, keyword=True)).reason == "RATE"
    assert policy.tick(44.9) is None
    assert policy.tick(45.0) == Verdict(TriggerKind.KEYWORD, "FIRED")
    policy.asked(45.0)
    assert policy.tick(90.0) is None


def test_a_keyword_is_forgotten_with_the_window() -> None:
    policy = make_policy(dataclasses.replace(CALL_CENTER, min_interval_seconds=100.0, rate_seconds=100.0))
    policy.say(5.0, KEYWORD)
    assert policy.tick(100.0) is None
    assert policy.say(101.0, TALK).reason == "NO_TOPIC_OR_KEYWORD"


def test_counter_fires_at_more_than_ten_words() -> None:
    policy = make_policy(COUNTER)
    assert policy.say(1.0, Signals(10)).reason == "TOO_LITTLE"
    assert policy.say(2.0, Signals(1)).trigger is TriggerKind.WORDS
    policy.asked(2.0)
    assert policy.say(3.0, Signals(11)).trigger is TriggerKind.WORDS, "there is no rate"


def test_counter_fires_what_waits_for_five_seconds() -> None:
    policy = make_policy(COUNTER)
    policy.say(1.0, Signals(3))
    assert policy.tick(6.0) is None
    assert policy.tick(6.1) == Verdict(TriggerKind.WORDS, "FIRED")


def test_counter_fires_at_silence_with_more_than_three_words() -> None:
    policy = make_policy(COUNTER)
    policy.say(1.0, Signals(4))
    assert policy.tick(6.0) is None
    assert policy.tick(6.1) == Verdict(TriggerKind.SILENCE, "FIRED")


def test_counter_discards_a_word_or_two_after_long_silence() -> None:
    policy = make_policy(COUNTER)
    policy.say(1.0, Signals(2))
    assert policy.tick(46.0) is None
    assert policy.tick(46.1) == Verdict(None, "DISCARDED")
    assert policy.tick(47.0) is None
    assert policy.say(48.0, Signals(3)).trigger is None, "what was discarded does not wait any longer"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"min_tokens": 0}, "min_tokens"),
        ({"min_words": -1}, "min_words"),
        ({"rate_seconds": 0.0}, "rate"),
        ({"min_interval_seconds": math.nan}, "min_interval"),
        ({"max_wait_seconds": math.inf}, "max_wait"),
        ({"silence_seconds": 0.0}, "silence"),
        ({"window_seconds": 0.0}, "window"),
        ({"kind": "other"}, "kind"),
        ({"name": ""}, "name"),
        ({"kind": "counter", "discard_silence_seconds": 1.0}, "discard_silence"),
    ],
)
def test_absurd_limits_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        PolicySettings(**changes).check()
    assert caught.value.reason == "INVALID_POLICY"
    assert list(caught.value.violations) == [field]


def test_the_defaults_make_sense() -> None:
    CALL_CENTER.check()
    COUNTER.check()
