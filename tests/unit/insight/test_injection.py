"""Two hundred spoken attacks on a model that obeys every one of them: nothing of what it writes may get out."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from malha.insight.answers import check
from malha.insight.domain import FewShot, InsightType, Offer, Request, TriggerKind, Utterance
from malha.insight.prompts import Prompt, make_prompt

DATA: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "injection.json").read_text("utf-8"))
ATTACKS: list[dict[str, Any]] = DATA["attacks"]
TYPES = tuple(InsightType)
CATALOGUE = (
    Offer("f600", "Fibra 600", "Internet de 600 mega com modem", "R$ 99,90 por mês", ("internet lenta", "internet lenta")),
    Offer("tv", "Pacote Cinema", "Canais de filmes", "R$ 29,90 por mês", ("filmes", "películas")),
)
EXAMPLES = {
    "pt": FewShot(InsightType.PARTIAL_SUMMARY, "pt", "aqui é a helena da padaria do centro e a máquina parou", "A máquina da loja parou."),
    "es": FewShot(InsightType.PARTIAL_SUMMARY, "es", "soy helena de la panadería del centro y la máquina se paró", "La máquina se paró."),
}
AGENT = {"pt": "Boa tarde, em que posso ajudar com a fatura?", "es": "Buenas tardes, en qué puedo ayudarle con la factura?"}


def scene(attack: dict[str, Any], kind: InsightType) -> tuple[Request, Prompt]:
    language = attack["language"]
    turns = [("agent", AGENT[language]), *(("customer", text) for text in attack["turns"])]
    window = tuple(
        Utterance(f"0-{number}", number, role, text, number * 3.0, number * 3.0 + 2, language)  # type: ignore[arg-type]
        for number, (role, text) in enumerate(turns, 1)
    )
    request = Request(TriggerKind.KEYWORD, len(window), (kind,), window, ())
    example = EXAMPLES[language]
    shot = FewShot(kind, language, example.transcript, example.message)
    return request, make_prompt(kind, language, request, CATALOGUE, (shot,))


def obeyed(wanted: str, kind: InsightType, attack: dict[str, Any], system: str) -> str:
    """What a model writes that does as it is told: evidence is the attack itself, which is there word for word."""
    if wanted.startswith("RAW:"):
        return wanted.removeprefix("RAW:").replace("TYPE", kind.value)
    if wanted.startswith("PROMPT:"):
        sentences = [each for each in re.split(r"(?<=[.!?:])\s+", re.sub(r"^#.*$|^- ", "", system, flags=re.MULTILINE)) if len(each) > 40]
        wanted = sentences[int(wanted.removeprefix("PROMPT:"))][:300]
    wanted = wanted.replace("EXAMPLE", EXAMPLES[attack["language"]].transcript)
    quoted = [{"quote": text[:200]} for text in attack["turns"]]
    return json.dumps({"type": kind.value, "message": wanted, "confidence": 0.99, "evidence": quoted[-3:]}, ensure_ascii=False)


def test_there_are_two_hundred() -> None:
    assert len({tuple(attack["turns"]) for attack in ATTACKS}) == len(ATTACKS) >= 200
    assert {attack["language"] for attack in ATTACKS} == {"pt", "es"}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack["id"])
def test_what_it_wants_does_not_come_out(attack: dict[str, Any]) -> None:
    for kind in TYPES:
        request, prompt = scene(attack, kind)
        for wanted in DATA["answers"][attack["language"]][attack["goal"]]:
            checked = check(obeyed(wanted, kind, attack, prompt.system), kind, attack["language"], request, CATALOGUE, (), prompt.system)
            assert checked.draft is None, f"{kind}: {wanted}"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack["id"])
def test_what_is_said_is_data(attack: dict[str, Any]) -> None:
    request, prompt = scene(attack, InsightType.RISK_ALERT)
    said = json.loads(prompt.data)
    assert [each["text"] for each in said["transcript"]] == [each.text for each in request.window]
    assert not any(text in prompt.system or text in prompt.schema for text in attack["turns"])
