"""Insight and a real vLLM: its tiny model answers within the ladder or is stood in for; whatever it writes, only what was said is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from integration.insight.analysing import AGENT, CUSTOMER, Talk, kind_of

from fakes.openai_relay import Relay
from fakes.vllm import TINY, RunningVllm
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import rules_pb2
from malha.bench.transcripts import our_transcript
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.text.pii import scrub_text

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.engine("vllm")]

LADDER_SECONDS = 1.6
PATIENT_SECONDS = 60.0
"""In which the model has its say, however slow the machine."""
GRACE_SECONDS = 3.0
"""Of a machine that does other things too."""
TYPES = {"partial_summary": rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY, "next_step": rules_pb2.INSIGHT_TYPE_NEXT_STEP}
ROLES = {"agent": AGENT, "customer": CUSTOMER}
WINDOWS, TURNS = (0, 4, 8, 12, 16, 20), 5
"""Of a call the model was not taught: where they begin, and fewer turns than the policy would ask about by itself."""
LEAST_TOLD = 3
"""Of the windows: a model so small is not always right, and what is not is not shown."""
SAID = (
    (CUSTOMER, "bom dia a minha conta veio mais cara este mês e cobraram o mesmo valor duas vezes"),
    (AGENT, "vou verificar a sua conta e já lhe digo o que aconteceu com o valor"),
    (CUSTOMER, "meu cpf é 529.982.247-25 e o meu telefone é 11 98765-4321"),
    (CUSTOMER, "meu e-mail é maria.clara@example.com e o cartão é 4111 1111 1111 1111"),
)
PERSONAL = ("529.982", "52998224725", "98765", "maria.clara", "4111")


@pytest.fixture
async def relay(vllm: RunningVllm) -> AsyncIterator[Relay]:
    async with Relay(vllm, key="secret-key") as passing:
        yield passing


async def say_all(talk: Talk) -> dict[str, str]:
    """What is said in the call, by segment, as it may be seen."""
    return {await talk.say(text, role, seconds=5): scrub_text(text, "pt-BR") for role, text in SAID}


async def told_after(talk: Talk) -> tuple[list[api.Insight], float]:
    """What a manual trigger leads to, and after how many seconds the last of it came."""
    loop, told, seconds = asyncio.get_running_loop(), list[api.Insight](), 0.0
    await talk.tick(1, trigger=True)
    began = loop.time()
    await talk._call.write(api.AnalyzeRequest(finish=api.Finish()))
    while not (event := await talk.event(60)).HasField("closed"):
        if event.HasField("insight"):
            told.append(event.insight)
            seconds = loop.time() - began
        else:
            talk.decisions.append(event.decision)
    return told, seconds


@pytest.mark.parametrize("ladder", [LADDER_SECONDS, PATIENT_SECONDS], ids=["ladder", "patient"])
@pytest.mark.parametrize("kind", TYPES)
async def test_what_is_told_comes_within_the_ladder_and_rests_on_what_was_said(
    serving: Any, relay: Relay, kind: str, ladder: float
) -> None:
    async with serving(relay, insight_ladder_seconds=ladder, insight_model_seconds=PATIENT_SECONDS) as place:
        talk = Talk(place.channel)
        assert (await talk.open(types=[TYPES[kind]])).engine == "model"
        said = await say_all(talk)
        told, seconds = await told_after(talk)
    assert seconds < ladder + GRACE_SECONDS
    assert told or talk.decisions, "it is told, or it is said why not"
    assert len(told) <= 1
    for insight in told:
        assert kind_of(insight) == kind
        assert insight.degraded == (insight.engine == "rules")
        assert insight.evidence
        assert all(quote.quote in said[quote.segment_id] for quote in insight.evidence)
        assert insight.degraded or insight.message in "".join(map(text_of, relay.answers))
    assert relay.requests
    assert ladder == LADDER_SECONDS or "LATE" not in talk.reasons
    for request in relay.requests:
        prompt = json.dumps(request.body, ensure_ascii=False)
        assert "cobraram o mesmo valor duas vezes" in prompt
        assert "[CPF]" in prompt
        assert not any(number in prompt for number in PERSONAL)


async def test_the_models_own_insights_are_told_with_their_evidence(serving: Any, relay: Relay) -> None:
    """Of a call it was never taught: what it says depends on what was said. How long it may take is not what is tested."""
    told = set()
    async with serving(relay, insight_ladder_seconds=PATIENT_SECONDS, insight_model_seconds=PATIENT_SECONDS) as place:
        for begin in WINDOWS:
            talk = Talk(place.channel)
            await talk.open(types=[TYPES["partial_summary"]])
            said = {await talk.say(turn.text, ROLES[turn.role], seconds=1): turn for turn in our_transcript("pt")[begin : begin + TURNS]}
            for insight in (await told_after(talk))[0]:
                if insight.engine == "rules":
                    continue
                assert (insight.engine, insight.degraded, kind_of(insight)) == (TINY, False, "partial_summary")
                [evidence] = insight.evidence
                assert said[evidence.segment_id].role == "customer"
                assert evidence.quote in said[evidence.segment_id].text
                assert evidence.quote in insight.message
                told.add(insight.message)
    assert len(told) >= LEAST_TOLD


async def test_a_ladder_the_model_cannot_keep_is_kept_by_the_rules(
    serving: Any, relay: Relay, database: Database, store: StoreSettings
) -> None:
    async with serving(relay, (database, store), insight_ladder_seconds=0.01) as place:
        talk = Talk(place.channel)
        await talk.open(types=[TYPES["partial_summary"]])
        said = await say_all(talk)
        [insight], seconds = await told_after(talk)
        assert (insight.degraded, insight.engine) == (True, "rules")
        assert seconds < GRACE_SECONDS
        assert all(quote.quote in said[quote.segment_id] for quote in insight.evidence)
        async with database.app_tx() as connection:
            tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
        async with database.tenant_tx(tenant) as connection:
            kept = await connection.fetch("SELECT status FROM insight ORDER BY created_at")
    assert "shown" in [row["status"] for row in kept]
    assert len([row for row in kept if row["status"] == "shown"]) == 1, "what the model said after it is not shown"


def text_of(answer: str) -> str:
    """What a model wrote, of the chunks of its stream; escapes of JSON are resolved where it is JSON."""
    chunks = [json.loads(line.removeprefix("data: ")) for line in answer.splitlines() if line.startswith("data: {")]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return text
