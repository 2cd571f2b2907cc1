import dataclasses
import itertools
from collections.abc import Sequence
from typing import TypeVar

import pytest

from malha.insight.analysis import Analysis, Outcome
from malha.insight.builtin_rules import builtin_rules
from malha.insight.domain import Decision, Draft, Evidence, InsightType, Offer, Request, Role, TriggerKind, Utterance
from malha.insight.evidence import supported
from malha.insight.keywords import Keywords
from malha.insight.policy import CALL_CENTER, COUNTER, PolicySettings
from malha.insight.rules import Rules

RULES = Rules.compile(builtin_rules())
OFFER = Offer("f", "Fibra 500", price="R$ 79,90", keywords=("mais velocidade",))
KEYWORDS = Keywords((), (OFFER,))
CALL: tuple[tuple[Role, str], ...] = (
    ("customer", "Bom dia, a minha internet está muito lenta desde ontem e o wifi cai toda hora."),
    ("agent", "Entendi, vou fazer um teste de sinal daqui, um momento por favor."),
    ("customer", "Já reiniciei o roteador três vezes e a luz continua vermelha, não funciona."),
    ("customer", "Olha, se não resolver eu quero cancelar o meu plano e vou no Procon."),
    ("agent", "Eu garanto que resolve hoje."),
    ("customer", "E a fatura veio com valor errado, fui cobrado duas vezes este mês, quero contestar."),
    ("agent", "Vou abrir a fatura e verificar essa cobrança de juros na mensalidade."),
    ("customer", "E queria mais velocidade, se não for caro."),
    ("customer", "Tudo bem, na sexta-feira eu pago se o valor estiver certo."),
)
UTTERANCES = tuple(
    Utterance(f"s{index}", index, role, text, index * 8.0, index * 8.0 + 6, "") for index, (role, text) in enumerate(CALL, 1)
)

Kind = TypeVar("Kind", Draft, Request, Decision)


def analysis(settings: PolicySettings = CALL_CENTER, **options: object) -> Analysis:
    return Analysis(settings, RULES, KEYWORDS, (OFFER,), language="pt-BR", **options)  # type: ignore[arg-type]  # options of a test


def only(kind: type[Kind], outcomes: Sequence[Outcome]) -> list[Kind]:
    return [each for each in outcomes if isinstance(each, kind)]


def play(session: Analysis, utterances: Sequence[Utterance] = UTTERANCES) -> list[Outcome]:
    """Every second a tick, every utterance when it ends."""
    outcomes: list[Outcome] = []
    second = int(utterances[0].start)
    for utterance in utterances:
        while second < utterance.end:
            outcomes += session.tick(float(second))
            second += 1
        outcomes += session.say(utterance)
    return outcomes


def said(text: str, seq: int, end: float, role: Role = "customer", segment: str = "") -> Utterance:
    return Utterance(segment or f"s{seq}", seq, role, text, end - 2, end)


def test_a_call_center_call() -> None:
    outcomes = play(analysis())
    assert {draft.rule.split("@")[0] for draft in only(Draft, outcomes)} >= {
        "malha-authority-pt",
        "malha-cancellation-pt",
        "malha-agent-promise-pt",
        "malha-payment-promise-pt",
    }
    requests = only(Request, outcomes)
    assert [request.types for request in requests[:2]] == [(InsightType.PARTIAL_SUMMARY,), (InsightType.NEXT_STEP,)]
    assert {request.topic for request in requests} == {"technical", "billing"}
    times = [request.time for request in requests]
    assert all(later - earlier >= 20 for earlier, later in itertools.pairwise(times))
    assert all(request.window and request.fallback for request in requests)
    for request in requests:
        for draft in request.fallback:
            problem = supported(draft.message, draft.evidence, request.window, language="pt", catalogue=(OFFER,))
            assert problem is None or (draft.type is InsightType.NEXT_STEP and problem == "UNRELATED")


def test_rule_alerts_do_not_wait_for_the_policy() -> None:
    outcomes = analysis().say(said("vou no Procon", 1, 3.0))
    assert [draft.type for draft in only(Draft, outcomes)] == [InsightType.RISK_ALERT]
    assert [(decision.fired, decision.reason) for decision in only(Decision, outcomes)] == [(False, "TOO_LITTLE")]


def test_the_same_call_decides_the_same() -> None:
    assert play(analysis()) == play(analysis())


def test_a_segment_is_decided_once() -> None:
    session = analysis()
    assert session.say(UTTERANCES[0])
    assert session.say(UTTERANCES[0]) == []


@pytest.mark.parametrize("taken_over_after", [1, 3, 5, 7])
def test_a_takeover_goes_on_as_the_first_owner_would_have(taken_over_after: int) -> None:
    first, second = analysis(), analysis()
    play(first, UTTERANCES[:taken_over_after])
    second.prime(UTTERANCES[:taken_over_after])
    second.tick(UTTERANCES[taken_over_after - 1].end)
    assert second.window == first.window
    assert second.topic == first.topic
    rest = UTTERANCES[taken_over_after:]
    assert play(second, rest) == play(first, rest)


def test_what_was_told_before_a_takeover_counts() -> None:
    session = analysis()
    session.prime(UTTERANCES[:1])
    session.told(InsightType.PARTIAL_SUMMARY, "x", (), 14.0, trigger=TriggerKind.TOPIC)
    assert only(Request, session.tick(33.0)) == []
    session.say(said("quero falar da multa", 2, 33.5))
    assert [request.types for request in only(Request, session.tick(34.0))] == [(InsightType.NEXT_STEP,)]


def test_telling_what_was_asked_for_loses_nothing_said_meanwhile() -> None:
    session = analysis()
    (request,) = only(Request, session.say(said("e a multa do contrato", 1, 30.0)))
    session.say(said("e o desconto", 2, 31.0))
    session.told(request.types[0], "x", (), request.time, trigger=request.trigger)
    assert only(Request, session.tick(49.0)) == []
    assert len(only(Request, session.tick(50.0))) == 1


def test_amended_words_replace_and_empty_ones_retract() -> None:
    session = analysis()
    session.say(said("quero ver a fatura", 1, 3.0, segment="a"))
    session.say(said("quero ver a futura", 2, 3.0, segment="a"))
    assert [utterance.text for utterance in session.window] == ["quero ver a futura"]
    session.say(said("", 3, 3.0, segment="a"))
    assert session.window == ()


def test_the_operators_wish_is_for_everything_and_once_for_what_was_said() -> None:
    session = analysis()
    session.say(said("a minha internet está muito lenta e o wifi não conecta", 1, 3.0))
    (request,) = only(Request, session.trigger(4.0))
    assert request.types == tuple(InsightType)
    assert request.trigger is TriggerKind.MANUAL
    assert {draft.trigger for draft in request.fallback} == {TriggerKind.MANUAL}
    assert session.trigger(5.0) == [Decision(False, "NOTHING_NEW", None, 1)]
    session.say(said("e a fatura", 2, 6.0))
    assert only(Request, session.trigger(7.0))


def test_nothing_said_gives_the_operator_nothing() -> None:
    assert analysis().trigger(3.0) == [Decision(False, "NOTHING_NEW", None, 0)]


def test_an_offer_is_asked_for_when_its_words_were_said() -> None:
    session = analysis()
    (request,) = only(Request, session.say(said("eu queria mais velocidade na internet de casa", 1, 30.0)))
    assert request.types == (InsightType.UPSELL,)
    assert "Fibra 500" in request.fallback[0].message


def test_only_wanted_types() -> None:
    session = analysis(types=(InsightType.NEXT_STEP,))
    outcomes = play(session)
    assert {draft.type for draft in only(Draft, outcomes)} == {InsightType.NEXT_STEP}
    assert {request.types for request in only(Request, outcomes)} == {(InsightType.NEXT_STEP,)}


def test_a_counter_has_no_rate_and_asks_for_advice() -> None:
    session = analysis(COUNTER)
    first = session.say(said("eu queria um café grande com leite e um pão de queijo quente", 1, 4.0))
    second = session.say(said("e também um suco de laranja sem açúcar bem gelado por favor", 2, 8.0))
    assert [request.trigger for request in only(Request, [*first, *second])] == [TriggerKind.WORDS] * 2
    session.say(said("quanto dá tudo isso", 3, 10.0))
    (request,) = only(Request, [*session.tick(15.0), *session.tick(15.5)])
    assert request.trigger is TriggerKind.SILENCE
    assert request.types == (InsightType.NEXT_STEP, InsightType.RISK_ALERT, InsightType.UPSELL)
    session.say(said("tá bom", 4, 20.0))
    assert [decision.reason for decision in only(Decision, [*session.tick(64.0), *session.tick(65.5)])] == ["DISCARDED"]


def test_repeats() -> None:
    session = analysis()
    evidence = (Evidence("s1", "vou no Procon"),)
    rule = Draft(InsightType.RISK_ALERT, "O cliente falou em Procon", 0.9, evidence, TriggerKind.RULE, "r@1")
    model = dataclasses.replace(rule, trigger=TriggerKind.KEYWORD, rule="", evidence=(Evidence("s2", "de novo"),))
    assert not session.repeats(rule)
    session.told(rule.type, rule.message, rule.evidence, 3.0)
    assert session.repeats(rule)
    assert session.repeats(model), "it says the same"
    assert not session.repeats(dataclasses.replace(rule, evidence=(Evidence("s2", "de novo"),))), "a rule's silence is its cooldown"


def test_a_question_can_be_put_again() -> None:
    session = analysis()
    session.prime(UTTERANCES)
    request = session.request_again(InsightType.NEXT_STEP, 3, 30.0)
    assert [utterance.seq for utterance in request.window] == [1, 2, 3]
    assert [draft.type for draft in request.fallback] == [InsightType.NEXT_STEP]
    assert (request.seq, request.time, request.types) == (3, 30.0, (InsightType.NEXT_STEP,))
    assert session.request_again(InsightType.NEXT_STEP, 0, 1.0).fallback == ()


def test_other_languages_work_by_words() -> None:
    session = Analysis(COUNTER, RULES, KEYWORDS, language="de")
    (request,) = only(Request, session.say(said("ich möchte bitte zwei große Kaffee und ein Stück Kuchen mit Sahne dazu", 1, 4.0)))
    assert request.topic == ""
    assert InsightType.UPSELL not in request.types
