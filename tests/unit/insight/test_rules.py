import dataclasses
import time
from typing import Any

import pytest

from malha.insight.domain import Draft, Evidence, InsightType, Role, TriggerKind, Utterance
from malha.insight.rules import Rules, RuleWatch
from malha.insight.specs import RuleSpec, check_rule
from malha.insight.words import words
from malha.runtime.errors import InvalidArgument

BASE = RuleSpec("loss", InsightType.RISK_ALERT, "Risk: {quote}", any_of=("quero cancelar",))


class Call:
    """Says utterances to a rule watch, ten seconds each."""

    def __init__(self, *specs: RuleSpec, language: str = "pt") -> None:
        self._watch = RuleWatch(Rules.compile(specs))
        self._language = language
        self._seq = 0

    def say(self, text: str, role: Role = "customer", at: float | None = None, segment: str = "", *, amended: bool = False) -> list[Draft]:
        self._seq += 1
        end = self._seq * 10.0 if at is None else at
        utterance = Utterance(segment or f"s{self._seq}", self._seq, role, text, end - 5, end, self._language)
        return self._watch.say(utterance, words(text, self._language), self._language, amended=amended)


def rule(**changes: Any) -> RuleSpec:
    return dataclasses.replace(BASE, **changes)


def test_an_alert_tells_the_words_that_matched() -> None:
    (draft,) = Call(rule(version=3)).say("Olha, QUERO cancelar isso")
    assert draft == Draft(
        InsightType.RISK_ALERT, "Risk: QUERO cancelar", 0.8, (Evidence("s1", "QUERO cancelar"),), TriggerKind.RULE, "loss@3", 1
    )


def test_all_of_needs_every_phrase_in_the_segment() -> None:
    call = Call(rule(all_of=("fatura", "errado"), any_of=()))
    assert not call.say("a fatura chegou")
    assert not call.say("está errado")
    (draft,) = call.say("a fatura veio com valor errado")
    assert [each.quote for each in draft.evidence] == ["fatura", "errado"]


def test_phrases_may_come_in_different_segments_of_the_window() -> None:
    call = Call(rule(all_of=("fatura", "errado"), any_of=(), window_seconds=20.0))
    assert not call.say("a fatura chegou", at=10.0)
    assert not call.say("está errado", at=40.0)
    (draft,) = call.say("a fatura", at=50.0)
    assert [each.segment_id for each in draft.evidence] == ["s2", "s3"]


def test_none_of_excludes() -> None:
    call = Call(rule(none_of=("brincadeira",)))
    assert not call.say("quero cancelar, brincadeira")
    assert call.say("quero cancelar")


def test_a_negated_phrase_counts_only_where_asked() -> None:
    assert not Call(rule(any_of=("cancelar",))).say("não quero cancelar")
    assert Call(rule(any_of=("cancelar",), negated_too=True)).say("não quero cancelar")


def test_roles() -> None:
    customer, agent = rule(roles=("customer",)), rule(roles=("agent",))
    assert not Call(customer).say("quero cancelar", "agent")
    assert Call(customer).say("quero cancelar", "unknown")
    assert not Call(agent).say("quero cancelar", "unknown")
    assert Call(agent).say("quero cancelar", "agent")


def test_languages() -> None:
    spanish = rule(languages=("es",), any_of=("quiero cancelar",))
    assert not Call(spanish).say("quiero cancelar")
    assert Call(spanish, language="es-MX").say("quiero cancelar")
    assert Call(rule(languages=("de",), any_of=("kündigen",)), language="de").say("ich will kündigen")


def test_it_is_silent_for_its_cooldown() -> None:
    call = Call(rule(cooldown_seconds=30.0))
    assert [bool(call.say("quero cancelar", at=at)) for at in (10.0, 20.0, 39.0, 41.0)] == [True, False, False, True]


def test_an_amendment_forgets_what_the_segment_said_and_does_not_alert_again() -> None:
    call = Call(rule(cooldown_seconds=0.0))
    assert call.say("quero cancelar", at=10.0, segment="a")
    assert not call.say("quero cancelar sim", at=10.0, segment="a", amended=True)
    apart = Call(rule(all_of=("fatura", "errado"), any_of=(), window_seconds=60.0))
    apart.say("a fatura", at=10.0, segment="a")
    apart.say("a futura", at=10.0, segment="a", amended=True)
    assert not apart.say("errado", at=20.0)


def test_disabled_rules_are_left_out() -> None:
    assert not Call(rule(disabled=True)).say("quero cancelar")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"any_of": ()}, "condition"),
        ({"any_of": ("?!",)}, "condition.any_of[0]"),
        ({"none_of": ("cancelo",), "languages": ("pt",)}, "condition.none_of"),
        ({"all_of": ("cancelar o plano",), "none_of": ("cancelar",)}, "condition.none_of"),
        ({"message": " "}, "message"),
        ({"id": "Não"}, "id"),
        ({"window_seconds": -1.0}, "window"),
        ({"cooldown_seconds": float("nan")}, "cooldown"),
        ({"confidence": 1.5}, "confidence"),
        ({"languages": ("portuguese",)}, "languages[0]"),
    ],
)
def test_what_can_never_match_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_rule(rule(**changes))
    assert caught.value.reason == "INVALID_RULE"
    assert list(caught.value.violations) == [field]


def test_an_exclusion_of_one_of_several_is_fine() -> None:
    check_rule(rule(any_of=("cancelar", "sair"), none_of=("sair",)))


def test_ids_are_told_apart() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Rules.compile([rule(), rule()])
    assert "rules[1].id" in caught.value.violations


def test_five_hundred_rules_cost_little() -> None:
    call = Call(*(rule(id=f"r{number}", any_of=(f"palavra {number}", f"quero coisa{number}")) for number in range(500)))
    text = "eu quero saber por que a minha conta veio errada e quero uma palavra com o gerente agora"
    for _ in range(20):
        call.say(text)
    began = time.thread_time()
    for _ in range(100):
        call.say(text)
    assert (time.thread_time() - began) / 100 < 0.005
