"""The service over a real database, called as one tenant and as another, by the rules of the contract."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf import descriptor_pool, message_factory

from fakes.postgres import make_tenant
from malha.conversation.service import ConversationService
from malha.conversation.settings import ConversationSettings
from malha.runtime.auth import Principal
from malha.runtime.validation import validate
from malha.store.database import Database


@dataclass
class Caller:
    """Somebody with a token of a tenant."""

    service: ConversationService
    database: Database
    tenant: uuid.UUID

    @property
    def principal(self) -> Principal:
        return Principal(str(self.tenant), "token", tenant_id=self.tenant, token_id="token-id")

    async def ask(self, method: str, /, **fields: Any) -> Any:
        """Call a method as the server would: checked by the contract's rules first."""
        descriptor = descriptor_pool.Default().FindServiceByName(self.service.name).methods_by_name[method]
        request = message_factory.GetMessageClass(descriptor.input_type)(**fields)
        validate(request)
        return await self.service.methods()[method].answer(request, self.principal)

    async def rows(self, table: str) -> int:
        async with self.database.tenant_tx(self.tenant) as connection:
            return await connection.fetchval(f"SELECT count(*) FROM {table}")

    async def run(self, statement: str, *values: Any) -> Any:
        """A statement as the tenant; the first value of its first row."""
        async with self.database.tenant_tx(self.tenant) as connection:
            return await connection.fetchval(statement, *values)

    async def call(self, conversation: str, *texts: str, state: str = "closed", words: str = "[]") -> uuid.UUID:
        """A call of a conversation that has these utterances, ten seconds after each other; its session's id."""
        session = uuid.uuid4()
        async with self.database.tenant_tx(self.tenant) as connection:
            await connection.execute(
                "INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config, state)"
                " SELECT $1, tenant_id, id, '', '', '', $3 FROM conversation WHERE external_id = $2",
                session,
                conversation,
                state,
            )
            for number, text in enumerate(texts, 1):
                await connection.execute(
                    "INSERT INTO segment (tenant_id, session_id, segment_id, revision, channel, role, start_seconds, end_seconds, text, words)"
                    " VALUES ($1, $2, $3, 1, 0, 'agent', $4, $5, $6, $7::text::jsonb)",
                    self.tenant, session, f"s{number}", number * 10.0, number * 10.0 + 5, text, words,
                )  # fmt: skip
                await connection.execute(
                    "INSERT INTO event (tenant_id, session_id, seq, kind, body) VALUES ($1, $2, $3, 'final', '{}')",
                    self.tenant, session, number,
                )  # fmt: skip
        return session

    async def insight(self, conversation: str) -> uuid.UUID:
        """An insight of a conversation."""
        return await self.run(
            "INSERT INTO insight (tenant_id, conversation_id, session_id, type, trigger_seq, rule_version)"
            " SELECT tenant_id, id, malha_uuid7(), 'next_step', 1, '1' FROM conversation WHERE external_id = $1 RETURNING id",
            conversation,
        )


@pytest.fixture
async def service(database: Database) -> AsyncIterator[ConversationService]:
    made = ConversationService(database, ConversationSettings(_env_file=None))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def caller(service: ConversationService, database: Database) -> Caller:
    return Caller(service, database, await make_tenant(database))


@pytest.fixture
async def stranger(service: ConversationService, database: Database) -> Caller:
    """Of another tenant."""
    return Caller(service, database, await make_tenant(database))
