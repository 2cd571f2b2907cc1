"""What no caller should send: wrong order, wrong ids, far too much, nonsense. None of it takes the service from others."""

import asyncio
import time
import uuid

import grpc
import pytest
from conftest import AUTHORIZED
from integration.insight.administering import MINE, THEIRS, Admin, refused
from integration.insight.analysing import THREAT, Talk, kind_of, span
from integration.insight.conftest import Serving
from integration.insight.planted import Planted

from fakes.loop_watch import never_blocked
from malha.api.common.v1 import transcript_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import insight_pb2_grpc
from malha.runtime.status import from_rpc_error
from malha.store.database import Database
from malha.store.settings import StoreSettings

THEIR_METADATA = (("authorization", THEIRS),)
SEGMENT = transcript_pb2.Segment(id="s", text="bom dia", state=transcript_pb2.SEGMENT_STATE_FINAL)


async def ending(channel: grpc.aio.Channel, *requests: api.AnalyzeRequest) -> tuple[grpc.StatusCode, str]:
    """How a stream of these ends."""
    call = insight_pb2_grpc.InsightServiceStub(channel).Analyze(metadata=AUTHORIZED)
    try:
        for request in requests:
            await call.write(request)
        async with asyncio.timeout(20):
            while await call.read() is not grpc.aio.EOF:
                pass
        assert await call.code() is grpc.StatusCode.OK
    except asyncio.InvalidStateError:
        pass
    except grpc.aio.AioRpcError as error:
        return error.code(), from_rpc_error(error).reason
    if await call.code() is grpc.StatusCode.OK:
        return grpc.StatusCode.OK, ""
    error = grpc.aio.AioRpcError(await call.code(), grpc.aio.Metadata(), await call.trailing_metadata(), await call.details())
    return error.code(), from_rpc_error(error).reason


def opening(**fields: object) -> api.AnalyzeRequest:
    return api.AnalyzeRequest(open=api.Open(**{"conversation_id": "c", **fields}))  # type: ignore[arg-type]  # as a client without types


def said(**fields: object) -> api.AnalyzeRequest:
    return api.AnalyzeRequest(segment=api.Said(**{"segment": SEGMENT, **fields}))  # type: ignore[arg-type]  # as a client without types


async def test_messages_out_of_order_and_wrong_fields_are_refused(serving: Serving, database: Database, store: StoreSettings) -> None:
    finish = api.AnalyzeRequest(finish=api.Finish())
    tick = api.AnalyzeRequest(tick=api.Tick(time=span(1)))
    feedback = api.AnalyzeRequest(feedback=api.Feedback(insight_id="x", action="stolen"))
    async with serving(None, (database, store)) as place:
        for reason, requests in (
            ("INVALID_ORDER", (finish,)),
            ("INVALID_ORDER", (tick,)),
            ("INVALID_ORDER", (said(),)),
            ("INVALID_ORDER", (opening(), opening())),
            ("INVALID_FIELD", (opening(conversation_id=""),)),
            ("INVALID_FIELD", (opening(conversation_id="x" * 129),)),
            ("INVALID_FIELD", (opening(types=[99]),)),
            ("INVALID_SESSION_ID", (opening(session_id="not-a-uuid"),)),
            ("INVALID_FIELD", (opening(session_id="x" * 37),)),
            ("UNKNOWN_POLICY", (opening(policy="nonsense"),)),
            ("INVALID_FIELD", (opening(), api.AnalyzeRequest(segment=api.Said()))),
            ("INVALID_FIELD", (opening(), feedback)),
            ("INVALID_FIELD", (opening(), api.AnalyzeRequest())),
            ("INVALID_TIME", (opening(), said(audio_time={"seconds": 2**60}))),
            ("INVALID_TIME", (opening(), said(told_time={"seconds": -(2**60)}))),
        ):
            assert await ending(place.channel, *requests) == (grpc.StatusCode.INVALID_ARGUMENT, reason), requests
        for wrong in (2**63, 2**64 - 1):
            assert await ending(place.channel, opening(), said(seq=wrong)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        fine = (opening(language="\U0001f4a9"), said(seq=2**63 - 1), tick, said(seq=5), finish)
        assert (await ending(place.channel, *fine))[0] is grpc.StatusCode.OK


@pytest.mark.parametrize("language", ["", "xx-YY", "português", "\U0001f4a9", "pt-BR-x-nonsense", "-", "EN"])
async def test_a_language_of_nonsense_is_no_language(serving: Serving, language: str) -> None:
    async with serving() as place:
        talk = Talk(place.channel)
        await talk.open(language=language)
        await talk.say("eu quero cancelar o meu plano i want to cancel my plan")
        await talk.tick(1, trigger=True)
        await talk.finish()


async def test_a_megabyte_in_one_segment_holds_nobody_up(serving: Serving, database: Database, store: StoreSettings) -> None:
    texts = ("cancelar " * 110_000, "x" * 1_000_000, "não " * 250_000, "1" * 1_000_000, "\0\u202e" * 200_000, "a," * 500_000)
    async with serving(None, (database, store)) as place:
        for text in texts:
            talk = Talk(place.channel)
            await talk.open()
            async with never_blocked(1.5):  # the server shares the loop
                await talk.say(text)
                await talk.tick(1, trigger=True)
                told = await talk.finish()
            for insight in told:
                assert sum(len(each.quote) for each in insight.evidence) < 20_000, kind_of(insight)
                assert len(insight.message) < 20_000


async def test_ten_thousand_segments_at_once_are_taken_in(serving: Serving) -> None:
    async with serving() as place:
        talk = Talk(place.channel)
        await talk.open()
        told = []

        async def read() -> None:
            while not (event := await talk.event(120)).HasField("closed"):
                if event.HasField("insight"):
                    told.append(event.insight)

        reading, began = asyncio.create_task(read()), time.monotonic()
        for number in range(10_000):
            await talk.say("bom dia" if number % 100 else THREAT, seconds=1)
        await talk._call.write(api.AnalyzeRequest(finish=api.Finish()))
        async with asyncio.timeout(120):
            await reading
        print(f"10,000 segments: {time.monotonic() - began:.1f} s, {len(told)} insights")
        assert 1 < len(told) <= 300


async def test_a_session_of_another_tenant_is_neither_found_nor_disturbed(
    serving: Serving, database: Database, store: StoreSettings
) -> None:
    async with serving(None, (database, store)) as place:
        call = await Planted.call(database, place.channel)
        mine = await call.owner()
        await mine.utter(f"zanzibar {THREAT}")
        told = await mine.insight()  # shown, and no event yet: an owner of the call would tell it
        stranger = Talk(place.channel, THEIR_METADATA)
        opened = await stranger.open(conversation_id=str(call.session), session_id=str(call.session))
        assert opened.session_id == str(call.session)
        await stranger.say(THREAT)
        theirs = await stranger.insight()
        assert "zanzibar" not in str(theirs)
        assert theirs.id != told.id
        assert not [each for each in await stranger.finish() if each.id == told.id or "zanzibar" in str(each)]
        listed = await Admin(place.channel, THEIRS).insights(str(call.session))
        assert theirs.id in [each.id for each in listed.insights]
        assert told.id not in [each.id for each in listed.insights]
        async with refused("CONVERSATION_NOT_FOUND"):
            await Admin(place.channel, THEIRS).insights(str(call.conversation))
        await mine.finish()
        [again] = [each for each in (await Admin(place.channel, MINE).insights(str(call.session))).insights if each.id == told.id]
        assert again.message == told.message


async def test_feedback_for_what_is_not_there_or_not_one_s_own_is_nothing(
    serving: Serving, database: Database, store: StoreSettings
) -> None:
    async with serving(None, (database, store)) as place:
        call = await Planted.call(database, place.channel)
        mine = await call.owner()
        await mine.utter(THREAT)
        insight = await mine.insight()
        stranger = Talk(place.channel, THEIR_METADATA)
        await stranger.open()
        for name in (insight.id, str(uuid.uuid4()), "nonsense", "\0"):
            await stranger.feedback(name, "used")
        await stranger.finish()
        assert await call.rows("SELECT FROM feedback") == []
        await mine.feedback("nonsense", "used")
        await mine.feedback(insight.id, "ignored")
        await mine.finish()
        assert [row["action"] for row in await call.rows("SELECT action FROM feedback")] == ["ignored"]


async def test_lists_are_paged_and_wrong_tokens_refused(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        call, admin = await Planted.call(database, place.channel), Admin(place.channel)
        await call.execute(
            "INSERT INTO insight (tenant_id, conversation_id, session_id, type, trigger_seq, rule_version, status, body, created_at)"
            " SELECT $1, $2, $3, 'upsell', number, 'p', CASE number % 5 WHEN 0 THEN 'late' ELSE 'shown' END, '{}',"
            " now() - number / 7 * interval '1 second' FROM generate_series(1, 50) AS number",
            call.conversation, call.session,
        )  # fmt: skip
        name, ids, token = str(call.session), [], ""
        while True:
            page = await admin.insights(name, page_size=7, page_token=token)
            assert len(page.insights) <= 7
            ids += [each.id for each in page.insights]
            token = page.next_page_token or ""
            if not token:
                break
            last = token
        assert len(ids) == len(set(ids)) == 40
        assert ids == [each.id for each in (await admin.insights(str(call.conversation))).insights]
        for wrong in ("nonsense", last[:-1], ("B" if last[0] == "A" else "A") + last[1:], last + "A", "é"):
            async with refused("INVALID_PAGE_TOKEN", "page_token"):
                await admin.insights(name, page_token=wrong)
        async with refused("INVALID_PAGE_TOKEN"):
            await admin.insights(str(call.conversation), page_token=last)
        async with refused("INVALID_PAGE_TOKEN"):
            await Admin(place.channel, THEIRS).insights(name, page_token=last)
        for most in (-1, 1_001):
            async with refused("INVALID_FIELD", "page_size"):
                await admin.insights(name, page_size=most)
        for unknown in ("nowhere", str(uuid.uuid4()), "no\0where"):
            async with refused("CONVERSATION_NOT_FOUND"):
                await admin.insights(unknown)
