"""What a caller numbers is said to be done once it is, and leads to the same once however often it is sent."""

from integration.insight.analysing import THREAT, Talk
from integration.insight.conftest import Serving
from integration.insight.planted import Owner, Planted
from integration.insight.test_takeover import GOOD, SAID, SUMMARY, statuses

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import Fault
from malha.api.insight.v1 import insight_pb2 as api
from malha.store.database import Database
from malha.store.settings import StoreSettings

WISH, USE = 1, 2


async def wish(owner: Owner) -> None:
    await owner._call.write(api.AnalyzeRequest(request_id=WISH, tick=api.Tick(trigger=True)))


async def use(owner: Owner, insight_id: str) -> None:
    await owner._call.write(api.AnalyzeRequest(request_id=USE, feedback=api.Feedback(insight_id=insight_id, action="used")))


async def events_until_done(owner: Owner, request_id: int) -> list[str]:
    kinds: list[str] = []
    while True:
        event = await owner.event()
        kinds.append(str(event.WhichOneof("event")))
        if event.HasField("insight"):
            await owner._planted.told(event.insight)
        if event.HasField("done"):
            assert event.done.request_id == request_id
            return kinds


async def test_a_wish_is_done_once_its_insight_is_kept_and_told(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings
) -> None:
    model.reply = lambda _: GOOD
    model.faults.append(Fault(before_headers_seconds=0.5))
    async with serving(model, (database, store), insight_ladder_seconds=20, insight_model_seconds=30) as place:
        call = await Planted.call(database, place.channel)
        owner = await call.owner(**SUMMARY)
        await owner.utter(SAID)
        await wish(owner)
        assert "insight" in await events_until_done(owner, WISH)
        assert await statuses(call) == [("shown", "model")]
        again = await call.owner(**SUMMARY)
        await wish(again)
        assert "insight" not in await events_until_done(again, WISH), "it was told"
        assert not await again.end()
        assert await statuses(call) == [("shown", "model")]


async def test_a_wish_without_anything_said_is_done_too(serving: Serving) -> None:
    async with serving() as place:
        talk = Talk(place.channel)
        await talk.open()
        await talk._call.write(api.AnalyzeRequest(request_id=WISH, tick=api.Tick(trigger=True)))
        while not (event := await talk.event()).HasField("done"):
            assert event.HasField("decision")
        await talk.finish()


async def test_feedback_that_is_sent_again_is_kept_once_and_said_to_be_done_each_time(
    serving: Serving, database: Database, store: StoreSettings
) -> None:
    async with serving(None, (database, store)) as place:
        call = await Planted.call(database, place.channel)
        owner = await call.owner()
        await owner.utter(THREAT)
        insight = await owner.advice()
        await use(owner, insight.id)
        await events_until_done(owner, USE)
        again = await call.owner()
        await use(again, insight.id)
        await events_until_done(again, USE)
        await again.end()
    assert [row["action"] for row in await call.rows("SELECT action FROM feedback")] == ["used"]
