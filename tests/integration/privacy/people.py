"""A tenant with a customer of whom every table knows something."""

import uuid
from dataclasses import dataclass
from pathlib import Path

from integration.store.rows import Filled, fill

from malha.privacy.subjects import Kind, Subject
from malha.recording.blobs import DirectoryBlobs, RecordedFiles
from malha.runtime.job_files import JobFiles
from malha.store.database import Database


@dataclass
class Person:
    """``item`` is the id of the customer, the conversation, its session and its insight."""

    tenant: uuid.UUID
    item: uuid.UUID

    def subject(self, kind: Kind) -> Subject:
        return Subject(self.tenant, kind, self.item)


async def person(database: Database, state: str = "closed") -> Person:
    filled: Filled = await fill(database)
    async with database.tenant_tx(filled.tenant) as connection:
        await connection.execute("UPDATE live_session SET state = $1", state)
        await connection.execute("UPDATE conversation SET status = 'closed', ended_at = now()")
    return Person(filled.tenant, filled.item)


async def more_conversations(database: Database, whose: Person, count: int) -> list[uuid.UUID]:
    """Of the same customer, each with a call of two events and a message."""
    made = []
    async with database.tenant_tx(whose.tenant) as connection:
        for number in range(count):
            conversation = await connection.fetchval(
                "INSERT INTO conversation (tenant_id, external_id, customer_id) VALUES ($1, $2, $3) RETURNING id",
                whose.tenant, f"more-{number}", whose.item,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config, state)"
                " VALUES ($2, $1, $2, '', '', '', 'closed')",
                whose.tenant, conversation,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO event (session_id, seq, tenant_id, kind, body) SELECT $2, n, $1, 'final', '{}' FROM generate_series(1, 2) n",
                whose.tenant, conversation,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO message (tenant_id, conversation_id, sender_type, text) VALUES ($1, $2, 'agent', 'segredo')",
                whose.tenant, conversation,
            )  # fmt: skip
            made.append(conversation)
    return made


async def rows(database: Database, tenant: uuid.UUID, table: str) -> int:
    async with database.tenant_tx(tenant) as connection:
        return await connection.fetchval(f"SELECT count(*) FROM {table}")


def recorded(directory: Path) -> RecordedFiles:
    return RecordedFiles(DirectoryBlobs(directory))


def put_file(directory: Path, whose: Person, conversation: uuid.UUID, name: str = "a.opus") -> Path:
    file = directory / str(whose.tenant) / str(conversation) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"sealed")
    return file


async def named_jobs(database: Database, whose: Person, directory: Path, name: str, *statuses: str) -> list[Path]:
    """Jobs that name a conversation without being bound to it, and the recordings that wait for them."""
    lying = []
    for status in statuses:
        async with database.tenant_tx(whose.tenant) as connection:
            job = await connection.fetchval(
                "INSERT INTO job (tenant_id, kind, status, input) VALUES ($1, 'transcribe', $2, $3) RETURNING id",
                whose.tenant, status, {"conversation_id": name},
            )  # fmt: skip
        file = JobFiles(directory, 0).path(whose.tenant, job)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"RIFF")
        lying.append(file)
    return lying
