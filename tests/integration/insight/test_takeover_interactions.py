"""What a lost owner has asked and told of an utterance is written down with it by whoever goes on with the call.

Rows are looked at once the server has ended: it writes what waits.
"""

import asyncio
from typing import Any

import pytest
from integration.insight.analysing import THREAT, answer_of
from integration.insight.conftest import Serving
from integration.insight.planted import Planted
from integration.insight.test_takeover import GOOD, SLOW, SUMMARY, asked, kept_interactions

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import WELL
from malha.api.insight.v1 import rules_pb2
from malha.store.database import Database
from malha.store.settings import StoreSettings

NO_DATA = answer_of("partial_summary", "Sem dados suficientes", "fatura", 0.0)
WANTS = answer_of("partial_summary", "O cliente quer cancelar o plano agora.", "quero cancelar meu plano")


async def utterances(call: Planted) -> list[dict[str, Any]]:
    return await call.rows("SELECT * FROM interaction WHERE kind = 'utterance' ORDER BY seq")


@pytest.mark.parametrize("written", [True, False], ids=["its rows were written", "its rows were lost with it"])
@pytest.mark.parametrize(
    ("reply", "recommendation"), [(GOOD, "S: A cliente fala de uma fatura com valor alto."), (NO_DATA, "Nenhuma")], ids=["told", "nothing"]
)
async def test_what_came_of_a_question_asked_again_is_written_to_its_utterance(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings, reply: str, recommendation: str, written: bool
) -> None:
    model.reply = lambda _: reply
    model.faults.append(SLOW)
    async with serving(model, (database, store), insight_ladder_seconds=20, insight_model_seconds=30) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner(**SUMMARY)
        await asked(first, model)
        await kept_interactions(call, 2)
        first.lose()
        if not written:
            await call.execute("DELETE FROM interaction WHERE tenant_id = $1")
        second = await call.owner(**SUMMARY)
        told = [await second.advice()] if reply is GOOD else []
        assert not await second.end()
    customer, agent = await utterances(call)
    assert (customer["recommendation"], customer["raw_response"]) == (None, None)
    assert (agent["recommendation"], agent["raw_response"]) == (recommendation, reply)
    assert agent["ai_requested_at"] <= agent["ai_responded_at"]
    assert [each.interaction_id for each in told] in ([], [str(agent["id"])])
    assert agent["transcript"] == "vou verificar a sua conta e já lhe digo o que aconteceu"


@pytest.mark.parametrize("written", [True, False], ids=["its row was written", "its row was lost with it"])
async def test_what_was_kept_and_never_told_is_written_to_its_utterance(
    serving: Serving, database: Database, store: StoreSettings, written: bool
) -> None:
    async with serving(None, (database, store)) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner()
        await first.utter(THREAT)
        lost = await first.insight()
        await kept_interactions(call, 1)
        first.lose()
        await call.execute("UPDATE interaction SET recommendation = NULL WHERE tenant_id = $1")
        if not written:
            await call.execute("DELETE FROM interaction WHERE tenant_id = $1")
        second = await call.owner()
        assert (await second.advice()).id == lost.id
        await second.end()
    [row] = await utterances(call)
    assert row["recommendation"] == f"S: {lost.message}"
    assert str(row["id"]) == lost.interaction_id


async def test_what_was_told_of_an_utterance_before_stays_before_what_is_asked_again(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings
) -> None:
    """The alert was told by the first owner, the summary it asked for by the second: the row has both."""
    model.reply = lambda received: WANTS if "partial_summary" in received.prompt else NO_DATA.replace("partial_summary", "risk_alert")
    model.otherwise = SLOW
    types = [rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY, rules_pb2.INSIGHT_TYPE_RISK_ALERT]
    async with serving(model, (database, store), insight_ladder_seconds=20, insight_model_seconds=30) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner(types=types)
        await first.utter(THREAT)
        alert = await first.advice()
        await first.tick(1, trigger=True)
        await kept_interactions(call, 1)
        async with asyncio.timeout(30):
            while len(model.requests) < len(types):
                await asyncio.sleep(0.01)
        first.lose()
        model.otherwise = WELL
        second = await call.owner(types=types)
        summary = await second.advice()
        assert not await second.end()
    [row] = await utterances(call)
    assert row["recommendation"] == f"S: {alert.message} | S: {summary.message}"
