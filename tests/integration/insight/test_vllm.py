"""Insight and a real vLLM: its tiny model answers within the ladder or is stood in for; whatever it writes, only what was said is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from integration.insight.analysing import AGENT, Talk, kind_of

from fakes.openai_relay import Relay
from fakes.vllm import RunningVllm
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import rules_pb2
from malha.store.database import Database
from malha.store.settings import StoreSettings

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.engine("vllm")]

LADDER_SECONDS = 1.6
GRACE_SECONDS = 1.0
"""Of a machine that does other things too."""
TYPES = {
    "partial_summary": rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY,
    "next_step": rules_pb2.INSIGHT_TYPE_NEXT_STEP,
    "risk_alert": rules_pb2.INSIGHT_TYPE_RISK_ALERT,
}
SAID = (
    ("bom dia a minha conta veio mais cara este mês e cobraram o mesmo valor duas vezes", rules_pb2.Rule.DESCRIPTOR and 0),
    ("vou verificar a sua conta e já lhe digo o que aconteceu com o valor", 1),
    ("meu cpf é 529.982.247-25 e o meu telefone é 11 98765-4321", 0),
    ("meu e-mail é maria.clara@example.com e o cartão é 4111 1111 1111 1111", 0),
)
PERSONAL = ("529.982", "52998224725", "98765", "maria.clara", "4111")


@pytest.fixture
async def relay(vllm: RunningVllm) -> AsyncIterator[Relay]:
    async with Relay(vllm, key="secret-key") as passing:
        yield passing


async def say_all(talk: Talk) -> dict[str, str]:
    """What is said in the call, by segment."""
    said = {}
    for text, agent in SAID:
        said[await talk.say(text, *([AGENT] if agent else []), seconds=5)] = text
    return said


async def told_after(talk: Talk) -> tuple[api.Insight | None, float]:
    """The insight of a manual trigger, None where there was nothing to tell, and how long it took in seconds."""
    loop = asyncio.get_running_loop()
    await talk.tick(1, trigger=True)
    began = loop.time()
    while True:
        event = await talk.event(30)
        if event.HasField("insight"):
            return event.insight, loop.time() - began
        talk.decisions.append(event.decision)
        if event.decision.reason.partition(":")[0] in {"EMPTY", "UNSUPPORTED", "DROPPED"}:
            return None, loop.time() - began


@pytest.mark.parametrize("kind", TYPES)
async def test_an_insight_comes_within_the_ladder_and_rests_on_what_was_said(serving: Any, relay: Relay, kind: str) -> None:
    async with serving(relay) as place:
        talk = Talk(place.channel)
        assert (await talk.open(types=[TYPES[kind]], language="pt-BR")).engine == "model"
        said = await say_all(talk)
        insight, seconds = await told_after(talk)
        rest = await talk.finish()
    print(kind, insight, seconds, talk.reasons, relay.answers)
