"""The client's part that keeps what language models may quote from."""

from collections.abc import Iterable

from malha.sdk import knowledge
from malha.sdk._connection import Connection
from malha.sdk._gen.malha.api.chat import v1 as api
from malha.sdk.chat import Citation, texts_of
from malha.sdk.knowledge import Document


class Knowing:
    """Knowledge bases, and vectors."""

    _connection: Connection

    async def save_document(
        self, knowledge_base: str, text: str, *, document_id: str = "", title: str = "", language: str = ""
    ) -> Document:
        """Put a document into a knowledge base, which is made by its first one.

        Args:
            knowledge_base: As the tenant calls it.
            text: Plain text, up to 1,000,000 characters.
            document_id: One with the same id is replaced; none: a new one, with an id of the server's.
            title: For people; quoted with the text.
            language: BCP 47 tag; none: as the text is.

        Raises QuotaExceeded where the base is full, MalhaError.
        """
        document = api.Document(id=document_id, knowledge_base=knowledge_base, title=title, text=text, language=language)
        return await knowledge.save(self._connection, document)

    async def documents(self, knowledge_base: str = "") -> tuple[Document, ...]:
        """The documents of a knowledge base by id; without one, those of all. Raises MalhaError."""
        return await knowledge.documents(self._connection, knowledge_base)

    async def delete_document(self, knowledge_base: str, document_id: str) -> None:
        """Take a document out. Raises NotFound, MalhaError."""
        await knowledge.delete(self._connection, knowledge_base, document_id)

    async def search_documents(self, knowledge_base: str, query: str, *, limit: int = 5) -> tuple[Citation, ...]:
        """The pieces of a knowledge base that fit a question, the best first, as answers and insights are given them; at most 50.

        Raises MalhaError.
        """
        return await knowledge.search(self._connection, knowledge_base, query, limit)

    async def embed(self, texts: str | Iterable[str], *, alias: str = "") -> tuple[tuple[float, ...], ...]:
        """One vector for each text, at most 256 texts. Personal data in them is masked, unless the tenant keeps it.

        ``alias``: the model that makes vectors; none: the server's. Raises FailedPrecondition where it has none, MalhaError.
        """
        return await knowledge.embed(self._connection, texts_of(texts), alias)
