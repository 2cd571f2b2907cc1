"""Writes what is imported, in batches, each in a transaction. What is there already stays as it is, so that an import can be done again."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from malha.conversation.importing.records import ConversationRecord, CustomerRecord, MessageRecord
from malha.conversation.store.conversations import affected
from malha.store.database import Database

_BATCH: Final = 500
_BATCH_CHARACTERS: Final = 2_000_000

CUSTOMERS: Final = """
    INSERT INTO customer (tenant_id, external_id, name, email, phone, source, status)
    SELECT malha_tenant(), * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    ON CONFLICT (tenant_id, external_id) DO NOTHING
"""
CONVERSATIONS: Final = """
    INSERT INTO conversation (tenant_id, external_id, customer_id, channel, status, subject, started_at, ended_at, duration_seconds)
    SELECT malha_tenant(), given.external_id, customer.id, given.channel, given.status, given.subject, COALESCE(given.started_at, now()),
        given.ended_at, given.duration_seconds
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::float8[])
        AS given (external_id, customer, channel, status, subject, started_at, ended_at, duration_seconds)
    LEFT JOIN customer ON customer.external_id = given.customer
    ON CONFLICT (tenant_id, external_id) DO NOTHING
"""
MESSAGES: Final = """
    INSERT INTO message (tenant_id, external_id, conversation_id, sender_type, sender_id, text, created_at)
    SELECT malha_tenant(), given.external_id, conversation.id, given.sender_type, given.sender_id, given.text,
        COALESCE(given.created_at, now())
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        AS given (external_id, conversation, sender_type, sender_id, text, created_at)
    JOIN conversation ON conversation.external_id = given.conversation
    ON CONFLICT (tenant_id, conversation_id, external_id) DO NOTHING
"""
UNKNOWN: Final = """
    SELECT name FROM unnest($1::text[]) AS name
    WHERE NOT EXISTS (SELECT FROM conversation WHERE conversation.external_id = name)
"""
AUDIT: Final = """
    INSERT INTO audit (tenant_id, actor, action, object_type, details) VALUES (malha_tenant(), $1, 'conversations.import', 'conversation', $2)
"""


@dataclass(slots=True)
class Counts:
    """Rows that were added, and rows that were there."""

    added: int = 0
    there: int = 0


class Writer:
    """Of one tenant. `audit` ends it."""

    def __init__(self, database: Database, tenant: uuid.UUID) -> None:
        self._database = database
        self._tenant = tenant
        self.customers = Counts()
        self.conversations = Counts()
        self.messages = Counts()

    async def write_customers(self, records: Sequence[CustomerRecord]) -> Collection[str]:
        await self._write(CUSTOMERS, records, self.customers)
        return ()

    async def write_conversations(self, records: Sequence[ConversationRecord]) -> Collection[str]:
        await self._write(CONVERSATIONS, records, self.conversations)
        return ()

    async def write_messages(self, records: Sequence[MessageRecord]) -> Collection[str]:
        """The conversations that are not there: their messages are not written."""
        unknown = await self._unknown({record.conversation_id for record in records})
        known = [record for record in records if record.conversation_id not in unknown]
        begin = size = 0
        for index, record in enumerate(known):
            size += len(record.text)
            if size > _BATCH_CHARACTERS or index - begin >= _BATCH:
                await self._write(MESSAGES, known[begin:index], self.messages)
                begin, size = index, len(record.text)
        await self._write(MESSAGES, known[begin:], self.messages)
        return unknown

    async def audit(self, actor: str) -> None:
        """Write down what was done."""
        counts = {name: getattr(self, name).added for name in ("customers", "conversations", "messages")}
        async with self._database.tenant_tx(self._tenant) as connection:
            await connection.execute(AUDIT, actor, counts)

    async def _unknown(self, names: Collection[str]) -> set[str]:
        async with self._database.tenant_tx(self._tenant) as connection:
            return {row["name"] for row in await connection.fetch(UNKNOWN, list(names))}

    async def _write(self, statement: str, records: Sequence[Any], counts: Counts) -> None:
        if not records:
            return
        columns = zip(*map(astuple, records), strict=True)
        async with self._database.tenant_tx(self._tenant) as connection:
            added = affected(await connection.execute(statement, *columns))
        counts.added += added
        counts.there += len(records) - added
