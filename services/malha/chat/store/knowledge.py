"""Documents of knowledge bases and the vectors of their pieces. Every function runs in a transaction of the tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from malha.runtime.errors import NotFound, ResourceExhausted
from malha.store.roles import Connection
from malha.store.text import storable

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('malha knowledge ' || malha_tenant()::text || ' ' || $1, 0))"
"""Savings into one base come one after the other: its limits hold."""
_SIZE: Final = """
    SELECT count(*) AS documents, COALESCE(sum(octet_length(text)), 0) AS bytes FROM knowledge_document WHERE knowledge_base = $1 AND id <> $2
"""
_SAVE: Final = """
    INSERT INTO knowledge_document (tenant_id, knowledge_base, id, title, text, language, updated_at)
    VALUES (malha_tenant(), $1, COALESCE(NULLIF($2, ''), malha_uuid7()::text), $3, $4, $5, clock_timestamp())
    ON CONFLICT (tenant_id, knowledge_base, id) DO UPDATE
        SET title = excluded.title, text = excluded.text, language = excluded.language, updated_at = excluded.updated_at
    RETURNING knowledge_base, id, title, language, updated_at
"""
_DROP_VECTORS: Final = "DELETE FROM knowledge_vector WHERE knowledge_base = $1 AND document_id = $2"
_SAVE_VECTOR: Final = """
    INSERT INTO knowledge_vector (tenant_id, knowledge_base, document_id, piece, model, embedding) VALUES (malha_tenant(), $1, $2, $3, $4, $5)
"""
_LIST: Final = """
    SELECT knowledge_base, id, title, language, updated_at FROM knowledge_document
    WHERE ($1 = '' OR knowledge_base = $1) AND (knowledge_base, id) > ($2, $3) ORDER BY knowledge_base, id LIMIT $4
"""
_DELETE: Final = "DELETE FROM knowledge_document WHERE knowledge_base = $1 AND id = $2 RETURNING id"
_VERSION: Final = """
    SELECT count(*) AS documents, max(updated_at) AS updated_at, COALESCE(sum(octet_length(text)), 0) AS bytes
    FROM knowledge_document WHERE knowledge_base = $1
"""
_TEXTS: Final = """
    SELECT id, title, text, language FROM knowledge_document WHERE knowledge_base = $1 AND id > $2 ORDER BY id LIMIT $3
"""
_VECTORS: Final = """
    SELECT document_id, piece, embedding FROM knowledge_vector WHERE knowledge_base = $1 AND model = $2 AND document_id = ANY($3)
"""


@dataclass(frozen=True, slots=True)
class Document:
    """As it is listed."""

    knowledge_base: str
    id: str
    title: str
    language: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Given:
    """A document to save. An empty id: a new one."""

    knowledge_base: str
    id: str
    title: str
    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Version:
    """Of a base: another one means that something was saved or deleted."""

    documents: int
    updated_at: datetime | None
    bytes: int


async def save(
    connection: Connection, given: Given, vectors: Sequence[Sequence[float]], model: str, most_documents: int, most_bytes: int
) -> Document:
    """Keep a document with the vectors of its pieces, where there are any. Raises ResourceExhausted (KNOWLEDGE_BASE_FULL)."""
    base, name, text = storable(given.knowledge_base), storable(given.id), storable(given.text)
    await connection.execute(_LOCK, base)
    size = await connection.fetchrow(_SIZE, base, name)
    if size["documents"] >= most_documents or size["bytes"] + len(text.encode()) > most_bytes:
        raise ResourceExhausted(
            f"a knowledge base may have {most_documents:,} documents and {most_bytes:,} bytes: delete some, or use another base",
            reason="KNOWLEDGE_BASE_FULL",
            quota="knowledge_base",
        )
    row = await connection.fetchrow(_SAVE, base, name, storable(given.title), text, storable(given.language))
    await connection.execute(_DROP_VECTORS, base, row["id"])
    await connection.executemany(_SAVE_VECTOR, [(base, row["id"], number, model, list(vector)) for number, vector in enumerate(vectors)])
    return Document(**row)


async def list_after(connection: Connection, base: str, after: tuple[str, str], most: int) -> list[Document]:
    """Documents by base and id; of all bases where none is named."""
    return [Document(**row) for row in await connection.fetch(_LIST, storable(base), *map(storable, after), most)]


async def delete(connection: Connection, base: str, name: str) -> None:
    """Raises NotFound."""
    if await connection.fetchval(_DELETE, storable(base), storable(name)) is None:
        raise NotFound("there is no such document", reason="DOCUMENT_NOT_FOUND")


async def version(connection: Connection, base: str) -> Version:
    """What the base is like now."""
    return Version(**await connection.fetchrow(_VERSION, storable(base)))


async def texts(connection: Connection, base: str, after: str, most: int) -> list[Given]:
    """The next documents by id, whole."""
    return [
        Given(base, row["id"], row["title"], row["text"], row["language"])
        for row in await connection.fetch(_TEXTS, storable(base), after, most)
    ]


async def vectors(connection: Connection, base: str, model: str, documents: Sequence[str]) -> dict[tuple[str, int], list[float]]:
    """Vectors that a model made, by document and piece."""
    rows = await connection.fetch(_VECTORS, storable(base), model, list(documents))
    return {(row["document_id"], row["piece"]): row["embedding"] for row in rows}
