"""A draft rule, replayed over stored calls: what it would have said, and how that compares with what operators said."""

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from integration.insight.administering import THEIRS, Admin, refused, rule
from integration.insight.conftest import Serving

from malha.api.audio.v1 import audio_pb2
from malha.insight.backtest import MOST_EXAMPLES
from malha.store.database import Database
from malha.store.settings import StoreSettings

NOW = datetime.now(UTC)
Said = tuple[str, str, float]
"""(role, text, start in seconds); each takes 3 s."""
REFUND = ("customer", "eu quero o meu reembolso", 10.0)
OTHER = ("customer", "bom dia tudo bem", 0.0)


class Calls:
    """The stored calls of a tenant."""

    def __init__(self, database: Database, tenant: uuid.UUID) -> None:
        self._database = database
        self._tenant = tenant

    async def add(
        self, *said: Said, at: datetime = NOW - timedelta(hours=1), seconds: float | None = 360.0, name: str = "", language: str = "pt-BR"
    ) -> uuid.UUID:
        """A call's session."""
        conversation, session = uuid.uuid4(), uuid.uuid4()
        async with self._database.tenant_tx(self._tenant) as connection:
            await connection.execute(
                "INSERT INTO conversation (tenant_id, id, external_id, started_at, duration_seconds) VALUES ($1, $2, $3, $4, $5)",
                self._tenant, conversation, name or str(conversation)[:8], at, seconds,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO live_session (tenant_id, session_id, conversation_id, principal_digest, resume_digest, config, state)"
                " VALUES ($1, $2, $3, '', '', $4, 'closed')",
                self._tenant, session, conversation, audio_pb2.Open(languages=[language]).SerializeToString(),
            )  # fmt: skip
            await connection.executemany(
                "INSERT INTO segment (tenant_id, session_id, segment_id, revision, channel, role, text, start_seconds, end_seconds)"
                " VALUES ($1, $2, $3, 1, 0, $4, $5, $6, $7)",
                [
                    (self._tenant, session, f"0-{number}", role, text, start, start + 3.0)
                    for number, (role, text, start) in enumerate(said, 1)
                ],
            )  # fmt: skip
        return session

    async def judge(self, session: uuid.UUID, seconds: float, action: str, kind: str = "risk_alert") -> None:
        """An insight of that time, and what the operator did with it."""
        async with self._database.tenant_tx(self._tenant) as connection:
            conversation = await connection.fetchval("SELECT conversation_id FROM live_session WHERE session_id = $1", session)
            insight = await connection.fetchval(
                "INSERT INTO insight (tenant_id, conversation_id, session_id, type, trigger_seq, rule_version, status, body, media_seconds)"
                " VALUES ($1, $2, $3, $4, $5, 'x', 'shown', '{}', $6) RETURNING id",
                self._tenant, conversation, session, kind, int(seconds), seconds,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO feedback (tenant_id, conversation_id, insight_id, action) VALUES ($1, $2, $3, $4)",
                self._tenant, conversation, insight, action,
            )  # fmt: skip


async def calls_of(database: Database, tenant: str = "default") -> Calls:
    async with database.app_tx() as connection:
        return Calls(database, await connection.fetchval("SELECT malha_find_tenant($1)", tenant))


async def test_matches_are_counted_per_hour_of_talk_and_shown(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        calls = await calls_of(database)
        await calls.add(OTHER, REFUND, name="with")
        await calls.add(OTHER, name="without")
        await calls.add(("agent", "o reembolso já saiu", 5.0), name="agent")
        await calls.add(("customer", "não quero reembolso", 5.0), seconds=None, name="negated")
        found = await Admin(place.channel).backtest(rule(roles=[2]))
        assert (found.conversations, found.matches) == (4, 1)
        assert found.alerts_per_hour == pytest.approx(3600 / (3 * 360 + 8))
        assert not found.HasField("precision")
        assert not found.HasField("recall")
        [example] = found.examples
        assert (example.conversation_id, example.evidence[0].segment_id, example.evidence[0].quote) == ("with", "0-2", "reembolso")
        assert example.time.seconds == 13
        both = await Admin(place.channel).backtest(rule(condition={"any_of": ["reembolso"], "negated_too": True}))
        assert both.matches == 3
        await calls.add(("customer", "quiero mis reembolsos", 5.0), language="es-MX")
        assert (await Admin(place.channel).backtest(rule(languages=["es"]))).matches == 1


async def test_precision_and_recall_are_against_what_operators_said(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        calls = await calls_of(database)
        used, ignored, missed, both = [await calls.add(OTHER, REFUND) for _ in range(2)] + [await calls.add(OTHER) for _ in range(2)]
        await calls.add(OTHER, REFUND)  # nobody said
        await calls.judge(used, 20, "used")
        await calls.judge(ignored, 20, "ignored")
        await calls.judge(missed, 20, "edited")
        await calls.judge(both, 20, "used", kind="next_step")  # of another type
        await calls.judge(used, 200, "used")  # too far away
        await calls.judge(both, 20, "shown")  # says nothing of its worth
        found = await Admin(place.channel).backtest(rule())
        assert (found.matches, found.precision, found.recall) == (3, 0.5, pytest.approx(1 / 3))


async def test_since_until_and_the_most_bound_what_is_read(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        calls, admin = await calls_of(database), Admin(place.channel)
        for days in (1, 10, 20, 40):
            await calls.add(REFUND, at=NOW - timedelta(days=days), name=f"{days} days ago")

        async def names(**fields: Any) -> list[str]:
            return [example.conversation_id.partition(" ")[0] for example in (await admin.backtest(rule(), **fields)).examples]

        assert await names() == ["1", "10", "20"], "of the last 30 days, the newest first"
        assert await names(since=NOW - timedelta(days=50)) == ["1", "10", "20", "40"]
        assert await names(until=NOW - timedelta(days=15)) == ["20", "40"], "30 days before that"
        assert await names(since=NOW - timedelta(days=15), until=NOW - timedelta(days=5)) == ["10"]
        assert await names(max_conversations=2) == ["1", "10"]
        async with refused("INVALID_TIME", "until"):
            await admin.backtest(rule(), since=NOW, until=NOW)
        async with refused("INVALID_TIME"):
            await admin.backtest(rule(), since=NOW + timedelta(days=1))
        for field in ("since", "until"):
            for seconds in (-62_135_596_801, 253_402_300_800, 2**62):
                async with refused("INVALID_TIME", field):
                    await admin.backtest(rule(), **{field: {"seconds": seconds}})
        for most in (-1, 10_001):
            async with refused("INVALID_FIELD", "max_conversations"):
                await admin.backtest(rule(), max_conversations=most)


async def test_calls_of_another_tenant_are_never_counted(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        calls = await calls_of(database)
        await calls.judge(await calls.add(REFUND), 20, "used")
        theirs = await Admin(place.channel, THEIRS).backtest(rule())
        assert (theirs.conversations, theirs.matches, len(theirs.examples)) == (0, 0, 0)
        assert not theirs.HasField("recall")


async def test_a_thousand_calls_take_seconds_and_hold_nobody_up(serving: Serving, database: Database, store: StoreSettings) -> None:
    """1,000 calls of 20 utterances, while others use the service."""
    async with serving(None, (database, store)) as place:
        async with database.app_tx() as connection:
            tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
        async with database.tenant_tx(tenant) as connection:
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute(
                "INSERT INTO conversation (tenant_id, id, external_id, started_at, duration_seconds)"
                " SELECT $1, gen_random_uuid(), 'c' || number, $2, 300 FROM generate_series(1, 1000) AS number",
                tenant, NOW - timedelta(hours=1),
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO live_session (tenant_id, session_id, conversation_id, principal_digest, resume_digest, config, state)"
                " SELECT tenant_id, gen_random_uuid(), id, '', '', '', 'closed' FROM conversation"
            )
            await connection.execute(
                "INSERT INTO segment (tenant_id, session_id, segment_id, revision, channel, role, text, start_seconds, end_seconds)"
                " SELECT tenant_id, session_id, '0-' || number, 1, 0, 'customer',"
                " CASE number WHEN 7 THEN $1 ELSE 'a minha fatura veio com um valor muito alto neste mês de novembro' END, number * 10, number * 10 + 5"
                " FROM live_session, generate_series(1, 20) AS number",
                REFUND[1],
            )  # fmt: skip
        admin, began, longest = Admin(place.channel), time.monotonic(), 0.0
        backtest = asyncio.create_task(admin.backtest(rule()))
        while not backtest.done():
            asked = time.monotonic()
            await admin.rules()
            longest = max(longest, time.monotonic() - asked)
            await asyncio.sleep(0.01)
        found = await backtest
        took = time.monotonic() - began
        print(f"backtest of 1,000 calls: {took:.1f} s, another request waited at most {longest * 1e3:.0f} ms")
        assert (found.conversations, found.matches, len(found.examples)) == (1000, 1000, MOST_EXAMPLES)
        assert took < 30
        assert longest < 3
