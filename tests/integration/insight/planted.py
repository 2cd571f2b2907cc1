"""A live call as Audio keeps it: what is said and told is stored before Insight hears of it."""

import asyncio
import json
import uuid
from typing import Any

import grpc
from google.protobuf import json_format
from integration.insight.analysing import CUSTOMER, Talk

from malha.api.common.v1 import media_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.store.database import Database


class Planted:
    """A call in the store, and the connections of its owners."""

    def __init__(self, database: Database, tenant: uuid.UUID, channel: grpc.aio.Channel) -> None:
        self.session = uuid.uuid4()
        self.conversation = uuid.uuid4()
        self.known: set[str] = set()
        """Insights told, each an event of the call."""
        self._database = database
        self._tenant = tenant
        self._channel = channel
        self._said: list[tuple[str, Any, float]] = []
        self._seq = 0

    @classmethod
    async def call(cls, database: Database, channel: grpc.aio.Channel, tenant: str = "default") -> "Planted":
        async with database.app_tx() as connection:
            found = await connection.fetchval("SELECT malha_find_tenant($1)", tenant)
        call = cls(database, found, channel)
        await call.execute(
            "INSERT INTO conversation (tenant_id, id, external_id) VALUES ($1, $2, $3)", call.conversation, str(call.session)
        )
        await call.execute(
            "INSERT INTO live_session (tenant_id, session_id, conversation_id, principal_digest, resume_digest, config)"
            " VALUES ($1, $2, $3, '', '', '')",
            call.session,
            call.conversation,
        )
        return call

    async def execute(self, statement: str, *values: Any) -> None:
        async with self._database.tenant_tx(self._tenant) as connection:
            await connection.execute(statement, self._tenant, *values)

    async def rows(self, statement: str) -> list[dict[str, Any]]:
        """Of the tenant."""
        async with self._database.tenant_tx(self._tenant) as connection:
            return [dict(row) for row in await connection.fetch(statement)]

    async def keep(self, text: str, role: Any = CUSTOMER, seconds: float = 4.0) -> None:
        """Something is said: a segment and its event."""
        self._seq += 1
        start = self._said[-1][2] if self._said else 0.0
        self._said.append((text, role, start + seconds))
        name = media_pb2.Role.Name(role).removeprefix("ROLE_").lower()
        await self.execute(
            "INSERT INTO event (tenant_id, session_id, seq, kind, segment_id, body) VALUES ($1, $2, $3, 'transcript', $4, $5)",
            self.session, self._seq, f"0-{self._seq}", {"text": text, "language": "pt-BR"},
        )  # fmt: skip
        await self.execute(
            "INSERT INTO segment (tenant_id, session_id, segment_id, revision, channel, role, text, start_seconds, end_seconds)"
            " VALUES ($1, $2, $3, 1, 0, $4, $5, $6, $7)",
            self.session, f"0-{self._seq}", name, text, start, start + seconds,
        )  # fmt: skip

    async def owner(self, **fields: Any) -> "Owner":
        """A new connection, which knows what is stored."""
        owner = Owner(self, self._channel)
        await owner.open(conversation_id=str(self.session), session_id=str(self.session), **fields)
        return owner

    async def told(self, insight: api.Insight) -> None:
        """An insight becomes an event of the call, as the owner's own process does it."""
        assert insight.id not in self.known, "it is an event already"
        self.known.add(insight.id)
        body = json.loads(json_format.MessageToJson(insight, preserving_proto_field_name=True))
        await self.execute(
            "INSERT INTO event (tenant_id, session_id, seq, kind, body) VALUES ($1, $2, $3, 'insight', $4)",
            self.session, 1_000 + len(self.known), body,
        )  # fmt: skip


class Owner(Talk):
    """A connection of the call."""

    def __init__(self, call: Planted, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self._planted = call
        self._reading: asyncio.Task[api.AnalyzeResponse] | None = None
        self._seq = call._seq
        self._time = call._said[-1][2] if call._said else 0.0

    async def event(self, seconds: float = 20.0) -> api.AnalyzeResponse:
        """As `Talk.event`; where it comes too late it is the next one, since a cancelled read would end the stream."""
        reading = self._reading or asyncio.create_task(super().event(600))
        done, _ = await asyncio.wait([reading], timeout=seconds)
        self._reading = None if done else reading
        if not done:
            raise TimeoutError
        return reading.result()

    async def lost(self) -> None:
        """Its process dies."""
        self.lose()
        if self._reading is not None:
            await asyncio.wait([self._reading])
            self._reading.cancelled() or self._reading.exception()

    async def utter(self, text: str, role: Any = CUSTOMER, seconds: float = 4.0) -> None:
        """Something is said, kept, and this owner's to tell Insight."""
        await self._planted.keep(text, role, seconds)
        await self.say(text, role, seconds)

    async def advice(self, seconds: float = 20.0) -> api.Insight:
        """The next insight, made an event."""
        insight = await self.insight(seconds)
        await self._planted.told(insight)
        return insight

    async def end(self) -> list[api.Insight]:
        """The rest, made events."""
        rest = await self.finish()
        for insight in rest:
            await self._planted.told(insight)
        return rest
