"""A call that loses its owner: what was asked is asked again, what was not told is told, and nothing twice."""

import asyncio
import random
from collections import Counter

import pytest
from integration.insight.analysing import AGENT, THREAT, answer_of
from integration.insight.conftest import Serving
from integration.insight.planted import Owner, Planted

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import BROKEN, JUNK, NEVER, WELL, Fault
from malha.api.insight.v1 import rules_pb2
from malha.store.database import Database
from malha.store.settings import StoreSettings

SUMMARY = {"types": [rules_pb2.INSIGHT_TYPE_PARTIAL_SUMMARY]}
SAID = "a minha fatura que veio com um valor muito alto neste mês de novembro"
GOOD = answer_of("partial_summary", "A cliente fala de uma fatura com valor alto.", "minha fatura que veio com um valor muito alto")
SLOW = Fault(before_headers_seconds=30)


async def asked(owner: Owner, model: FakeOpenAI) -> None:
    """The operator wants an insight, and the model has the question."""
    await owner.utter(SAID)
    await owner.utter("vou verificar a sua conta e já lhe digo o que aconteceu", AGENT)
    before = len(model.requests)
    await owner.tick(1, trigger=True)
    async with asyncio.timeout(30):
        while len(model.requests) == before:
            await asyncio.sleep(0.01)


async def statuses(call: Planted) -> list[tuple[str, str]]:
    found = await call.rows("SELECT status, rule_version FROM insight WHERE type = 'partial_summary' ORDER BY created_at")
    return [(row["status"], "stand-in" if row["rule_version"] == "stand-in" else "model") for row in found]


async def test_a_question_its_owner_was_lost_with_is_asked_again_and_told_once(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings
) -> None:
    model.reply = lambda _: GOOD
    model.faults.append(SLOW)
    async with serving(model, (database, store), insight_ladder_seconds=20, insight_model_seconds=30) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner(**SUMMARY)
        await asked(first, model)
        first.lose()
        assert await statuses(call) == [("pending", "model")]
        second = await call.owner(**SUMMARY)
        insight = await second.advice()
        assert (insight.message, insight.degraded) == ("A cliente fala de uma fatura com valor alto.", False)
        assert insight.evidence[0].segment_id == "0-1"
        assert not await second.end()
        assert await statuses(call) == [("shown", "model")]
        third = await call.owner(**SUMMARY)
        assert not await third.end()
    assert len(model.requests) == 2
    assert SAID in model.requests[1].prompt, "it is asked with what was said before"


async def test_a_question_that_nobody_can_answer_any_more_is_the_rule_engine_s(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings
) -> None:
    model.faults.append(SLOW)
    async with serving(model, (database, store), insight_ladder_seconds=20, insight_model_seconds=30) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner(**SUMMARY)
        await asked(first, model)
        first.lose()
    async with serving(None, (database, store)) as without:
        call._channel = without.channel
        second = await call.owner(**SUMMARY)
        assert (await second.advice()).degraded
        await second.end()
        assert await statuses(call) == [("failed", "model"), ("shown", "stand-in")]


@pytest.mark.parametrize(("fault", "ended"), [(SLOW, "late"), (BROKEN, "failed"), (JUNK, "failed")], ids=["late", "500", "junk"])
async def test_once_the_stand_in_is_told_the_model_s_answer_never_is(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings, fault: Fault, ended: str
) -> None:
    model.reply = lambda _: GOOD
    model.otherwise = fault
    async with serving(model, (database, store), insight_ladder_seconds=0.3, insight_model_seconds=30) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner(**SUMMARY)
        await asked(first, model)
        assert (await first.advice()).degraded
        first.lose()
        model.otherwise = WELL
        second = await call.owner(**SUMMARY)
        await second.tick(10)
        assert not await second.end()
        assert await statuses(call) == [(ended, "model"), ("shown", "stand-in")]


async def test_an_owner_that_does_not_know_it_was_replaced_tells_nothing_more(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings
) -> None:
    """Both have asked; the second is answered first. Neither the first's answer nor its stand-in comes to the call."""
    model.reply = lambda _: GOOD
    model.faults.append(SLOW)
    async with serving(model, (database, store), insight_ladder_seconds=3, insight_model_seconds=30) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner(**SUMMARY)
        await asked(first, model)
        second = await call.owner(**SUMMARY)
        assert not (await second.advice()).degraded
        assert not await first.finish(), "its ladder ran out, and it tells nothing"
        assert "LATE" in first.reasons
        assert not await second.end()
        assert await statuses(call) == [("shown", "model")]
        third = await call.owner(**SUMMARY)
        assert not await third.end()


async def test_what_was_kept_and_never_told_the_next_owner_tells(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner()
        await first.utter(THREAT)
        lost = await first.insight()  # its process dies before this is an event
        first.lose()
        second = await call.owner()
        again = await second.advice()
        assert (again.id, again.message, list(again.evidence)) == (lost.id, lost.message, list(lost.evidence))
        assert not [each for each in await second.end() if each.id == lost.id]
        third = await call.owner()
        assert not await third.end()


async def test_what_was_said_while_nobody_listened_counts_once_the_next_owner_does(
    serving: Serving, database: Database, store: StoreSettings
) -> None:
    async with serving(None, (database, store)) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner()
        await first.utter("bom dia")
        await first.finish()
        await kept_interactions(call, 1)
        await call.keep(THREAT)  # stored, and Insight never heard it
        second = await call.owner()
        assert (await second.advice()).evidence[0].segment_id == "0-2"
        await second.end()
        await kept_interactions(call, 2)


async def test_an_amended_segment_is_one_interaction(serving: Serving, database: Database, store: StoreSettings) -> None:
    """Amended after it was processed, and heard by the next owner under its new number."""
    async with serving(None, (database, store)) as place:
        call = await Planted.call(database, place.channel)
        first = await call.owner()
        await first.utter(THREAT)
        told = await first.advice()
        await first.finish()
        await kept_interactions(call, 1)
        await call.execute(
            "INSERT INTO event (tenant_id, session_id, seq, kind, segment_id, body) VALUES ($1, $2, 50, 'transcript', '0-1', $3)",
            call.session, {"text": THREAT, "language": "pt-BR", "amended": True},
        )  # fmt: skip
        second = await call.owner()
        assert not [each for each in await second.end() if each.type == told.type]
    assert len(await call.rows("SELECT FROM interaction WHERE kind = 'utterance'")) == 1


async def test_channels_that_overlap_are_heard_in_the_order_they_were_told(
    serving: Serving, database: Database, store: StoreSettings
) -> None:
    """The longer utterance began first and was told last; the next owner hears both."""
    async with serving(None, (database, store)) as place:
        call = await Planted.call(database, place.channel)
        await call.keep(THREAT)
        await call.keep("a senhora pode repetir o número do contrato por favor", AGENT)
        await call.execute("UPDATE segment SET start_seconds = 2 WHERE tenant_id = $1 AND segment_id = '0-1'")
        await call.execute("UPDATE segment SET start_seconds = 1, end_seconds = 9 WHERE tenant_id = $1 AND segment_id = '0-2'")
        owner = await call.owner()
        assert (await owner.advice()).evidence[0].segment_id == "0-1"
        await owner.end()
        await kept_interactions(call, 2)


async def kept_interactions(call: Planted, count: int) -> None:
    async with asyncio.timeout(30):
        while len(await call.rows("SELECT FROM interaction WHERE kind = 'utterance'")) < count:
            await asyncio.sleep(0.02)


FATES = (WELL, WELL, NEVER, BROKEN, JUNK, Fault(before_headers_seconds=0.2), Fault(before_headers_seconds=0.5))
LINES = (
    SAID,
    THREAT,
    "eu já liguei três vezes e ninguém resolveu o meu problema",
    "vou reclamar no procon se isso continuar assim",
    "quanto custa o plano com mais internet para a minha casa",
    "eu quero falar com o supervisor agora mesmo por favor",
)


@pytest.mark.parametrize("seed", range(4))
async def test_however_owners_are_lost_each_insight_is_told_once(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings, seed: int
) -> None:
    """Owners are lost at any moment, some go on without knowing; models answer, are late, break. Each question gets one insight at most."""
    chance = random.Random(seed)
    model.reply = lambda _: GOOD
    async with serving(model, (database, store), insight_ladder_seconds=0.3, insight_model_seconds=1) as place:
        call = await Planted.call(database, place.channel)
        zombies: list[Owner] = []
        for line in LINES:
            model.faults.extend(chance.choices(FATES, k=3))
            owner = await call.owner()
            await owner.utter(line)
            if chance.random() < 0.7:
                await owner.tick(1, trigger=True)
            await listen(owner, chance.uniform(0, 0.6))
            if chance.random() < 0.5:
                await owner.lost()
            else:
                zombies.append(owner)
        model.faults.clear()
        for zombie in zombies:
            await zombie.finish()
        for _ in range(2):
            await (await call.owner()).end()
        shown = await call.rows("SELECT id, type, trigger_seq, rule_version, status FROM insight")
    assert not [row for row in shown if row["status"] == "pending"]
    told = {str(row["id"]) for row in shown if row["status"] == "shown"}
    assert told == call.known, "each of them is an event, once"
    answers = Counter(
        (row["type"], row["trigger_seq"]) for row in shown if row["status"] == "shown" and "malha-" not in row["rule_version"]
    )
    assert max(answers.values(), default=0) <= 1, answers
    assert told


async def listen(owner: Owner, seconds: float) -> None:
    """Make what it tells events, for a while."""
    until_ = asyncio.get_running_loop().time() + seconds
    while (left := until_ - asyncio.get_running_loop().time()) > 0:
        try:
            event = await owner.event(left)
        except TimeoutError:
            return
        if event.HasField("insight"):
            await owner._planted.told(event.insight)
