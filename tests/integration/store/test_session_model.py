"""Any interleaving of events, lost connections, takeovers and a database that is killed: nothing durable is lost, nothing is told twice.

Two processes, each with its own group commit, and one session that moves between them, against a real PostgreSQL.
"""

import asyncio
import uuid
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fakes.postgres import Postgres, make_tenant
from malha.audio.session_ids import new_session_id
from malha.runtime.errors import FailedPrecondition, MalhaError, NotFound, Unavailable
from malha.store.database import Database
from malha.store.group_commit import GroupCommit
from malha.store.ledger import Entry, Ledger
from malha.store.session_updates import StoredEvent
from malha.store.sessions import DETACHED_SECONDS, Ending, Held, Resumed, Sessions

T = TypeVar("T")
ATTEMPTS = 20
SETTLE_SECONDS = 30.0
PROCESSES = 2


def ending(_: Mapping[str, Any]) -> Ending:
    return Ending((("summary", {"text": "nobody came back"}), ("closed", {"text": "abandoned"})), 1.0)


@dataclass
class Position:
    position: int

    def columns(self) -> dict[str, Mapping[str, Any]]:
        return {"committed": {"position": self.position}, "segment_ordinals": {}, "noise_floors": {}, "flags": {}}


@dataclass
class World:
    """What all examples share."""

    tenant: uuid.UUID
    owner: asyncpg.Connection
    """The database's administrator: it looks, and it kills."""
    processes: list[tuple[Sessions, GroupCommit]]
    runner: asyncio.Runner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


@dataclass
class Client:
    """Whoever holds one connection: all it was told, by number."""

    told: dict[int, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def hear(self, seq: int, text: str) -> None:
        if seq != max(self.told, default=0) + 1:
            self.faults.append(f"{seq} came after {max(self.told, default=0)}")
        self.told[seq] = text


class Owner:
    """A process that has, or had, the session."""

    def __init__(self, writer: GroupCommit, held: Held, client: Client, position: int) -> None:
        self.held = held
        self.client = client
        self.position = position
        self.limit: int | None = None
        """The last number there was when another took over."""
        self.ledger: Ledger[Position] = Ledger(writer, held, lambda: Position(self.position), self._failed, Position(position))
        self.failure: MalhaError | None = None
        self.dead = False

    def decide(self) -> None:
        if self.dead:
            return
        seq = self.ledger.next_seq()
        self.position += 100
        text = f"{self.held.epoch}-{seq}"
        self.ledger.append(Entry(StoredEvent(seq, "transcript", {"text": text}, position=self.position), lambda: self._tell(seq, text)))

    def _tell(self, seq: int, text: str) -> None:
        if self.limit is not None and seq > self.limit:
            self.client.faults.append(f"{seq} was told by an owner that had lost the session at {self.limit}")
        if self.limit is None:
            self.client.hear(seq, text)

    def _failed(self, error: MalhaError) -> None:
        self.failure = error


class SessionMachine(RuleBasedStateMachine):
    """One session, its owners and the tokens its client has seen."""

    world: World

    @initialize(process=st.integers(0, PROCESSES - 1))
    def open(self, process: int) -> None:
        self.session = uuid.UUID(new_session_id())
        self.over = False
        self.owners: list[Owner] = []
        self.clients: list[Client] = []
        self.seen: list[str] = []
        self.present(self.world.run(self._open(process)), process, Client(), 0)

    async def _open(self, process: int) -> Held:
        return await self.world.processes[process][0].open(self.session, self.world.tenant, "p", "", b"")

    def present(self, held: Held, process: int, client: Client, position: int) -> None:
        """The session has another owner."""
        for owner in self.owners:
            owner.limit = held.last_seq if owner.limit is None else owner.limit
        self.current, self.previous = held.resume_token, ""
        self.seen.append(held.resume_token)
        self.clients.append(client)
        self.owners.append(Owner(self.world.processes[process][1], held, client, position))

    @rule(which=st.integers(0, 3), count=st.integers(1, 4))
    def decide(self, which: int, count: int) -> None:
        """The owner decides; or one does that does not know yet that it lost the session."""
        owner = self.owners[-1 - min(which, len(self.owners) - 1)]
        for _ in range(count):
            self.world.run(_call(owner.decide))

    @rule(milliseconds=st.integers(0, 20))
    def time_passes(self, milliseconds: int) -> None:
        self.world.run(asyncio.sleep(milliseconds / 1000))

    @rule()
    def settle(self) -> None:
        self.world.run(self._settle(self.owners[-1]))

    async def _settle(self, owner: Owner) -> None:
        async with asyncio.timeout(SETTLE_SECONDS):
            try:
                await owner.ledger.settled()
            except MalhaError as error:
                assert owner.limit is not None or self.over, error  # only a loser may fail  # noqa: PT017 - it is not always raised

    @rule(everything=st.booleans())
    def kill_connections(self, everything: bool) -> None:
        self.world.run(
            self.world.owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND ($1 OR application_name = 'malha group commit')",
                everything,
            )
        )

    @rule()
    def process_dies(self) -> None:
        """What the owner has in hand is stored or not; nobody is told."""
        self.owners[-1].dead = True
        self.owners[-1].ledger.close()

    @rule()
    def detach(self) -> None:
        owner = self.owners[-1]
        self.world.run(self._settle(owner))
        self.world.run(_retried(lambda: self.world.processes[0][0].detach(owner.held)))

    @rule(which=st.sampled_from(["current", "previous"]), process=st.integers(0, PROCESSES - 1), answered=st.booleans())
    def resume(self, which: str, process: int, answered: bool) -> None:
        token = (self.previous if which == "previous" else "") or self.current
        client, before = Client(), self.clients[-1]
        if answered:
            client.told = dict(before.told)
        resumed = self.world.run(self._resume(token, process, max(client.told, default=0)))
        assert resumed.over == self.over
        for event in resumed.events:
            client.hear(event.seq, event.body["text"])
        if self.over:
            assert list(client.told) == list(range(1, resumed.held.last_seq + 1))
            self.clients.append(client)
            return
        self.present(resumed.held, process, client, resumed.columns["committed"].get("position", 0))
        self.previous = token
        assert max(client.told, default=0) == resumed.held.last_seq

    async def _resume(self, token: str, process: int, after_seq: int) -> Resumed:
        sessions, tenant = self.world.processes[process][0], self.world.tenant
        return await _retried(lambda: sessions.resume(token, tenant, "p", after_seq))

    @rule(principal=st.sampled_from(["p", "thief"]), number=st.integers(0, 1000))
    def resume_with_what_opens_nothing(self, principal: str, number: int) -> None:
        stale = [token for token in self.seen if token not in {self.current, self.previous}] if principal == "p" else self.seen
        tokens = [*stale, f"{self.session}.made-up", "", "no token"]
        token = tokens[number % len(tokens)]  # what is drawn must not depend on how fast the database was
        with pytest.raises(NotFound):
            self.world.run(_retried(lambda: self.world.processes[0][0].resume(token, self.world.tenant, principal, 0)))

    @rule(process=st.integers(0, PROCESSES - 1))
    def open_again(self, process: int) -> None:
        """Right where nothing was stored; refused otherwise."""
        self.world.run(self._settle(self.owners[-1]))
        try:
            held = self.world.run(_retried(lambda: self._open(process)))
        except FailedPrecondition:
            assert self.over or self.world.run(self._last_seq()) > 0
            return
        assert not self.over
        assert held.last_seq == self.world.run(self._last_seq()) == 0
        self.present(held, process, Client(), 0)

    @rule()
    def nobody_comes_back(self) -> None:
        """Both processes find out at once."""
        if self.over:
            return
        long_ago = "UPDATE live_session SET detached_at = now() - make_interval(secs => $2) WHERE session_id = $1 AND state = 'detached'"
        changed = self.world.run(self.world.owner.execute(long_ago, self.session, 2 * DETACHED_SECONDS))
        self.world.run(self._abandon())
        state = self.world.run(self.world.owner.fetchval("SELECT state FROM live_session WHERE session_id = $1", self.session))
        if changed == "UPDATE 1":
            assert state in {"abandoned", "open"}  # open: the owner was alive, and stored something meanwhile
        self.over = state == "abandoned"
        if self.over:
            for owner in self.owners:
                owner.limit = self.world.run(self._last_seq()) if owner.limit is None else owner.limit

    async def _abandon(self) -> None:
        await asyncio.gather(
            *(_retried(lambda s=sessions: s._abandon(self.session, self.world.tenant)) for sessions, _ in self.world.processes)
        )

    async def _last_seq(self) -> int:
        return await self.world.owner.fetchval("SELECT last_seq FROM live_session WHERE session_id = $1", self.session)

    @invariant()
    def what_was_told_is_stored(self) -> None:
        if not hasattr(self, "session"):
            return
        told = [dict(client.told) for client in self.clients]
        stored, committed, last_seq = self.world.run(self._stored())
        assert list(stored) == list(range(1, last_seq + 1))
        assert [client.faults for client in self.clients if client.faults] == []
        for seq, text in (each for client in told for each in client.items()):
            assert stored[seq][0] == text
        closed = [text for text, kind, _ in stored.values() if kind == "closed"]
        assert len(closed) == int(self.over)
        heard = [position for _, kind, position in stored.values() if kind == "transcript"]
        assert committed.get("position", 0) == max(heard, default=0)

    async def _stored(self) -> tuple[dict[int, tuple[str, str, int]], Mapping[str, int], int]:
        """Both as of one moment."""
        connection = self.world.owner
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            row = await connection.fetchrow("SELECT last_seq, committed::text FROM live_session WHERE session_id = $1", self.session)
            events = await connection.fetch(
                "SELECT seq, body ->> 'text' AS text, kind, position FROM event WHERE session_id = $1 ORDER BY seq", self.session
            )
        position = await connection.fetchval("SELECT ($1::jsonb ->> 'position')::int", row["committed"])
        return (
            {each["seq"]: (each["text"], each["kind"], each["position"]) for each in events},
            {"position": position or 0},
            row["last_seq"],
        )

    def teardown(self) -> None:
        for owner in getattr(self, "owners", []):
            owner.ledger.close()


async def _call(work: Any) -> None:
    work()
    await asyncio.sleep(0)


async def _retried(work: Any) -> Any:
    """Again, where the connection was killed: as a client does it."""
    for _ in range(ATTEMPTS):
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(0.02)
    return await work()


async def world_of(postgres: Postgres, stack: AsyncExitStack, runner: asyncio.Runner) -> World:
    store = await stack.enter_async_context(postgres.fresh())
    owner = await asyncpg.connect(store.database_owner_url, timeout=60)
    stack.push_async_callback(owner.close)
    database = await stack.enter_async_context(await Database.connect(store))
    processes = [(Sessions(database, ending, 2), await stack.enter_async_context(GroupCommit(store))) for _ in range(PROCESSES)]
    return World(await make_tenant(database), owner, processes, runner)


def test_any_interleaving_keeps_what_was_told(postgres: Postgres) -> None:
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        try:
            SessionMachine.world = runner.run(world_of(postgres, stack, runner))
            run_state_machine_as_test(
                SessionMachine,
                settings=settings(max_examples=40, stateful_step_count=25, suppress_health_check=list(HealthCheck), print_blob=True),
            )
        finally:
            runner.run(stack.aclose())
