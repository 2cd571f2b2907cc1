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
    ON CONFLICT DO NOTHING
"""
_LIST: Final = """
    SELECT knowledge_base, id, title, language, updated_at FROM knowledge_document
    WHERE ($1 = '' OR knowledge_base = $1) AND (knowledge_base, id) > ($2, $3) ORDER BY knowledge_base, id LIMIT $4
"""
_DELETE: Final = "DELETE FROM knowledge_document WHERE knowledge_base = $1 AND id = $2 RETURNING id"
_VERSION: Final = """
    SELECT count(*) AS documents, max(updated_at) AS updated_at, COALESCE(sum(octet_length(text)), 0) AS bytes,
        CASE WHEN $2 = '' THEN 0 ELSE (SELECT count(*) FROM knowledge_vector WHERE knowledge_base = $1 AND model = $2 AND piece = 0) END AS vectors
    FROM knowledge_document WHERE knowledge_base = $1
"""
_TEXTS: Final = """
    SELECT id, title, text, language FROM knowledge_document WHERE knowledge_base = $1 AND id > $2 ORDER BY id LIMIT $3
"""
_WITHOUT: Final = """
    SELECT id, title, text, language, updated_at FROM knowledge_document AS document
    WHERE knowledge_base = $1 AND id > $3 AND NOT EXISTS (
        SELECT FROM knowledge_vector AS vector WHERE vector.knowledge_base = $1 AND vector.document_id = document.id AND vector.model = $2
    ) ORDER BY id LIMIT 1
"""
_UNCHANGED: Final = "SELECT id FROM knowledge_document WHERE knowledge_base = $1 AND id = $2 AND updated_at = $3 FOR KEY SHARE"
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
    """Of a base: another one means that something was saved or deleted, or got its vectors."""

    documents: int
    updated_at: datetime | None
    bytes: int
    vectors: int = 0
    """Documents that have some of the model in force."""


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
    await _save_vectors(connection, base, row["id"], model, vectors)
    return Document(**row)


async def without_vectors(connection: Connection, base: str, model: str, after: str) -> tuple[Given, datetime] | None:
    """The next document by id that has no vector of a model, and when it was kept."""
    row = await connection.fetchrow(_WITHOUT, base, model, after)
    return None if row is None else (Given(base, row["id"], row["title"], row["text"], row["language"]), row["updated_at"])


async def add_vectors(connection: Connection, given: Given, kept_at: datetime, model: str, vectors: Sequence[Sequence[float]]) -> None:
    """Vectors for a document that is still as it was kept; for one that was replaced or deleted, nothing."""
    await connection.execute(_LOCK, given.knowledge_base)
    if await connection.fetchval(_UNCHANGED, given.knowledge_base, given.id, kept_at) is not None:
        await _save_vectors(connection, given.knowledge_base, given.id, model, vectors)


async def list_after(connection: Connection, base: str, after: tuple[str, str], most: int) -> list[Document]:
    """Documents by base and id; of all bases where none is named."""
    return [Document(**row) for row in await connection.fetch(_LIST, storable(base), *map(storable, after), most)]


async def delete(connection: Connection, base: str, name: str) -> None:
    """Raises NotFound."""
    if await connection.fetchval(_DELETE, storable(base), storable(name)) is None:
        raise NotFound("there is no such document", reason="DOCUMENT_NOT_FOUND")


async def version(connection: Connection, base: str, model: str) -> Version:
    """What the base is like now, with the vectors of ``model``; empty: none."""
    return Version(**await connection.fetchrow(_VERSION, storable(base), model))


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


async def _save_vectors(connection: Connection, base: str, name: str, model: str, vectors: Sequence[Sequence[float]]) -> None:
    await connection.executemany(_SAVE_VECTOR, [(base, name, number, model, list(vector)) for number, vector in enumerate(vectors)])
