"""The group commit against a real PostgreSQL: what it says is stored is, once, whatever is lost meanwhile."""

import asyncio
import dataclasses
import math
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.postgres import Postgres, make_tenant
from malha.runtime.errors import InvalidArgument, Unavailable
from malha.store.database import Database
from malha.store.group_commit import BATCH_COMMITS, GroupCommit
from malha.store.session_updates import SessionMoved, SessionUpdate, StoredEvent, StoredSegment
from malha.store.settings import StoreSettings


async def open_sessions(database: Database, number: int) -> list[uuid.UUID]:
    """Sessions of a new tenant, at epoch 1."""
    tenant = await make_tenant(database)
    async with database.tenant_tx(tenant) as connection:
        conversation = await connection.fetchval("INSERT INTO conversation (tenant_id) VALUES ($1) RETURNING id", tenant)
        rows = await connection.fetch(
            "INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config)"
            " SELECT malha_uuid7(), $1, $2, '', '', '' FROM generate_series(1, $3) RETURNING session_id",
            tenant,
            conversation,
            number,
        )
    return [row["session_id"] for row in rows]


async def take_over(database: Database, session: uuid.UUID) -> int:
    async with database.ingest_tx() as connection:
        epoch: int = await connection.fetchval("UPDATE live_session SET epoch = epoch + 1 WHERE session_id = $1 RETURNING epoch", session)
    return epoch


def step(session: uuid.UUID, seq: int, epoch: int = 1, **given: Any) -> SessionUpdate:
    """An update with one final."""
    segment = StoredSegment(f"0-{seq}", 1, 0, "agent", float(seq), seq + 1.0, f"frase {seq}", [{"word": "frase"}], 0.9)
    event = StoredEvent(seq, "final", {"text": f"frase {seq}"}, segment.segment_id, 1, seq * 1600)
    return SessionUpdate(session, epoch, seq, {"0": seq * 1600}, {"0": seq}, events=[event], segments=[segment], **given)


@pytest.fixture
async def writer(store: StoreSettings) -> AsyncIterator[GroupCommit]:
    async with GroupCommit(store) as writer:
        yield writer


async def stored(database: Database, session: uuid.UUID) -> dict[str, Any]:
    async with database.ingest_tx() as connection:
        live = await connection.fetchrow("SELECT * FROM live_session WHERE session_id = $1", session)
        events = await connection.fetch("SELECT * FROM event WHERE session_id = $1 ORDER BY seq", session)
        segments = await connection.fetch("SELECT * FROM segment WHERE session_id = $1 ORDER BY segment_id", session)
    return {"live": live, "events": events, "segments": segments}


async def test_what_is_committed_is_stored(database: Database, writer: GroupCommit) -> None:
    (session,) = await open_sessions(database, 1)
    await writer.commit(step(session, 1, flags={"held": True}))
    found = await stored(database, session)
    assert (found["live"]["last_seq"], found["live"]["committed"], found["live"]["flags"]) == (1, {"0": 1600}, {"held": True})
    assert [(e["seq"], e["kind"], e["segment_id"], e["revision"], e["position"], e["body"]) for e in found["events"]] == [
        (1, "final", "0-1", 1, 1600, {"text": "frase 1"})
    ]
    assert [(s["text"], s["words"], s["role"], s["state"]) for s in found["segments"]] == [
        ("frase 1", [{"word": "frase"}], "agent", "final")
    ]
    assert found["segments"][0]["tenant_id"] == found["events"][0]["tenant_id"] == found["live"]["tenant_id"]


async def test_commits_at_the_same_time_become_durable_together(database: Database, writer: GroupCommit) -> None:
    sessions = await open_sessions(database, 20)
    before = _batches()
    await asyncio.gather(*(writer.commit(step(session, seq)) for seq in range(1, 11) for session in sessions))
    assert _batches() - before < 20
    for session in sessions:
        found = await stored(database, session)
        assert [event["seq"] for event in found["events"]] == list(range(1, 11))
        assert len(found["segments"]) == 10


async def test_the_same_update_again_is_a_success_and_changes_nothing(database: Database, writer: GroupCommit) -> None:
    (session,) = await open_sessions(database, 1)
    await writer.commit(step(session, 1))
    again = dataclasses.replace(step(session, 1), events=[StoredEvent(1, "other", {})])
    await writer.commit(again)
    assert [event["kind"] for event in (await stored(database, session))["events"]] == ["final"]
    await writer.commit(step(session, 2))
    await writer.commit(step(session, 1))
    assert (await stored(database, session))["live"]["last_seq"] == 2


async def test_an_older_revision_never_replaces_a_newer_one(database: Database, writer: GroupCommit) -> None:
    (session,) = await open_sessions(database, 1)
    base = step(session, 1).segments[0]
    for revision, text in ((3, "três"), (2, "dois"), (3, "outra vez três")):
        segment = dataclasses.replace(base, revision=revision, text=text, state="amended")
        await writer.commit(SessionUpdate(session, 1, 1, segments=[segment]))
    assert [(s["revision"], s["text"]) for s in (await stored(database, session))["segments"]] == [(3, "três")]


async def test_who_lost_a_session_stores_nothing_more(database: Database, writer: GroupCommit) -> None:
    lost, kept = await open_sessions(database, 2)
    assert await take_over(database, lost) == 2
    results = await asyncio.gather(*(writer.commit(step(session, 1)) for session in (lost, kept)), return_exceptions=True)
    assert isinstance(results[0], SessionMoved)
    assert results[0].reason == "SESSION_MOVED"
    assert results[1] is None
    assert (await stored(database, lost))["events"] == []
    await writer.commit(step(lost, 1, epoch=2))
    with pytest.raises(SessionMoved):
        await writer.commit(step(uuid.uuid4(), 1))


async def test_a_bad_value_fails_alone(database: Database, writer: GroupCommit) -> None:
    sessions = await open_sessions(database, 9)
    bad = dataclasses.replace(step(sessions[4], 1), events=[StoredEvent(0, "a seq of 0 breaks a rule of the table", {})])
    await asyncio.sleep(0)
    results = await asyncio.gather(
        *(writer.commit(bad if session == sessions[4] else step(session, 1)) for session in sessions), return_exceptions=True
    )
    assert [type(result) for result in results if result is not None] == [InvalidArgument]
    assert isinstance(results[4], InvalidArgument)
    for session in sessions:
        assert len((await stored(database, session))["events"]) == (session != sessions[4])
    assert (await stored(database, sessions[4]))["live"]["last_seq"] == 0, "all of an update, or nothing"


async def test_a_detached_session_says_since_when(database: Database, writer: GroupCommit) -> None:
    (session,) = await open_sessions(database, 1)
    await writer.commit(SessionUpdate(session, 1, 0, state="detached"))
    live = (await stored(database, session))["live"]
    assert live["state"] == "detached"
    assert live["detached_at"] is not None
    await writer.commit(SessionUpdate(session, 1, 0, state="open"))
    assert (await stored(database, session))["live"]["detached_at"] is None


async def test_lost_connections_lose_nothing(database: Database, writer: GroupCommit, postgres: Postgres) -> None:
    sessions = await open_sessions(database, 10)

    async def call(session: uuid.UUID) -> None:
        for seq in range(1, 31):
            await writer.commit(step(session, seq))

    calls = asyncio.gather(*(call(session) for session in sessions))
    killed = 0
    while not calls.done() and killed < 10:
        await asyncio.sleep(0.02)
        killed += await terminate_writers(postgres)
    await calls
    assert killed
    for session in sessions:
        assert [event["seq"] for event in (await stored(database, session))["events"]] == list(range(1, 31))


async def test_without_a_database_a_commit_fails_at_its_deadline_and_no_sooner() -> None:
    absent = StoreSettings(_env_file=None, database_url="postgresql://x:y@127.0.0.1:1/z")
    async with GroupCommit(absent) as writer:
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable) as caught:
            await writer.commit(step(uuid.uuid4(), 1), deadline_seconds=0.3)
        assert asyncio.get_running_loop().time() - began >= 0.29
    assert caught.value.reason == "STORE_UNAVAILABLE"


async def test_it_makes_the_partitions_of_the_days_to_come(database: Database, store: StoreSettings) -> None:
    (session,) = await open_sessions(database, 1)
    owner = await asyncpg.connect(store.owner_url)
    try:
        newest = "SELECT max(relname)::text FROM pg_class WHERE relname ~ '^event_[0-9]+$' AND relkind = 'r'"
        last = await owner.fetchval(newest)
        await owner.execute(f"DROP TABLE {last}")
        async with GroupCommit(store) as writer:
            async with owner.transaction():
                await owner.execute("LOCK TABLE event_default IN ACCESS SHARE MODE")  # as a backup does
                await writer.commit(step(session, 1))
            assert await owner.fetchval(newest) < last
        async with GroupCommit(store) as writer:
            await writer.commit(step(session, 2))
        assert await owner.fetchval(newest) == last
    finally:
        await owner.close()


async def test_at_the_end_what_was_asked_for_is_stored(database: Database, store: StoreSettings) -> None:
    sessions = await open_sessions(database, 5)
    async with GroupCommit(store) as writer:
        commits = [asyncio.create_task(writer.commit(step(session, 1))) for session in sessions]
        await asyncio.sleep(0)
    await asyncio.gather(*commits)
    with pytest.raises(Unavailable):
        await writer.commit(step(sessions[0], 2))


async def test_behind_a_pooler_it_needs_no_session_of_its_own(database: Database, store: StoreSettings) -> None:
    (session,) = await open_sessions(database, 1)
    async with GroupCommit(store.model_copy(update={"database_pooler": True})) as writer:
        await writer.commit(step(session, 1))
        await writer.commit(step(session, 2))
    assert len((await stored(database, session))["events"]) == 2


@pytest.mark.parametrize("number", [math.nan, math.inf])
async def test_a_time_that_is_no_number_does_not_stop_the_writer(database: Database, writer: GroupCommit, number: float) -> None:
    (session,) = await open_sessions(database, 1)
    odd = dataclasses.replace(step(session, 1).segments[0], end_seconds=number)
    await writer.commit(SessionUpdate(session, 1, 1, segments=[odd]))
    await writer.commit(step(session, 2))


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(0, 2), st.integers(1, 4)),
        st.tuples(st.just("again"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("take over"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("stale"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("bad"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("lose connection"), st.just(0), st.just(0)),
    ),
    max_size=14,
)


@dataclasses.dataclass
class Model:
    """What a session must look like, kept in plain variables."""

    epoch: int = 1
    seq: int = 0
    events: list[int] = dataclasses.field(default_factory=list)
    segments: dict[str, int] = dataclasses.field(default_factory=dict)
    last: SessionUpdate | None = None


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_any_interleaving_stores_what_a_plain_model_says(postgres: Postgres, actions: list[tuple[str, int, int]]) -> None:
    asyncio.run(_follow(postgres, actions))


async def _follow(postgres: Postgres, actions: list[tuple[str, int, int]]) -> None:
    async with postgres.fresh() as store, await Database.connect(store) as database, GroupCommit(store) as writer:
        sessions = await open_sessions(database, 3)
        models = {session: Model() for session in sessions}
        running: list[asyncio.Task[None]] = []
        for action, index, count in actions:
            session = sessions[index]
            model = models[session]
            if action == "commit":
                for _ in range(count):
                    model.seq += 1
                    revision = model.segments.get(f"0-{model.seq % 3}", 0) + 1
                    segment = StoredSegment(f"0-{model.seq % 3}", revision, 0, "agent", 0.0, 1.0, f"t{model.seq}")
                    model.last = SessionUpdate(
                        session, model.epoch, model.seq, events=[StoredEvent(model.seq, "final", {})], segments=[segment]
                    )
                    model.events.append(model.seq)
                    model.segments[segment.segment_id] = revision
                    running.append(asyncio.create_task(writer.commit(model.last)))
            elif action == "again" and model.last is not None and model.last.epoch == model.epoch:
                running.append(asyncio.create_task(writer.commit(model.last)))
            elif action == "take over":
                await asyncio.gather(*running)
                model.epoch = await take_over(database, session)
            elif action == "stale":
                with pytest.raises(SessionMoved):
                    await writer.commit(step(session, 1000, epoch=model.epoch - 1))
            elif action == "bad":
                with pytest.raises(InvalidArgument):
                    await writer.commit(dataclasses.replace(step(session, 1), epoch=model.epoch, events=[StoredEvent(-1, "bad", {})]))
            elif action == "lose connection":
                await terminate_writers(postgres)
        await asyncio.gather(*running)
        for session, model in models.items():
            found = await stored(database, session)
            assert [event["seq"] for event in found["events"]] == model.events
            assert {s["segment_id"]: s["revision"] for s in found["segments"]} == model.segments
            assert (found["live"]["last_seq"], found["live"]["epoch"]) == (model.seq, model.epoch)


async def terminate_writers(postgres: Postgres) -> int:
    """End the connections of group commits, on the server."""
    connection = await asyncpg.connect(postgres.owner_url)
    try:
        killed = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'malha group commit'"
        return len(await connection.fetch(killed))
    finally:
        await connection.close()


def _batches() -> float:
    return next(sample.value for metric in BATCH_COMMITS.collect() for sample in metric.samples if sample.name.endswith("_count"))
