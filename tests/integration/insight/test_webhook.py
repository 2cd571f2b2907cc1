"""`insight.shown` is told to webhooks: once for each insight that was shown, with ids and nothing that was said."""

import asyncio

import orjson
from integration.insight.analysing import THREAT, Talk
from integration.insight.conftest import Serving
from integration.insight.planted import Planted
from integration.jobs.conftest import serving as jobs_serving
from integration.jobs.receiver import Receiver
from integration.jobs.test_webhooks import LOOPBACK, posted, subscribe

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import Fault
from malha.api.insight.v1 import rules_pb2
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings


async def test_each_insight_that_is_shown_is_told_once_by_its_ids(
    serving: Serving, model: FakeOpenAI, settings: RuntimeSettings, database: Database, store: StoreSettings
) -> None:
    model.otherwise = Fault(before_headers_seconds=30)
    async with (
        jobs_serving(settings, database, store, outbound=LOOPBACK) as jobs,
        Receiver().running() as receiver,
        serving(model, (database, store), insight_ladder_seconds=0.3) as place,
    ):
        await subscribe(jobs, receiver, ["insight.shown"])
        talk = Talk(place.channel)
        session = (await talk.open(conversation_id="private-name", types=[rules_pb2.INSIGHT_TYPE_RISK_ALERT])).session_id
        await talk.say(THREAT)
        told = [await talk.insight()]
        await talk.tick(1, trigger=True)
        told += await talk.finish()
        call = await Planted.call(database, place.channel)
        kept = await call.rows("SELECT id, status FROM insight")
        shown = {str(row["id"]) for row in kept if row["status"] == "shown"}
        assert shown == {insight.id for insight in told}
        assert len(kept) > len(shown), "what was late was not shown, and is not told"
        bodies = [(await posted(receiver))[1] for _ in shown]
        await deliveries(call, len(shown))
        assert receiver.posted.empty()
    data = [orjson.loads(body)["data"] for body in bodies]
    assert {each["insight_id"] for each in data} == shown
    for each in data:
        assert set(each) == {"insight_id", "type", "conversation_id", "session_id"}
        assert (each["type"], each["session_id"]) == ("risk_alert", session)
    assert not [word for body in bodies for word in (b"cancelar", b"private-name") if word in body]


async def test_an_insight_of_the_model_is_told_when_it_is_shown_and_not_when_it_is_asked_for(
    settings: RuntimeSettings, serving: Serving, database: Database, store: StoreSettings
) -> None:
    async with (
        jobs_serving(settings, database, store, outbound=LOOPBACK) as jobs,
        Receiver().running() as receiver,
        serving(None, (database, store)) as place,
    ):
        await subscribe(jobs, receiver, ["insight.shown"])
        call = await Planted.call(database, place.channel)
        for seq, ends in enumerate(("shown", "empty", "dropped", "failed", "late"), 1):
            await call.execute(
                "INSERT INTO insight (tenant_id, conversation_id, session_id, type, trigger_seq, rule_version, status, body)"
                " VALUES ($1, $2, $3, 'upsell', $4, 'p1', 'pending', '{}')",
                call.conversation, call.session, seq,
            )  # fmt: skip
            await call.execute("UPDATE insight SET status = $2 WHERE tenant_id = $1 AND trigger_seq = $3", ends, seq)
        await call.execute("""UPDATE insight SET body = '{"more": 1}', status = 'shown' WHERE tenant_id = $1 AND trigger_seq = 1""")
        _, body = await posted(receiver)
        await deliveries(call, 1)
        assert orjson.loads(body)["data"]["type"] == "upsell"
        assert receiver.posted.empty()


async def deliveries(call: Planted, count: int) -> None:
    """There are so many, and all are over."""
    async with asyncio.timeout(60):
        while [row["status"] for row in await call.rows("SELECT status FROM webhook_delivery")] != ["delivered"] * count:
            await asyncio.sleep(0.05)
