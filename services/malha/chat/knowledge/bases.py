"""Knowledge bases: documents in the database, indexes in memory made when they are asked, as many as fit, those asked last."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final
from weakref import WeakValueDictionary

from malha.chat.deployments import Deployed, Models
from malha.chat.engine import Source
from malha.chat.errors import ModelTimeout
from malha.chat.knowledge.index import Index
from malha.chat.knowledge.pieces import split
from malha.chat.settings import ChatSettings
from malha.chat.store import knowledge
from malha.chat.store.knowledge import Document, Given
from malha.runtime.errors import InvalidArgument, MalhaError
from malha.store.database import Database

DOCUMENTS_AT_ONCE: Final = 100
"""That are read in one query."""
TEXTS_AT_ONCE: Final = 64
"""That are embedded in one request."""
EMBED_SECONDS: Final = 30.0
QUESTION_SECONDS: Final = 0.5
"""How long a question waits for its vector; later it is looked up by words alone."""

_Key = tuple[uuid.UUID, str]


class KnowledgeBases:
    """The knowledge bases of all tenants."""

    def __init__(self, database: Database, models: Models, settings: ChatSettings) -> None:
        self._database = database
        self._models = models
        self._settings = settings
        self._indexes: OrderedDict[_Key, Index] = OrderedDict()
        self._making: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()

    async def save(self, tenant_id: uuid.UUID, given: Given) -> Document:
        """Keep a document, with vectors where a model makes them. Raises ResourceExhausted, InvalidArgument for one without words."""
        pieces = list(split(given.text))
        if not pieces:
            raise InvalidArgument("a document needs text", reason="INVALID_FIELD", violations={"document.text": "has no words"})
        model, vectors = await self._vectors_of(pieces)
        async with self._database.tenant_tx(tenant_id) as connection:
            return await knowledge.save(
                connection, given, vectors, model, self._settings.knowledge_documents, self._settings.knowledge_bytes
            )

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
        return index.search(question, await self._vector_of(question) if index.version.documents else None, most)

    async def _vectors_of(self, pieces: Sequence[str]) -> tuple[str, Sequence[Sequence[float]]]:
        """The model and its vectors; none where there is no model, or it does not answer: the document is found by its words."""
        try:
            deployed = self._models.embedder
            found: list[Sequence[float]] = []
            for start in range(0, len(pieces), TEXTS_AT_ONCE):
                found += await embed(pieces[start : start + TEXTS_AT_ONCE], deployed, EMBED_SECONDS)
        except MalhaError:
            return "", ()
        return deployed.name, found

    async def _vector_of(self, question: str) -> Sequence[float] | None:
        try:
            return (await embed([question], self._models.embedder, QUESTION_SECONDS))[0]
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
                version = await knowledge.version(connection, base)
            index = self._indexes.get(key)
            if index is None or index.version != version:
                index = Index(version)
                await self._fill(index, tenant_id, base)
                self._indexes[key] = index
            self._indexes.move_to_end(key)
            self._forget()
            return index

    async def _fill(self, index: Index, tenant_id: uuid.UUID, base: str) -> None:
        model, after = self._models.file.embeddings or "", ""
        while True:
            async with self._database.tenant_tx(tenant_id) as connection:
                documents = await knowledge.texts(connection, base, after, DOCUMENTS_AT_ONCE)
                vectors = await knowledge.vectors(connection, base, model, [document.id for document in documents]) if model else {}
            for document in documents:
                await index.add(document, vectors)
            if len(documents) < DOCUMENTS_AT_ONCE:
                index.close()
                return
            after = documents[-1].id

    def _forget(self) -> None:
        """Keep as many bytes of text as may be indexed, and one index at least."""
        while (
            len(self._indexes) > 1 and sum(index.version.bytes for index in self._indexes.values()) > self._settings.knowledge_memory_bytes
        ):
            self._indexes.popitem(last=False)


async def embed(texts: Sequence[str], deployed: Deployed, seconds: float) -> Sequence[Sequence[float]]:
    """One vector for each text, within so many seconds. Raises ModelTimeout, ModelBusy, and what the engine raises."""
    deadline = asyncio.get_running_loop().time() + seconds
    async with deployed.places.place(deadline):
        try:
            async with asyncio.timeout_at(deadline):
                return await deployed.engine.embed(texts)
        except TimeoutError:
            raise ModelTimeout("the model took too long to make vectors") from None
