"""Documents that answers and insights may quote from, and texts as vectors."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from malha.sdk._connection import Connection
from malha.sdk._gen.malha.api.chat import v1 as api
from malha.sdk._pages import all_pages
from malha.sdk.chat import Citation
from malha.sdk.errors import ServerError

__all__ = ["Document"]

_SERVICE = "/malha.api.chat.v1.ChatService"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a knowledge base. Its text is not told again: ``search_documents`` gives the pieces that fit."""

    id: str
    knowledge_base: str
    title: str = ""
    language: str = ""
    """BCP 47 tag."""
    update_time: dt.datetime | None = None
    """When it was kept."""


async def save(connection: Connection, document: api.Document) -> Document:
    """Keep it, in place of one with the same id. Without an id it is a new one each time, so that it is not sent twice."""
    request = api.SaveDocumentRequest(document=document)
    answer = await connection.unary(f"{_SERVICE}/SaveDocument", request, api.SaveDocumentResponse, idempotent=bool(document.id))
    if answer.document is None:
        raise ServerError("the server answered without the document", reason="MALFORMED_RESPONSE")
    return _document_from(answer.document)


async def documents(connection: Connection, knowledge_base: str) -> tuple[Document, ...]:
    """All of them, by base and id."""

    async def page(token: str) -> tuple[Iterable[Document], str]:
        request = api.ListDocumentsRequest(knowledge_base=knowledge_base, page_size=_PAGE, page_token=token)
        answer = await connection.unary(f"{_SERVICE}/ListDocuments", request, api.ListDocumentsResponse)
        return map(_document_from, answer.documents), answer.next_page_token

    return await all_pages(page)


async def delete(connection: Connection, knowledge_base: str, document_id: str) -> None:
    """Take it out."""
    request = api.DeleteDocumentRequest(knowledge_base=knowledge_base, document_id=document_id)
    await connection.unary(f"{_SERVICE}/DeleteDocument", request, api.DeleteDocumentResponse, idempotent=False)


async def search(connection: Connection, knowledge_base: str, query: str, limit: int) -> tuple[Citation, ...]:
    """The pieces that fit, the best first."""
    request = api.SearchDocumentsRequest(knowledge_base=knowledge_base, query=query, limit=limit)
    answer = await connection.unary(f"{_SERVICE}/SearchDocuments", request, api.SearchDocumentsResponse)
    return tuple(Citation(found.document_id, found.title, found.quote, found.score) for found in answer.citations)


async def embed(connection: Connection, texts: Iterable[str], alias: str) -> tuple[tuple[float, ...], ...]:
    """One vector for each text."""
    answer = await connection.unary(f"{_SERVICE}/Embed", api.EmbedRequest(alias=alias, texts=list(texts)), api.EmbedResponse)
    return tuple(tuple(vector.values) for vector in answer.embeddings)


def _document_from(kept: api.Document) -> Document:
    return Document(kept.id, kept.knowledge_base, kept.title, kept.language, kept.update_time)
