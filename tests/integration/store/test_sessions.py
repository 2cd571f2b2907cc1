"""Sessions against a real PostgreSQL: one owner at a time, nothing told that is not stored, an end for those nobody resumes."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from fakes.postgres import make_tenant
from malha.audio.session_ids import new_session_id
from malha.runtime.errors import FailedPrecondition, Internal, InvalidArgument, MalhaError, NotFound
from malha.store import sessions as module
from malha.store.database import Database
from malha.store.group_commit import GroupCommit
from malha.store.ledger import Entry, Ledger
from malha.store.session_updates import SessionMoved, StoredEvent
from malha.store.sessions import Ending, Held, Sessions
from malha.store.settings import StoreSettings

SECONDS = 20.0


def ending(columns: Mapping[str, Any]) -> Ending:
    return Ending((("summary", {"heard": columns["committed"].get("0", 0)}), ("closed", {"reason": "abandoned"})), 1.5)


@pytest.fixture
async def tenant(database: Database) -> uuid.UUID:
    return await make_tenant(database)


@pytest.fixture
async def sessions(database: Database) -> Sessions:
    return Sessions(database, ending, 2)


@pytest.fixture
async def writer(store: StoreSettings) -> AsyncIterator[GroupCommit]:
    async with GroupCommit(store) as writer:
        yield writer


class Told:
    """A session's client and owner: what was told, how far it is, and what ended it."""

    def __init__(self, writer: GroupCommit, held: Held) -> None:
        self.seqs: list[int] = []
        self.position = 0
        self.failures: list[MalhaError] = []
        self.ledger = Ledger(writer, held, lambda: Position(self.position), self.failures.append)

    def say(self, text: str, *, last: bool = False) -> None:
        seq = self.ledger.next_seq()
        self.position += 100
        event = StoredEvent(seq, "transcript", {"text": text}, position=self.position)
        self.ledger.append(Entry(event, lambda: self.seqs.append(seq), last=last))


class Position:
    def __init__(self, position: int) -> None:
        self.position = position

    def columns(self) -> dict[str, Mapping[str, Any]]:
        return {"committed": {"0": self.position}, "segment_ordinals": {}, "noise_floors": {}, "flags": {"rate": 16_000}}


async def begin(sessions: Sessions, tenant: uuid.UUID, **given: str) -> Held:
    return await sessions.open(uuid.UUID(new_session_id()), tenant, given.get("principal", "p"), given.get("conversation", ""), b"config")


async def row(database: Database, tenant: uuid.UUID, session: uuid.UUID) -> Any:
    async with database.tenant_tx(tenant) as connection:
        return await connection.fetchrow(
            "SELECT live_session.*, conversation.status, conversation.duration_seconds FROM live_session"
            " JOIN conversation ON conversation.id = conversation_id WHERE live_session.session_id = $1",
            session,
        )


async def test_what_was_told_is_replayed_to_the_next_owner_and_the_first_is_told_nothing_more(
    sessions: Sessions, writer: GroupCommit, tenant: uuid.UUID
) -> None:
    held = await begin(sessions, tenant)
    first = Told(writer, held)
    for text in ("one", "two", "three"):
        first.say(text)
    await first.ledger.settled()
    assert first.seqs == [1, 2, 3]

    resumed = await sessions.resume(held.resume_token, tenant, "p", after_seq=1)
    assert [(event.seq, event.body["text"], event.position) for event in resumed.events] == [(2, "two", 200), (3, "three", 300)]
    assert (resumed.config, resumed.over, resumed.held.last_seq) == (b"config", False, 3)
    assert resumed.columns["committed"] == {"0": 300}

    first.say("four")
    with pytest.raises(SessionMoved):
        await first.ledger.settled()
    assert first.seqs == [1, 2, 3]
    assert [type(error) for error in first.failures] == [SessionMoved]

    second = Told(writer, resumed.held)
    second.say("four, heard again")
    await second.ledger.settled()
    assert second.seqs == [4]
    again = await sessions.resume(resumed.held.resume_token, tenant, "p", after_seq=0)
    assert [event.body["text"] for event in again.events] == ["one", "two", "three", "four, heard again"]


async def test_a_call_whose_event_cannot_be_told_ends_alone(sessions: Sessions, writer: GroupCommit, tenant: uuid.UUID) -> None:
    broken, other = Told(writer, await begin(sessions, tenant)), Told(writer, await begin(sessions, tenant))

    def defect() -> None:
        raise ValueError

    broken.ledger.append(Entry(StoredEvent(broken.ledger.next_seq(), "transcript", {}, position=0), defect))
    other.say("one")
    await other.ledger.settled()
    with pytest.raises(Internal):
        await broken.ledger.settled()
    assert [type(error) for error in broken.failures] == [Internal]
    other.say("two")
    await other.ledger.settled()
    assert (other.seqs, other.failures) == ([1, 2], [])


async def test_a_call_whose_state_cannot_be_stored_ends_alone(sessions: Sessions, writer: GroupCommit, tenant: uuid.UUID) -> None:
    broken, other = Told(writer, await begin(sessions, tenant)), Told(writer, await begin(sessions, tenant))
    broken.position = object()  # type: ignore[assignment]  # no JSON
    broken.ledger.save()
    other.say("one")
    with pytest.raises(Internal):
        await broken.ledger.settled()
    await other.ledger.settled()
    assert other.seqs == [1]


async def test_a_closed_ledger_tells_nothing_more(sessions: Sessions, writer: GroupCommit, tenant: uuid.UUID) -> None:
    told = Told(writer, await begin(sessions, tenant))
    told.say("one")
    told.ledger.close()
    assert told.ledger.idle
    other = Told(writer, await begin(sessions, tenant))
    other.say("one")
    await other.ledger.settled()
    assert (told.seqs, told.failures) == ([], [])


async def test_events_decided_while_others_are_stored_keep_their_order(sessions: Sessions, writer: GroupCommit, tenant: uuid.UUID) -> None:
    told = Told(writer, await begin(sessions, tenant))
    for number in range(50):
        told.say(str(number))
        if number % 7 == 0:
            await asyncio.sleep(0.002)
    await told.ledger.settled()
    assert told.seqs == list(range(1, 51))
    assert told.ledger.idle
    assert told.ledger.stored is not None
    assert told.ledger.stored.position == 5000


async def test_a_token_holds_until_its_successor_was_used(sessions: Sessions, tenant: uuid.UUID) -> None:
    held = await begin(sessions, tenant)
    lost_answer = await sessions.resume(held.resume_token, tenant, "p", 0)
    second = await sessions.resume(held.resume_token, tenant, "p", 0)  # the client never saw the first answer
    assert second.held.epoch == lost_answer.held.epoch + 1
    third = await sessions.resume(second.held.resume_token, tenant, "p", 0)
    for stale in (held.resume_token, lost_answer.held.resume_token):
        with pytest.raises(NotFound) as raised:
            await sessions.resume(stale, tenant, "p", 0)
        assert raised.value.reason == "SESSION_UNKNOWN"
    await sessions.resume(third.held.resume_token, tenant, "p", 0)


async def test_a_stolen_or_made_up_token_opens_nothing(sessions: Sessions, database: Database, tenant: uuid.UUID) -> None:
    held = await begin(sessions, tenant)
    other = await make_tenant(database)
    made_up = f"{held.session_id}.{'x' * 43}"
    for token, whose, principal in (
        (held.resume_token, other, "p"),
        (held.resume_token, tenant, "another token of the same tenant"),
        (made_up, tenant, "p"),
        ("no token", tenant, "p"),
        ("", tenant, "p"),
    ):
        with pytest.raises(NotFound):
            await sessions.resume(token, whose, principal, 0)
    assert (await row(database, tenant, held.session_id))["epoch"] == 1


async def test_a_client_cannot_have_seen_what_was_never_told(sessions: Sessions, tenant: uuid.UUID, database: Database) -> None:
    held = await begin(sessions, tenant)
    with pytest.raises(InvalidArgument):
        await sessions.resume(held.resume_token, tenant, "p", 7)
    assert (await row(database, tenant, held.session_id))["epoch"] == 1


async def test_opening_again_is_the_same_session_until_something_was_told(
    sessions: Sessions, writer: GroupCommit, database: Database, tenant: uuid.UUID
) -> None:
    session = uuid.UUID(new_session_id())
    await sessions.open(session, tenant, "p", "call 7", b"")
    again = await sessions.open(session, tenant, "p", "call 7", b"")
    assert again.epoch == 2
    told = Told(writer, again)
    told.say("something")
    await told.ledger.settled()
    other = await make_tenant(database)
    for whose, principal in ((tenant, "p"), (tenant, "q"), (other, "p")):
        with pytest.raises(FailedPrecondition) as raised:
            await sessions.open(session, whose, principal, "", b"")
        assert raised.value.reason == "SESSION_EXISTS"
    async with database.tenant_tx(tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM conversation") == 1


async def test_calls_of_one_conversation_that_begin_at_once_share_it(sessions: Sessions, database: Database, tenant: uuid.UUID) -> None:
    calls = await asyncio.gather(*(begin(sessions, tenant, conversation="ticket 12") for _ in range(8)))
    assert len({call.conversation_id for call in calls}) == 1
    by_id = await begin(sessions, tenant, conversation=str(calls[0].conversation_id))
    assert by_id.conversation_id == calls[0].conversation_id


async def test_a_closed_session_tells_its_last_events_and_moves_to_nobody(
    sessions: Sessions, writer: GroupCommit, database: Database, tenant: uuid.UUID
) -> None:
    held = await begin(sessions, tenant)
    told = Told(writer, held)
    told.say("one")
    told.say("bye", last=True)
    await told.ledger.settled()
    await sessions.closed(held, 12.5)
    resumed = await sessions.resume(held.resume_token, tenant, "p", 1)
    assert resumed.over
    assert [event.body["text"] for event in resumed.events] == ["bye"]
    kept = await row(database, tenant, held.session_id)
    assert (kept["state"], kept["epoch"], kept["status"], kept["duration_seconds"]) == ("closed", 1, "closed", 12.5)


async def test_a_session_nobody_resumes_is_finished_once(
    sessions: Sessions, writer: GroupCommit, database: Database, tenant: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DETACHED_SECONDS", 0.2)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    held = await begin(sessions, tenant)
    told = Told(writer, held)
    told.say("one")
    await told.ledger.settled()
    await sessions.detach(held)
    processes = [Sessions(database, ending, 2) for _ in range(3)]
    for process in processes:
        await process.start()
    try:
        async with asyncio.timeout(SECONDS):
            while (await row(database, tenant, held.session_id))["state"] != "abandoned":
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)  # time for the others to do it again
    finally:
        for process in processes:
            await process.close()
    kept = await row(database, tenant, held.session_id)
    assert (kept["last_seq"], kept["status"], kept["duration_seconds"]) == (3, "abandoned", 1.5)
    late = await sessions.resume(held.resume_token, tenant, "p", 0)
    assert late.over
    assert [(event.seq, event.kind, event.body) for event in late.events[1:]] == [
        (2, "summary", {"heard": 100}),
        (3, "closed", {"reason": "abandoned"}),
    ]


async def test_a_resumed_session_is_not_finished(
    sessions: Sessions, database: Database, tenant: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DETACHED_SECONDS", 0.1)
    held = await begin(sessions, tenant)
    await sessions.detach(held)
    resumed = await sessions.resume(held.resume_token, tenant, "p", 0)
    await asyncio.sleep(0.2)
    await sessions._abandon(held.session_id, tenant)
    kept = await row(database, tenant, held.session_id)
    assert (kept["state"], kept["epoch"]) == ("open", resumed.held.epoch)


async def test_sessions_of_a_process_that_is_gone_are_detached_by_another(
    database: Database, tenant: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OWNER_LOST_SECONDS", 2.0)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.1)
    gone, alive, other = (Sessions(database, ending, 2) for _ in range(3))
    for process in (gone, alive, other):
        await process.start()
    lost, kept = await begin(gone, tenant), await begin(alive, tenant)
    assert gone._task is not None
    gone._task.cancel()  # as if killed: it says nothing
    try:
        async with asyncio.timeout(SECONDS):
            while (await row(database, tenant, lost.session_id))["state"] != "detached":
                await asyncio.sleep(0.05)
        assert (await row(database, tenant, kept.session_id))["state"] == "open"
    finally:
        await alive.close()
        await other.close()
