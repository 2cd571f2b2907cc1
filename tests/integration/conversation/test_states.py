"""State: saved, expired, cleaned up, guarded by revisions, bounded."""

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from malha.conversation.service import ConversationService
from malha.conversation.settings import ConversationSettings
from malha.conversation.sweeper import Sweeper
from malha.runtime.errors import Aborted, InvalidArgument, NotFound, ResourceExhausted

VALUE = {"step": 3, "ratio": 0.25, "done": False, "none": None, "name": "Ana", "list": [1, {"deep": [True]}], "empty": {}}


@pytest.fixture
async def kept(caller: Any) -> str:
    await caller.ask("UpsertConversation", conversation_id="c")
    return "c"


async def test_a_value_comes_back_as_it_was(caller: Any, kept: str) -> None:
    await caller.ask("SaveState", conversation_id=kept, key="form", value=VALUE)
    told = await caller.ask("GetState", conversation_id=kept, key="form")
    assert MessageToDict(told.value) == VALUE
    assert not told.state.HasField("expire_time")
    await caller.ask("SaveState", conversation_id=kept, key="a", value={}, ttl=Duration(seconds=60))
    listed = (await caller.ask("ListStates", conversation_id=kept)).states
    assert [state.key for state in listed] == ["a", "form"]
    assert 59 <= listed[0].expire_time.seconds - listed[0].update_time.seconds <= 61
    await caller.ask("DeleteState", conversation_id=kept, key="form")
    for method in ("GetState", "DeleteState"):
        with pytest.raises(NotFound, match="there is no such state"):
            await caller.ask(method, conversation_id=kept, key="form")


async def test_what_has_expired_is_gone_before_it_is_cleaned_up(caller: Any, stranger: Any, kept: str) -> None:
    await stranger.ask("UpsertConversation", conversation_id=kept)
    for who in (caller, stranger):
        for key in ("old", "new", "ever"):
            await who.ask("SaveState", conversation_id=kept, key=key, value={}, ttl=None if key == "ever" else Duration(seconds=600))
        await who.run("UPDATE state SET expires_at = now() - interval '1 second' WHERE key = 'old'")
    for method in ("GetState", "DeleteState"):
        with pytest.raises(NotFound):
            await caller.ask(method, conversation_id=kept, key="old")
    assert [state.key for state in (await caller.ask("ListStates", conversation_id=kept)).states] == ["ever", "new"]
    assert await caller.rows("state") == 3
    assert await Sweeper(caller.database, 60).sweep() == 2
    assert (await caller.rows("state"), await stranger.rows("state")) == (2, 2)


async def test_many_expired_values_are_cleaned_up_in_batches(caller: Any, kept: str) -> None:
    await caller.run(
        "INSERT INTO state (tenant_id, conversation_id, key, value, expires_at)"
        " SELECT tenant_id, id, number::text, '{}', now() - interval '1 second' FROM conversation, generate_series(1, 1234) AS number"
    )
    assert await Sweeper(caller.database, 60).sweep() == 1234
    assert await caller.rows("state") == 0


async def test_a_sweeper_outlives_a_defect(caller: Any) -> None:
    again = asyncio.Event()

    class Broken(Sweeper):
        runs = 0

        async def sweep(self) -> int:
            Broken.runs += 1
            if Broken.runs == 1:
                raise ZeroDivisionError
            again.set()
            return 0

    sweeper = Broken(caller.database, 0.01)
    sweeper.start()
    await asyncio.wait_for(again.wait(), 60)
    await sweeper.close()


async def test_expired_state_can_be_saved_anew(caller: Any, kept: str) -> None:
    await caller.ask("SaveState", conversation_id=kept, key="k", value={"a": 1}, ttl=Duration(seconds=600))
    await caller.run("UPDATE state SET expires_at = now() - interval '1 second'")
    await caller.ask("SaveState", conversation_id=kept, key="k", value={"a": 2}, if_revision=0)
    assert (await caller.ask("GetState", conversation_id=kept, key="k")).value == {"a": 2}


async def test_a_save_with_a_revision_overwrites_nobody(caller: Any, kept: str) -> None:
    save = {"conversation_id": kept, "key": "k"}
    first = (await caller.ask("SaveState", value={"n": 1}, if_revision=0, **save)).state.revision
    with pytest.raises(Aborted):
        await caller.ask("SaveState", value={"n": 9}, if_revision=0, **save)
    second = (await caller.ask("SaveState", value={"n": 2}, if_revision=first, **save)).state.revision
    assert second > first
    with pytest.raises(Aborted) as raised:
        await caller.ask("SaveState", value={"n": 9}, if_revision=first, **save)
    assert raised.value.reason == "STATE_CHANGED"
    with pytest.raises(Aborted):
        await caller.ask("SaveState", conversation_id=kept, key="absent", value={}, if_revision=5)
    assert (await caller.ask("SaveState", value={"n": 3}, **save)).state.revision > second
    assert (await caller.ask("GetState", **save)).value == {"n": 3}


async def test_state_is_bounded(caller: Any, kept: str) -> None:
    service = ConversationService(
        caller.database, ConversationSettings(_env_file=None, conversation_state_bytes=100, conversation_state_keys=2)
    )
    caller.service = service
    await caller.ask("SaveState", conversation_id=kept, key="a", value={"v": "x" * 92})
    for value in ({"v": "x" * 93}, {"v": "é" * 47}):
        with pytest.raises(InvalidArgument, match="at most 100 are kept") as raised:
            await caller.ask("SaveState", conversation_id=kept, key="a", value=value)
        assert (raised.value.reason, list(raised.value.violations)) == ("STATE_TOO_LARGE", ["value"])
    await caller.ask("SaveState", conversation_id=kept, key="b", value={})
    with pytest.raises(ResourceExhausted):
        await caller.ask("SaveState", conversation_id=kept, key="c", value={})
    await caller.ask("SaveState", conversation_id=kept, key="b", value={"again": 1})


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "", "value": {}},
        {"key": "\x00", "value": {}},
        {"key": "k"},
        {"key": "k" * 129, "value": {}},
        {"key": "k", "value": {"n": float("nan")}},
        {"key": "k", "value": {"n": [float("inf")]}},
        {"key": "k", "value": {}, "ttl": Duration()},
        {"key": "k", "value": {}, "ttl": Duration(seconds=-1)},
        {"key": "k", "value": {}, "ttl": Duration(seconds=10**11)},
        {"key": "k", "value": {}, "if_revision": -1},
    ],
)
async def test_bad_state_is_refused(caller: Any, kept: str, fields: Any) -> None:
    with pytest.raises(InvalidArgument):
        await caller.ask("SaveState", conversation_id=kept, **fields)
    assert await caller.rows("state") == 0


async def test_nul_in_a_value_is_left_out(caller: Any, kept: str) -> None:
    await caller.ask("SaveState", conversation_id=kept, key="a\x00b", value={"k\x00": "v\x00w"})
    assert (await caller.ask("GetState", conversation_id=kept, key="ab")).value == {"k": "vw"}
