"""Insight on real gRPC, PostgreSQL and HTTP: the ladder, what is kept, what is told once."""

import asyncio
import json
import uuid

import grpc
import pytest
from conftest import AUTHORIZED
from integration.insight.analysing import AGENT, THREAT, Talk, answer_of, kind_of
from integration.insight.conftest import Serving

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import BROKEN, JUNK, NEVER, OUT_OF_TOKENS, WRONG_IDS
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import insight_pb2_grpc, rules_pb2
from malha.runtime.status import from_rpc_error
from malha.store.database import Database
from malha.store.settings import StoreSettings


async def talk_of(talk: Talk) -> None:
    """Enough to advise on, and nothing that makes the policy ask by itself."""
    await talk.say("a minha fatura que veio com um valor muito alto neste mês de novembro", seconds=4)
    await talk.say("vou verificar a sua conta e já lhe digo o que aconteceu", AGENT, seconds=4)


async def test_a_threat_to_cancel_is_told_at_once_with_the_words_it_rests_on(serving: Serving) -> None:
    async with serving() as place:
        talk = Talk(place.channel)
        opened = await talk.open()
        assert (opened.engine, opened.policy) == ("rules", "call_center")
        segment = await talk.say(THREAT)
        insight = await talk.insight()
        assert kind_of(insight) == "risk_alert"
        assert insight.evidence[0].segment_id == segment
        assert insight.evidence[0].quote in THREAT
        assert insight.engine == "rules"
        assert not insight.degraded
        assert insight.rule.startswith("malha-")
        assert insight.latency.ToNanoseconds() < 1e9
        assert insight.id
        assert insight.message
        await talk.finish()


async def test_what_the_agent_says_of_cancelling_is_no_threat(serving: Serving) -> None:
    async with serving() as place:
        talk = Talk(place.channel)
        await talk.open()
        await talk.say("o senhor não precisa cancelar o plano", AGENT)
        assert not [each for each in await talk.finish() if kind_of(each) == "risk_alert"]


async def test_the_model_answers_within_the_ladder_and_its_words_are_checked(serving: Serving, model: FakeOpenAI) -> None:
    asked: list[str] = []

    def reply(request: object) -> str:
        asked.append(str(request.body))  # type: ignore[attr-defined]
        return answer_of("partial_summary", "A cliente fala de uma fatura com valor alto.", "minha fatura que veio com um valor muito alto")

    model.reply = reply
    async with serving(model) as place:
        talk = Talk(place.channel)
        assert (await talk.open(types=[rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY])).engine == "model"
        await talk_of(talk)
        await talk.tick(1, trigger=True)
        insight = await talk.insight()
        assert insight.message == "A cliente fala de uma fatura com valor alto."
        assert not insight.degraded
        assert {"rules", "model"} <= {stage.name for stage in insight.stages}
        await talk.finish()
    assert asked
    assert "minha fatura" in asked[0]


async def test_a_model_that_never_answers_is_stood_in_for_and_its_row_says_so(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings
) -> None:
    model.otherwise = NEVER
    async with serving(model, (database, store), insight_ladder_seconds=0.4, insight_model_seconds=8.0) as place:
        talk = Talk(place.channel)
        await talk.open(types=[rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY])
        await talk_of(talk)
        began = asyncio.get_running_loop().time()
        await talk.tick(1, trigger=True)
        insight = await talk.insight()
        assert insight.degraded
        assert insight.engine == "rules"
        assert insight.evidence
        assert 0.3 < asyncio.get_running_loop().time() - began < 8, "before the model's own time is over"
        assert "LATE" in talk.reasons
        await talk.finish()
    (last,) = await rows(database, "SELECT recomendacao_gerada FROM interacoes ORDER BY ts_ai_req NULLS LAST LIMIT 1")
    assert last["recomendacao_gerada"] == f"S: {insight.message}"
    statuses = await rows(database, "SELECT status FROM insight ORDER BY created_at")
    assert sorted(row["status"] for row in statuses) == ["late", "shown"]


@pytest.mark.parametrize("fault", [BROKEN, JUNK, OUT_OF_TOKENS, WRONG_IDS], ids=["500", "junk", "cut", "wrong ids"])
async def test_a_model_that_answers_wrongly_is_stood_in_for_at_once(serving: Serving, model: FakeOpenAI, fault: object) -> None:
    model.otherwise = fault  # type: ignore[assignment]
    async with serving(model, insight_ladder_seconds=5.0) as place:
        talk = Talk(place.channel)
        await talk.open(types=[rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY])
        await talk_of(talk)
        await talk.tick(1, trigger=True)
        insight = await talk.insight()
        assert insight.degraded
        assert insight.engine == "rules"
        await talk.finish()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answer_of("partial_summary", "A cliente fala da fatura.", "quero cancelar tudo"), "UNSUPPORTED"),
        (answer_of("partial_summary", "Sem dados suficientes", "minha fatura"), "EMPTY"),
        (answer_of("partial_summary", "A cliente fala da fatura.", "minha fatura", confidence=0.2), "EMPTY"),
    ],
    ids=["no such evidence", "nothing to say", "not sure"],
)
async def test_what_the_model_cannot_support_is_kept_and_not_shown(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings, answer: str, reason: str
) -> None:
    model.reply = lambda _: answer
    async with serving(model, (database, store)) as place:
        talk = Talk(place.channel)
        await talk.open(types=[rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY])
        await talk_of(talk)
        await talk.tick(1, trigger=True)
        assert not await talk.finish()
        assert any(reason in each for each in talk.reasons), talk.reasons
    kept = await rows(database, "SELECT status, reason FROM insight")
    assert [row["status"] in ("empty", "dropped") for row in kept] == [True]


async def test_a_call_that_goes_on_elsewhere_is_not_advised_twice(serving: Serving, database: Database, store: StoreSettings) -> None:
    session = str(uuid.uuid4())
    async with serving(None, (database, store)) as place:
        first = Talk(place.channel)
        await first.open(conversation_id="c", session_id=session)
        await first.say(THREAT)
        told = await first.insight()
        first.lose()
        again = Talk(place.channel)
        await again.open(conversation_id="c", session_id=session)
        await again.say(THREAT)
        assert not [each for each in await again.finish() if kind_of(each) == "risk_alert"]
        listed = await insight_pb2_grpc.InsightServiceStub(place.channel).ListInsights(
            api.ListInsightsRequest(conversation_id="c"), metadata=AUTHORIZED
        )
        assert told.id in [each.id for each in listed.insights]


async def test_every_utterance_is_one_interaction(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        talk = Talk(place.channel)
        await talk.open()
        await talk.say("bom dia")
        await talk.say(THREAT)
        await talk.insight()
        await talk.finish()
    kept = await rows(database, "SELECT * FROM interacoes ORDER BY transcricao_completa")
    assert [row["transcricao_completa"] for row in kept] == ["bom dia", THREAT]
    assert kept[0]["recomendacao_gerada"] is None
    assert kept[1]["recomendacao_gerada"].startswith("S: ")
    assert kept[1]["ts_sent"] is not None
    assert json.loads(json.dumps(kept[0]["speaker_data"]))["role"] == "customer"


async def test_what_others_than_audio_send_is_scrubbed_as_well(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        talk = Talk(place.channel)
        await talk.open()
        await talk.say(f"meu cpf é 529.982.247-25 e {THREAT}")
        insight = await talk.insight()
        await talk.finish()
    (kept,) = await rows(database, "SELECT transcricao_completa FROM interacoes")
    assert kept["transcricao_completa"] == f"meu cpf é [CPF] e {THREAT}"
    assert "529" not in insight.message + insight.evidence[0].quote


async def test_feedback_is_kept(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        talk = Talk(place.channel)
        await talk.open()
        await talk.say(THREAT)
        insight = await talk.insight()
        await talk.feedback(insight.id, "used")
        await talk.finish()
    assert [row["action"] for row in await rows(database, "SELECT action FROM feedback")] == ["used"]


async def test_an_unknown_policy_is_refused_with_those_there_are(serving: Serving) -> None:
    async with serving() as place:
        talk = Talk(place.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await talk.open(policy="nonsense")
        error = from_rpc_error(caught.value)
        assert error.reason == "UNKNOWN_POLICY"
        assert "call_center" in error.message


async def test_an_unknown_alias_is_refused_with_those_there_are(serving: Serving, model: FakeOpenAI) -> None:
    async with serving(model) as place:
        talk = Talk(place.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await talk.open(alias="nonsense")
        error = from_rpc_error(caught.value)
        assert error.reason == "MODEL_NOT_FOUND"
        assert "main" in error.message
        assert (await Talk(place.channel).open(alias="main")).engine == "main"


async def test_while_chat_is_away_any_alias_is_taken_and_rules_answer(serving: Serving) -> None:
    async with serving() as place:
        assert (await Talk(place.channel).open(alias="nonsense")).engine == "rules"


async def rows(database: Database, query: str) -> list[dict[str, object]]:
    """What the tenant of the tests has."""
    async with database.app_tx() as connection:
        tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
    async with database.tenant_tx(tenant) as connection:
        return [dict(row) for row in await connection.fetch(query)]
