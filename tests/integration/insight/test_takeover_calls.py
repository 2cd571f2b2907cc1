"""Insights of a call that loses its connection: each is an event with its number, told again by `resume` where it was missed, and once."""

from typing import Any

import grpc
from conftest import AUTHORIZED
from integration.insight.analysing import THREAT
from integration.insight.conftest import Serving
from integration.insight.test_calls import Caller, Scripted, everything

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.audio.v1 import audio_pb2_grpc
from malha.api.insight.v1 import insight_pb2
from malha.store.database import Database
from malha.store.settings import StoreSettings


class Returned(Caller):
    """Goes on with a call over a connection of its own."""

    @classmethod
    async def at(cls, channel: grpc.aio.Channel, token: str, after: int) -> tuple["Returned", str]:
        """``after``: the last number its client has. The token to return with next comes too."""
        caller = cls(channel)
        stub: Any = audio_pb2_grpc.AudioStreamServiceStub(channel)
        caller._call = stub.Stream(metadata=AUTHORIZED)
        await caller.send(resume=api.Resume(token=token, after_seq=after))
        return caller, (await caller.read()).opened.resume_token


async def test_an_insight_is_told_again_where_it_was_missed_and_never_otherwise(
    serving: Serving, database: Database, store: StoreSettings
) -> None:
    async with serving(None, (database, store), Scripted(["bom dia", THREAT])) as place:
        caller = Caller(place.channel)
        token = (await caller.open(insights=True)).resume_token
        await caller.speak(2)
        [insight] = await caller.until("insight")
        seq = next(event.seq for event in caller.events if event.HasField("insight"))
        caller._call.cancel()
        missed, token = await Returned.at(place.channel, token, seq - 1)
        [again] = await missed.until("insight")
        assert again == insight
        assert [event.seq for event in missed.events if event.HasField("insight")] == [seq]
        missed._call.cancel()
        known, _ = await Returned.at(place.channel, token, seq)
        await known.finish()
        assert insight.id not in [each.id for each in known.of("insight")]
        kept = await everything(database)
    events = [row["body"]["id"] for row in kept["event"] if row["kind"] == "insight"]
    assert len(events) == len(set(events))
    assert set(events) == {str(row["id"]) for row in kept["insight"] if row["status"] == "shown"}


async def test_what_insight_kept_and_its_call_never_heard_is_told_to_the_next_connection_once(
    serving: Serving, database: Database, store: StoreSettings
) -> None:
    """The process died between the two: a row that was shown, and no event."""
    async with serving(None, (database, store), Scripted(["bom dia", THREAT])) as place:
        caller = Caller(place.channel)
        token = (await caller.open(insights=True)).resume_token
        await caller.speak(2)
        [insight] = await caller.until("insight")
        last = max(event.seq for event in caller.events)
        caller._call.cancel()
        async with database.app_tx() as connection:
            tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
        async with database.tenant_tx(tenant) as connection:
            untold = await connection.fetchval(
                "INSERT INTO insight (tenant_id, conversation_id, session_id, type, trigger_seq, rule_version, status, body, media_seconds)"
                " SELECT tenant_id, conversation_id, session_id, 'next_step', trigger_seq, 'p1', status, body, media_seconds FROM insight"
                " WHERE id = $1 RETURNING id::text",
                insight.id,
            )
        returned, token = await Returned.at(place.channel, token, last)
        [again] = await returned.until("insight")
        assert (again.id, again.message) == (untold, insight.message)
        assert returned.events[-1].seq > last
        last = returned.events[-1].seq
        returned._call.cancel()
        third, _ = await Returned.at(place.channel, token, last)
        await third.finish()
        assert not {untold, insight.id} & {each.id for each in third.of("insight")}


async def test_insights_that_were_turned_off_stay_off(serving: Serving, database: Database, store: StoreSettings) -> None:
    flush = api.Control(flush=api.Flush())
    async with serving(None, (database, store), Scripted(["bom dia", THREAT])) as place:
        caller = Caller(place.channel)
        token = (await caller.open(insights=True)).resume_token
        await caller.send(control=api.Control(insights=api.InsightControl(enabled=False)))
        await caller.speak(1)
        await caller.send(control=flush)
        await caller.until("transcript")
        caller._call.cancel()
        returned, _ = await Returned.at(place.channel, token, max(event.seq for event in caller.events))
        await returned.speak(2)  # the first is what is known already
        await returned.send(control=flush)
        await returned.until("transcript")
        await returned.send(control=api.Control(insights=api.InsightControl(enabled=True, trigger=True)))
        await returned.finish()
    assert {insight.trigger for insight in returned.of("insight")} == {insight_pb2.TRIGGER_MANUAL}
