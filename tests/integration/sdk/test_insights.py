"""Advice, rules and configuration through the SDK: a real InsightService with a real database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from conftest import TOKEN

from fakes.serving import served
from malha.insight.service import InsightService
from malha.insight.settings import InsightSettings
from malha.runtime.mesh import Mesh
from malha.runtime.settings import RuntimeSettings
from malha.sdk import (
    Aborted,
    AnalysisOpened,
    Decision,
    FewShot,
    Insight,
    InsightConfiguration,
    InsightFeedback,
    InsightPolicy,
    InvalidRequest,
    Malha,
    MalhaSync,
    NotFound,
    Offer,
    Rule,
    Segment,
    Tick,
)
from malha.store.database import Database
from malha.store.tokens import Tokens

REFUND = Rule(
    id="refund",
    type="risk_alert",
    message="Cliente pede reembolso: {quote}",
    any_of=("reembolso", "devolver o dinheiro"),
    none_of=("vale-presente",),
    roles=("customer",),
    languages=("pt",),
    window_seconds=30.0,
    cooldown_seconds=0.0,
    confidence=0.75,
    name="Reembolso",
)


@pytest.fixture
async def target(settings: RuntimeSettings, database: Database) -> AsyncIterator[str]:
    mesh = Mesh(settings, lambda: "127.0.0.1:1")
    service = InsightService(database, lambda: mesh.channel("chat"), InsightSettings(_env_file=None))
    try:
        async with served([service], settings, Tokens(database)) as server:
            yield server.target
    finally:
        await mesh.close()


@pytest.fixture
async def malha(target: str) -> AsyncIterator[Malha]:
    async with Malha(target, TOKEN) as client:
        yield client


def said(number: int, text: str, role: str = "customer", revision: int = 1) -> Segment:
    return Segment(f"0-{number}", revision, 0, role, text, 3.0 * number, 3.0 * number + 2.5)  # type: ignore[arg-type]  # a role


async def test_advice_as_a_conversation_goes(malha: Malha) -> None:
    spoken = [said(1, "bom dia, em que posso ajudar", "agent"), said(2, "eu quero cancelar meu plano agora"), Tick(12.0)]
    events = [event async for event in malha.analyze(spoken, conversation_id="c1", language="pt-BR", types=["risk_alert"])]
    assert isinstance(events[0], AnalysisOpened)
    assert events[0].policy == "call_center"
    insights = [event for event in events if isinstance(event, Insight)]
    assert [insight.type for insight in insights] == ["risk_alert"]
    assert insights[0].evidence[0].segment_id == "0-2"
    assert "cancelar" in insights[0].evidence[0].quote
    assert insights[0].latency_seconds is not None
    decisions = [event for event in events if isinstance(event, Decision)]
    assert "risk_alert" in [decision.type for decision in decisions if decision.fired]
    kept = await malha.insights("c1")
    assert [insight.id for insight in kept] == [insights[0].id]


async def test_feedback_while_it_goes_on(malha: Malha, database: Database) -> None:
    heard: asyncio.Queue[Segment | InsightFeedback | None] = asyncio.Queue()

    async def conversation() -> AsyncIterator[Segment | InsightFeedback]:
        while (item := await heard.get()) is not None:
            yield item

    heard.put_nowait(said(1, "eu quero cancelar meu plano agora"))
    async with malha.analyze(conversation(), conversation_id="c2", language="pt") as analysis:
        async with asyncio.timeout(60):
            async for event in analysis:
                if isinstance(event, Insight):
                    heard.put_nowait(InsightFeedback(event.id, "used"))
                    heard.put_nowait(said(1, "eu quero cancelar meu plano agora mesmo", revision=2))
                    heard.put_nowait(None)
    async with database.app_tx() as connection:
        tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
    async with database.tenant_tx(tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM feedback WHERE action = 'used'") == 1


async def test_a_rule_from_its_first_version_to_its_end(malha: Malha) -> None:
    first = await malha.save_rule(REFUND)
    assert first.version == 1
    assert [rule.id for rule in await malha.rules()] == ["refund"]
    assert len(await malha.rules(builtin=True)) > 1
    kept = await malha.rule("refund")
    assert (kept.any_of, kept.none_of, kept.roles, kept.languages) == (REFUND.any_of, REFUND.none_of, REFUND.roles, REFUND.languages)
    assert (kept.window_seconds, kept.cooldown_seconds, kept.confidence, kept.name, kept.type) == (
        30.0,
        0.0,
        0.75,
        "Reembolso",
        "risk_alert",
    )
    second = await malha.save_rule(Rule(id="refund", type="next_step", message="Ofereça troca", all_of=("reembolso",), version=1))
    assert second.version == 2
    assert (await malha.rule("refund", version=1)).type == "risk_alert"
    with pytest.raises(Aborted):
        await malha.save_rule(first)
    await malha.delete_rule("refund")
    assert await malha.rules() == ()
    with pytest.raises(NotFound):
        await malha.rule("refund")


async def test_a_rule_that_is_wrong_is_refused(malha: Malha) -> None:
    with pytest.raises(InvalidRequest):
        await malha.save_rule(Rule(id="x", type="gossip", message="m", any_of=("a",)))  # type: ignore[arg-type]  # what is refused
    with pytest.raises(InvalidRequest) as nothing:
        await malha.save_rule(Rule(id="x", type="upsell", message="m"))
    assert nothing.value.violations


async def test_what_a_draft_would_have_done(malha: Malha) -> None:
    found = await malha.backtest_rule(REFUND)
    assert (found.conversations, found.matches, found.precision, found.recall, found.examples) == (0, 0, None, None, ())


async def test_the_configuration_there_and_back(target: str, database: Database) -> None:
    secret = (await Tokens(database).create("default", actor="test", scopes={"admin", "read", "write"}))[0]
    wanted = InsightConfiguration(
        glossary={"pi xis": "Pix"},
        names=("Fulano de Tal",),
        keywords=("portabilidade",),
        policies=(InsightPolicy(name="balcao", kind="counter", min_words=7, silence_seconds=4.0),),
        catalogue=(Offer(id="fibra", name="Fibra 500", price="R$ 99,90 por mês", keywords=("internet",)),),
        few_shots=(FewShot(type="next_step", language="pt", transcript="Cliente: oi", message="Pergunte o nome."),),
        thresholds={"upsell": 0.8},
        knowledge_base="planos",
    )
    async with Malha(target, secret) as malha:
        assert (await malha.insight_configuration()).revision == 0
        kept = await malha.update_insight_configuration(wanted)
        assert kept.revision == 1
        again = await malha.insight_configuration()
        assert again == kept
        assert (again.glossary, again.policies, again.catalogue, again.few_shots) == (
            wanted.glossary,
            wanted.policies,
            wanted.catalogue,
            wanted.few_shots,
        )
        assert (again.thresholds, again.keywords, again.names, again.knowledge_base) == (
            {"upsell": 0.8},
            ("portabilidade",),
            wanted.names,
            "planos",
        )


async def test_an_input_that_is_none_comes_back_as_it_was_raised(malha: Malha) -> None:
    with pytest.raises(TypeError, match="Segment"):
        async for _ in malha.analyze(["bom dia"], conversation_id="c3"):  # type: ignore[list-item]  # what is refused
            pass


async def test_without_await(target: str, tmp_path: Path) -> None:
    def use() -> tuple[list[str], int]:
        with MalhaSync(target, TOKEN) as malha:
            spoken = [said(1, "eu quero cancelar meu plano agora")]
            told = [event.type for event in malha.analyze(spoken, conversation_id="c4", language="pt") if isinstance(event, Insight)]
            return told, len(malha.insights("c4"))

    told, kept = await asyncio.to_thread(use)
    assert "risk_alert" in told
    assert kept == len(told)
