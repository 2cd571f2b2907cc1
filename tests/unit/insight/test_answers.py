"""What of an answer may be shown: good ones all, and nothing that has another form, language or source."""

import json
from pathlib import Path
from typing import Any

import pytest

from malha.insight.answers import LONGEST_ANSWER, check
from malha.insight.domain import Evidence, InsightType, Offer, Request, TriggerKind, Utterance
from malha.insight.prompts import make_prompt

CALLS: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "data" / "good_insights.json").read_text("utf-8"))["calls"]
GOOD = [(call, *good) for call in CALLS for good in call["good"]]
CATALOGUE = (
    Offer("f600", "Fibra 600", "Internet de 600 mega com modem", "R$ 99,90 por mês", ("internet lenta",)),
    Offer("tv", "Pacote Cinema", "Canais de filmes", "R$ 29,90 por mês", ("filmes", "películas")),
)
SUMMARY = InsightType.PARTIAL_SUMMARY
WINDOW = (
    Utterance("0-1", 1, "customer", "Minha fatura veio com um valor muito alto, R$ 120,00.", 0.0, 4.0, "pt"),
    Utterance("1-1", 2, "agent", "Entendi, vou verificar a fatura.", 4.0, 6.0, "pt"),
)


def request(window: tuple[Utterance, ...], kind: InsightType = SUMMARY) -> Request:
    return Request(TriggerKind.KEYWORD, 7, (kind,), window, ())


def answer(message: str = "Cliente reclama do valor alto da fatura.", quote: str = "fatura veio com um valor", **fields: Any) -> str:
    written = {"type": "partial_summary", "message": message, "confidence": 0.9, "evidence": [{"quote": quote}]}
    return json.dumps(written | fields, ensure_ascii=False)


def judge(raw: str, kind: InsightType = SUMMARY, language: str = "pt-BR", quotes: tuple[str, ...] = ()) -> tuple[str, str]:
    """What is shown, and why nothing is."""
    asked = request(WINDOW, kind)
    checked = check(raw, kind, language, asked, CATALOGUE, quotes, make_prompt(kind, language, asked, CATALOGUE, ()).system)
    assert (checked.draft is None) == bool(checked.reason)
    return checked.draft.message if checked.draft is not None else "", checked.reason


def test_there_are_forty_good_ones() -> None:
    assert len(GOOD) >= 40


@pytest.mark.parametrize(("call", "kind", "message", "at", "quote"), GOOD, ids=[good[2][:40] for good in GOOD])
def test_a_good_answer_is_shown(call: dict[str, Any], kind: str, message: str, at: int, quote: str) -> None:
    language = call["language"]
    said = [line.partition(": ") for line in call["said"]]
    window = tuple(
        Utterance(f"s{number}", number, role, text, number * 3.0, number * 3.0 + 2, language)  # type: ignore[arg-type]
        for number, (role, _, text) in enumerate(said)
    )
    asked = request(window, InsightType(kind))
    prompt = make_prompt(InsightType(kind), language, asked, CATALOGUE, ())
    raw = json.dumps({"type": kind, "message": message, "confidence": 0.85, "evidence": [{"quote": quote}]})
    checked = check(raw, InsightType(kind), language, asked, CATALOGUE, (), prompt.system)
    assert checked.reason == ""
    assert checked.draft is not None
    assert checked.draft.message == message
    assert checked.draft.evidence == (Evidence(f"s{at}", quote),)
    assert (checked.draft.seq, checked.draft.trigger) == (7, TriggerKind.KEYWORD)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "Claro! Aqui está:",
        answer()[:60],
        f"```json\n{answer()}\n```",
        answer() + answer(),
        "[]",
        "null",
        "[" * 5000,
        answer(type="risk_alert"),
        answer(confidence=1.2),
        answer(confidence=True),
        answer(confidence="0.9"),
        answer().replace("0.9", "NaN"),
        answer(message=["a"]),
        answer(message=""),
        answer("Cliente reclama da fatura. " * 20),
        answer(extra=1),
        answer(evidence={}),
        answer(evidence=[{}]),
        answer(evidence=[{"quote": "fatura veio", "segment_id": "0-1"}]),
        answer(evidence=[{"quote": "fatura veio", "segment_id": "9"}]),
        answer(evidence=[{"quote": 1}]),
        answer(evidence=["fatura veio"]),
        answer(evidence=[{"quote": "fatura veio"}] * 4),
        answer(quote="fatura " * 50),
        answer().replace('"type"', '"message": "outra", "type"'),
        answer().replace("Cliente", "Cliente\n"),
        answer() + " " * LONGEST_ANSWER,
    ],
)
def test_another_form_is_refused(raw: str) -> None:
    assert judge(raw) == ("", "INVALID_JSON")


@pytest.mark.parametrize(
    "message", ["Sem dados suficientes", "sem dados suficientes.", "Sin datos suficientes", "Not enough data", "NOT ENOUGH DATA!"]
)
def test_a_model_may_have_nothing_to_say(message: str) -> None:
    assert judge(answer(message)) == ("", "EMPTY")
    assert judge(answer(message, evidence=[])) == ("", "EMPTY")


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("The customer complains that the fatura is too high.", "pt-BR"),
        ("El cliente se queja de que la fatura vino con un valor muy alto y lo quiere ya.", "pt"),
        ("O cliente reclama do valor muito alto da fatura e não quer pagar.", "en"),
        ("Клиент жалуется: fatura valor alto.", "pt"),
        ("Der Kunde beschwert sich über fatura valor alto weil sie teuer ist", "pt"),
    ],
)
def test_another_language_is_refused(message: str, language: str) -> None:
    assert judge(answer(message), language=language) == ("", "WRONG_LANGUAGE")


def test_in_a_language_it_does_not_know_any_other_is_fine() -> None:
    assert judge(answer("The customer says the fatura veio valor alto."), language="fr")[1] == ""


@pytest.mark.parametrize(
    "raw",
    [
        answer(evidence=[]),
        answer(evidence=[{"quote": "fatura veio"}, {"quote": "plano"}]),
        answer(quote="R$ 120,00. Entendi, vou verificar"),
        answer(quote="fatura que nunca veio"),
        answer(quote="com um"),
        answer("Fatura alta."),
        answer("Cliente reclama da fatura de R$ 130,00."),
        answer("Cliente reclama da fatura, ver www.fatura.com.br agora."),
    ],
)
def test_what_does_not_rest_on_the_call_is_refused(raw: str) -> None:
    assert judge(raw) == ("", "UNSUPPORTED")


def test_quotes_are_shown_as_they_were_said() -> None:
    asked = request(WINDOW)
    checked = check(answer(quote="MINHA fatura, veio com um... valor muito alto"), SUMMARY, "pt", asked, (), (), "")
    assert checked.draft is not None
    assert checked.draft.evidence == (Evidence("0-1", "Minha fatura veio com um valor muito alto"),)


@pytest.mark.parametrize(
    ("quote", "evidence"),
    [
        ("fatura", Evidence("1-1", "fatura")),
        ("vou verificar", Evidence("1-1", "vou verificar")),
        ("a FATURA", Evidence("1-1", "a fatura")),
        ("minha fatura", Evidence("0-1", "Minha fatura")),
    ],
    ids=["both have it", "the newer alone", "in two words", "the older alone"],
)
def test_a_quote_is_the_newest_utterance_s_that_has_it(quote: str, evidence: Evidence) -> None:
    checked = check(answer(quote=quote), SUMMARY, "pt", request(WINDOW), (), (), "")
    assert checked.draft is not None
    assert checked.draft.evidence == (evidence,)


def test_quotes_of_two_utterances_are_evidence_of_both_and_one_that_comes_twice_is_one() -> None:
    quotes = [{"quote": quote} for quote in ("valor muito alto", "vou verificar", "Valor muito alto")]
    checked = check(answer(evidence=quotes), SUMMARY, "pt", request(WINDOW), (), (), "")
    assert checked.draft is not None
    assert checked.draft.evidence == (Evidence("0-1", "valor muito alto"), Evidence("1-1", "vou verificar"))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("**Cliente** reclama do `valor` alto da fatura.", "Cliente reclama do valor alto da fatura."),
        ("<b onclick=x>Cliente</b> reclama do valor alto<script> da fatura.", "Cliente reclama do valor alto da fatura."),
        ("# Cliente reclama\n\n- do valor\u202e alto\u200b da fatura\u0000.", "Cliente reclama do valor alto da fatura."),
        ("Cliente reclama do valor alto da fatura.\ud800", "Cliente reclama do valor alto da fatura."),
        ("[Cliente](javascript:x) reclama do valor alto da fatura.", "Cliente reclama do valor alto da fatura."),
    ],
)
def test_what_is_shown_is_plain_text(message: str, shown: str) -> None:
    raw = json.dumps(json.loads(answer()) | {"message": message})
    assert judge(raw) == (shown, "")
