"""Knowledge bases: documents in the database, indexes in memory made when they are asked, as many as fit, those asked last."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from weakref import WeakValueDictionary

from malha.chat.calls import CallContext
from malha.chat.embedding import Embedder, Vectors
from malha.chat.engine import Source
from malha.chat.knowledge.backfill import EMBED_SECONDS, PURPOSE, Backfill, vectors_of
from malha.chat.knowledge.index import Index
from malha.chat.settings import ChatSettings
from malha.chat.store import knowledge
from malha.chat.store.knowledge import Document, Given, Version
from malha.runtime.errors import InvalidArgument, MalhaError
from malha.store.database import Database

DOCUMENTS_AT_ONCE: Final = 100
"""That are read in one query."""
QUESTION_SECONDS: Final = 0.5
"""How long a question waits for its vector; later it is looked up by words alone."""

VECTORS_SECONDS: Final = 30.0
"""An index is as old at most where documents have got vectors since, and nothing else has changed."""

_Key = tuple[uuid.UUID, str]


class KnowledgeBases:
    """The knowledge bases of all tenants."""

    def __init__(self, database: Database, embedder: Embedder, settings: ChatSettings) -> None:
        self._database = database
        self._embedder = embedder
        self._settings = settings
        self._backfill = Backfill(database, embedder, settings.knowledge_retry_seconds, self._drop)
        self._indexes: OrderedDict[_Key, Index] = OrderedDict()
        self._making: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()

    def start(self) -> None:
        """Begin to make the vectors that are missing."""
        self._backfill.start()

    async def close(self) -> None:
        """Stop that."""
        await self._backfill.close()

    async def save(self, tenant_id: uuid.UUID, given: Given) -> Document:
        """Keep a document, with vectors where a model makes them. Raises ResourceExhausted, InvalidArgument for one without words."""
        if not given.text.strip():
            raise InvalidArgument("a document needs text", reason="INVALID_FIELD", violations={"document.text": "has no words"})
        model, vectors = await self._vectors_of(tenant_id, given.text)
        async with self._database.tenant_tx(tenant_id) as connection:
            kept = await knowledge.save(
                connection, given, vectors, model, self._settings.knowledge_documents, self._settings.knowledge_bytes
            )
        if not vectors:
            self._backfill.want((tenant_id, kept.knowledge_base))
        return kept

    async def list(self, tenant_id: uuid.UUID, base: str, after: tuple[str, str], most: int) -> Sequence[Document]:
        """Documents by base and id."""
        async with self._database.tenant_tx(tenant_id) as connection:
            return await knowledge.list_after(connection, base, after, most)

    async def delete(self, tenant_id: uuid.UUID, base: str, name: str) -> None:
        """Raises NotFound."""
        async with self._database.tenant_tx(tenant_id) as connection:
            await knowledge.delete(connection, base, name)

    async def search(self, tenant_id: uuid.UUID | None, base: str, question: str, most: int) -> Sequence[Source]:
        """The pieces of a base that fit a question, the best first; none of a base that is not there."""
        if tenant_id is None or not base:
            return ()
        index = await self._index(tenant_id, base)
        vector = await self._vector_of(tenant_id, question) if index.version.vectors else None
        return index.search(question, vector, most)

    async def _vectors_of(self, tenant_id: uuid.UUID, text: str) -> tuple[str, Vectors]:
        """The model and its vectors; none where it does not answer in time: the document is found by its words, and gets them later."""
        model = self._embedder.model
        if not model:
            return "", ()
        try:
            async with asyncio.timeout(EMBED_SECONDS):
                return model, await vectors_of(self._embedder, tenant_id, text)
        except (MalhaError, TimeoutError):
            return "", ()

    async def _vector_of(self, tenant_id: uuid.UUID, question: str) -> Sequence[float] | None:
        context = CallContext(tenant_id, PURPOSE, self._embedder.model)
        try:
            return (await self._embedder.embed([question], context, str(tenant_id), QUESTION_SECONDS))[0]
        except MalhaError:
            return None

    async def _index(self, tenant_id: uuid.UUID, base: str) -> Index:
        """The index at the version the base has now. Several who ask at once wait for one that makes it."""
        key = (tenant_id, base)
        lock = self._making.get(key)
        if lock is None:
            lock = self._making[key] = asyncio.Lock()
        async with lock:
            async with self._database.tenant_tx(tenant_id) as connection:
                version = await knowledge.version(connection, base, self._embedder.model)
            index = self._indexes.get(key)
            if index is None or not _holds(index, version):
                index = Index(version)
                await self._fill(index, tenant_id, base)
                self._indexes[key] = index
            self._indexes.move_to_end(key)
            self._forget()
            return index

    async def _fill(self, index: Index, tenant_id: uuid.UUID, base: str) -> None:
        model, after = self._embedder.model, ""
        while True:
            async with self._database.tenant_tx(tenant_id) as connection:
                documents = await knowledge.texts(connection, base, after, DOCUMENTS_AT_ONCE)
                vectors = await knowledge.vectors(connection, base, model, [document.id for document in documents]) if model else {}
            for document in documents:
                await index.add(document, vectors)
            if len(documents) < DOCUMENTS_AT_ONCE:
                index.close()
                break
            after = documents[-1].id
        if index.lacking:
            self._backfill.want((tenant_id, base))

    def _drop(self, key: _Key) -> None:
        """Have an index made anew when it is asked next."""
        self._indexes.pop(key, None)

    def _forget(self) -> None:
        """Keep as many bytes of text as may be indexed, and one index at least."""
        while (
            len(self._indexes) > 1 and sum(index.version.bytes for index in self._indexes.values()) > self._settings.knowledge_memory_bytes
        ):
            self._indexes.popitem(last=False)


def _holds(index: Index, version: Version) -> bool:
    """Whether an index may answer for a base as it is now. Vectors that are made one after the other do not have it made anew each time."""
    if index.version == version:
        return True
    young = asyncio.get_running_loop().time() - index.made_at < VECTORS_SECONDS
    return young and replace(version, vectors=index.version.vectors) == index.version
