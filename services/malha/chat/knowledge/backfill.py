"""Vectors for documents that were kept while the model that makes them was away, or with another model: made later, one document after the other.

Nobody lists what lacks them: a base is noted when a document is saved without, and when its index is made and finds some. So nothing is lost with
the process, and what is noted is bounded.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Final

from malha.chat.calls import CallContext
from malha.chat.embedding import Embedder, Vectors
from malha.chat.knowledge.pieces import split
from malha.chat.store import knowledge
from malha.runtime import logs
from malha.runtime.errors import FailedPrecondition, InvalidArgument, MalhaError
from malha.runtime.logs import Event
from malha.store.database import Database

log = logs.get("chat.knowledge")

PURPOSE: Final = "knowledge"
"""Of calls that make vectors of documents, and of what is looked up."""
TEXTS_AT_ONCE: Final = 64
"""That are embedded in one request."""
EMBED_SECONDS: Final = 30.0
MOST_BASES: Final = 1000
"""Noted at once; of more the first noted is left out, and noted again when its index is made."""

Key = tuple[uuid.UUID, str]


class Backfill:
    """From `start` to `close`. ``filled`` is told of each base that got vectors."""

    def __init__(self, database: Database, embedder: Embedder, retry_seconds: float, filled: Callable[[Key], None]) -> None:
        self._database = database
        self._embedder = embedder
        self._retry_seconds = retry_seconds
        self._filled = filled
        self._wanted: dict[Key, None] = {}
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="make-vectors")

    async def close(self) -> None:
        """Stop; what is not done is found again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def want(self, key: Key) -> None:
        """Note a base some of whose documents have no vectors."""
        if not self._embedder.model:
            return
        self._wanted[key] = None
        if len(self._wanted) > MOST_BASES:
            del self._wanted[next(iter(self._wanted))]
        self._some.set()

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            for key in list(self._wanted):
                del self._wanted[key]
                try:
                    await self._fill(key)
                except MalhaError:
                    self.want(key)
                except Exception as error:  # that base is left alone until its index is made again; the others go on
                    log.error(Event.BACKGROUND_DEFECT, cause=error, task="vectors")
            if self._wanted:
                await asyncio.sleep(self._retry_seconds)
            else:
                self._some.clear()

    async def _fill(self, key: Key) -> None:
        """Make what a base lacks. A document that the model refuses is left out. Raises MalhaError where the rest has to wait."""
        (tenant_id, base), model, after, made = key, self._embedder.model, "", False
        try:
            while True:
                async with self._database.tenant_tx(tenant_id) as connection:
                    found = await knowledge.without_vectors(connection, base, model, after)
                if found is None:
                    return
                document, kept_at = found
                after = document.id
                try:
                    vectors = await vectors_of(self._embedder, tenant_id, document.text)
                except (FailedPrecondition, InvalidArgument):
                    continue
                async with self._database.tenant_tx(tenant_id) as connection:
                    await knowledge.add_vectors(connection, document, kept_at, model, vectors)
                made = True
        finally:
            if made:
                self._filled(key)


async def vectors_of(embedder: Embedder, tenant_id: uuid.UUID, text: str) -> Vectors:
    """One vector for each piece of a document. Raises what `Embedder.embed` does."""
    pieces, found = list(split(text)), list[list[float]]()
    context = CallContext(tenant_id, PURPOSE, embedder.model)
    for start in range(0, len(pieces), TEXTS_AT_ONCE):
        made = await embedder.embed(pieces[start : start + TEXTS_AT_ONCE], context, str(tenant_id), EMBED_SECONDS)
        found += map(list, made)
    return found
