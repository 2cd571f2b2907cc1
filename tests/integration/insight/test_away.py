"""Insights of calls whose database answers nothing for a while (SIGSTOP): nothing is lost, and nothing told twice, once it is back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from integration.insight.analysing import THREAT, kind_of
from integration.insight.conftest import Serving
from integration.insight.planted import Owner, Planted
from integration.insight.test_calls import Caller, Scripted, everything
from integration.insight.test_takeover import GOOD, SAID, SUMMARY

from fakes.openai_server import FakeOpenAI
from fakes.postgres import Postgres
from fakes.postgres_stopped import stopped
from malha.store.database import Database
from malha.store.settings import StoreSettings

OUTAGE_SECONDS = 4.0
"""Longer than a statement may take, below."""
IMPATIENT = {"database_acquire_seconds": 1.5, "database_connect_seconds": 1.5, "database_statement_seconds": 1.5}


@pytest.fixture
async def impatient(store: StoreSettings) -> AsyncIterator[tuple[Database, StoreSettings]]:
    """The test's database, for a server that soon finds it away."""
    settings = store.model_copy(update=IMPATIENT)
    async with await Database.connect(settings) as connected:
        yield connected, settings


async def test_a_threat_said_meanwhile_is_advised_on_once(
    serving: Serving, postgres: Postgres, database: Database, impatient: tuple[Database, StoreSettings]
) -> None:
    """A call through Audio: its finals wait for the database, and its insights for them."""
    async with serving(None, impatient, Scripted(["bom dia", THREAT, "obrigado"])) as place:
        caller = Caller(place.channel)
        await caller.open(insights=True)
        await caller.speak(1)
        await caller.until("transcript")
        async with stopped(postgres):
            await caller.speak(1)
            await asyncio.sleep(OUTAGE_SECONDS)
        await caller.until("insight")
        await caller.speak(1)
        await caller.finish()
    [insight] = caller.of("insight")
    assert kind_of(insight) == "risk_alert"
    numbered = [event.seq for event in caller.events if event.seq]
    assert numbered == list(range(1, len(numbered) + 1))
    kept = await everything(database)
    assert [(str(row["id"]), row["status"]) for row in kept["insight"]] == [(insight.id, "shown")]
    assert sorted(row["transcript"] for row in kept["interaction"] if row["kind"] == "utterance") == sorted(["bom dia", THREAT, "obrigado"])
    assert [row["recommendation"] for row in kept["interaction"] if row["transcript"] == THREAT] == [f"S: {insight.message}"]


async def test_what_fires_meanwhile_is_told_after_and_feedback_is_kept(
    serving: Serving, postgres: Postgres, database: Database, impatient: tuple[Database, StoreSettings]
) -> None:
    """The utterance was stored and told just before; what comes of it cannot be."""
    async with serving(None, impatient) as place:
        call = await Planted.call(database, place.channel)
        owner = await call.owner()
        await owner.utter(THREAT)
        first = await owner.advice()
        await call.keep("vou reclamar no procon e falar com o meu advogado")
        async with stopped(postgres):
            await owner.say("vou reclamar no procon e falar com o meu advogado", seconds=4.0)
            await owner.feedback(first.id, "used")
            await quiet(owner, OUTAGE_SECONDS)
        told = [await owner.advice(), *await owner.end()]
        assert not await (await call.owner()).end(), "nothing is told again"
    rows = await call.rows("SELECT id, status FROM insight")
    assert sorted((str(row["id"]), row["status"]) for row in rows) == sorted((each.id, "shown") for each in (first, *told))
    assert [row["action"] for row in await call.rows("SELECT action FROM feedback")] == ["used"]
    written = await call.rows("SELECT recommendation FROM interaction WHERE kind = 'utterance' ORDER BY seq")
    assert [row["recommendation"] for row in written] == [f"S: {first.message}", " | ".join(f"S: {each.message}" for each in told)]


async def test_an_owner_lost_meanwhile_leaves_its_triggers_to_the_next(
    serving: Serving, postgres: Postgres, database: Database, impatient: tuple[Database, StoreSettings]
) -> None:
    """What it had heard and not settled does not count as processed."""
    async with serving(None, impatient) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner()
        await call.keep(THREAT)
        await call.keep("a senhora pode repetir o número do contrato")
        async with stopped(postgres):
            await first.say(THREAT, seconds=4.0)
            await first.say("a senhora pode repetir o número do contrato", seconds=4.0)
            await quiet(first, OUTAGE_SECONDS)
            await first.lost()
        await asyncio.sleep(3.0)  # what the lost owner's process has of it is written by now
        second = await call.owner()
        insight = await second.advice()
        assert not await second.end()
    assert kind_of(insight) == "risk_alert"
    assert [str(row["id"]) for row in await call.rows("SELECT id FROM insight")] == [insight.id]
    assert len(await call.rows("SELECT FROM interaction WHERE kind = 'utterance'")) == 2


async def test_a_question_meanwhile_is_put_and_answered_once(
    serving: Serving, model: FakeOpenAI, postgres: Postgres, database: Database, impatient: tuple[Database, StoreSettings]
) -> None:
    model.reply = lambda _: GOOD
    async with serving(model, impatient, insight_ladder_seconds=60) as place:
        call = await Planted.call(database, place.channel)
        owner = await call.owner(**SUMMARY)
        await owner.utter(SAID)
        async with stopped(postgres):
            await owner.tick(1, trigger=True)
            await quiet(owner, OUTAGE_SECONDS)
            assert not model.requests, "a question is kept before it is put"
        insight = await owner.advice()
        assert (insight.message, insight.degraded) == ("A cliente fala de uma fatura com valor alto.", False)
        assert not await owner.end()
    assert len(model.requests) == 1
    assert [row["status"] for row in await call.rows("SELECT status FROM insight")] == ["shown"]


async def quiet(owner: Owner, seconds: float) -> None:
    """Nothing but decisions is told for so long."""
    until = asyncio.get_running_loop().time() + seconds
    while (left := until - asyncio.get_running_loop().time()) > 0:
        try:
            event = await owner.event(left)
        except TimeoutError:
            return
        assert not event.HasField("insight"), "it was told without being kept"
