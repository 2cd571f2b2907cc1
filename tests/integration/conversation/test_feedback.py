"""Feedback: kept, listed, averaged."""

import time
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import REGISTRY

from malha.api.conversation.v1 import feedback_pb2 as api
from malha.runtime.errors import InvalidArgument, NotFound

SHOWN, USED = api.INSIGHT_ACTION_SHOWN, api.INSIGHT_ACTION_USED


def at(second: int) -> Timestamp:
    return Timestamp(seconds=1_700_000_000 + second)


@pytest.fixture
async def kept(caller: Any) -> str:
    await caller.ask("UpsertConversation", conversation_id="c")
    return "c"


async def test_feedback_comes_back_as_it_was_given(caller: Any, kept: str) -> None:
    insight = str(await caller.insight(kept))
    given = {"conversation_id": kept, "insight_id": insight, "thumb_up": False, "stars": 2, "nps": 0, "comment": "não\x00", "problem": True}
    made = await caller.ask("CreateFeedback", **given, action=USED, author="op-7", time=at(5))
    told = (await caller.ask("ListFeedback")).feedback[0]
    assert told.id == made.feedback_id
    assert (told.insight_id, told.HasField("thumb_up"), told.thumb_up, told.stars, told.HasField("nps")) == (insight, True, False, 2, True)
    assert (told.comment, told.problem, told.action, told.author, told.time) == ("não", True, USED, "op-7", at(5))


async def test_an_insight_alone_names_its_conversation(caller: Any, kept: str) -> None:
    insight = str(await caller.insight(kept))
    counted = REGISTRY.get_sample_value("malha_insight_feedback_total", {"type": "next_step", "action": "used"}) or 0
    for action in (SHOWN, USED):
        await caller.ask("CreateFeedback", insight_id=insight, action=action)
    assert REGISTRY.get_sample_value("malha_insight_feedback_total", {"type": "next_step", "action": "used"}) == counted + 1
    listed = await caller.ask("ListFeedback", conversation_id=kept, insight_id=insight)
    assert [one.action for one in listed.feedback] == [USED, SHOWN]
    assert listed.feedback[0].time.seconds >= time.time() - 600


async def test_averages_are_of_the_range_asked_for(caller: Any, kept: str) -> None:
    for second, (stars, nps) in enumerate([(5, 10), (4, 9), (3, 8), (1, 6), (None, 0), (None, None)]):
        await caller.ask("CreateFeedback", conversation_id=kept, stars=stars, nps=nps, thumb_up=second < 4, time=at(second))
    await caller.ask("CreateFeedback", conversation_id=kept, problem=True, time=at(100))
    first = await caller.ask("ListFeedback", page_size=2, time_until=at(100))
    summary = first.summary
    assert (summary.count, summary.thumbs_up, summary.thumbs_down, summary.problems) == (6, 4, 2, 0)
    assert (summary.stars_count, summary.mean_stars) == (4, 3.25)
    assert (summary.nps_count, summary.nps_score) == (5, 0.0)
    second = await caller.ask("ListFeedback", page_size=2, time_until=at(100), page_token=first.next_page_token)
    assert not second.HasField("summary")
    assert [one.time for one in (*first.feedback, *second.feedback)] == [at(5), at(4), at(3), at(2)]
    promoters = (await caller.ask("ListFeedback", time_from=at(0), time_until=at(2))).summary
    assert (promoters.nps_score, promoters.mean_stars) == (100.0, 4.5)
    nobody = (await caller.ask("ListFeedback", time_from=at(100))).summary
    assert (nobody.count, nobody.problems, nobody.HasField("mean_stars"), nobody.HasField("nps_score")) == (1, 1, False, False)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "stars"),
        ({"stars": 0}, "stars"),
        ({"stars": 6}, "stars"),
        ({"nps": 11}, "nps"),
        ({"nps": -1}, "nps"),
        ({"action": SHOWN}, "insight_id"),
        ({"comment": "x" * 4001}, "comment"),
        ({"conversation_id": "", "stars": 1}, "conversation_id"),
        ({"stars": 1, "time": Timestamp(seconds=int(time.time()) + 86_400)}, "time"),  # made when the run begins, which may take hours
        ({"stars": 1, "time": Timestamp(seconds=-(10**13))}, "time"),
    ],
)
async def test_feedback_that_says_nothing_or_too_much_is_refused(caller: Any, kept: str, fields: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await caller.ask("CreateFeedback", **{"conversation_id": kept, **fields})
    assert list(raised.value.violations) == [field]
    assert await caller.rows("feedback") == 0


async def test_an_insight_of_elsewhere_is_not_known(caller: Any, stranger: Any, kept: str) -> None:
    insight = str(await caller.insight(kept))
    await caller.ask("UpsertConversation", conversation_id="other")
    await stranger.ask("UpsertConversation", conversation_id=kept)
    for who, fields in (
        (stranger, {"insight_id": insight}),
        (stranger, {"insight_id": insight, "conversation_id": kept}),
        (caller, {"insight_id": insight, "conversation_id": "other"}),
        (caller, {"insight_id": "no-uuid"}),
    ):
        with pytest.raises(NotFound, match="there is no such insight"):
            await who.ask("CreateFeedback", stars=1, **fields)
    with pytest.raises(NotFound):
        await stranger.ask("ListFeedback", insight_id=insight)
