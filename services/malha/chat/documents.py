"""The contract's methods about knowledge bases."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from malha.api.chat.v1 import chat_pb2 as api
from malha.chat.knowledge.bases import KnowledgeBases
from malha.chat.scrubbing import Scrubbers
from malha.chat.session import citation
from malha.chat.store.knowledge import Document, Given
from malha.runtime.auth import Principal
from malha.runtime.errors import FailedPrecondition
from malha.runtime.pages import make_token, read_token
from malha.runtime.rpc import UnaryMethod

DEFAULT_PAGE: Final = 100
DEFAULT_FOUND: Final = 5


class Documents:
    """Documents, kept and looked up. Without a database every method raises FailedPrecondition."""

    def __init__(self, bases: KnowledgeBases | None, scrubbers: Scrubbers) -> None:
        self._bases = bases
        self._scrubbers = scrubbers

    def methods(self) -> Mapping[str, UnaryMethod]:
        return {
            "SaveDocument": UnaryMethod(self.save),
            "ListDocuments": UnaryMethod(self.list),
            "DeleteDocument": UnaryMethod(self.delete),
            "SearchDocuments": UnaryMethod(self.search),
        }

    async def save(self, request: api.SaveDocumentRequest, principal: Principal) -> api.SaveDocumentResponse:
        bases, tenant_id = self._place(principal)
        given = request.document
        kept = await bases.save(tenant_id, Given(given.knowledge_base, given.id, given.title, given.text, given.language))
        return api.SaveDocumentResponse(document=_message(kept))

    async def list(self, request: api.ListDocumentsRequest, principal: Principal) -> api.ListDocumentsResponse:
        bases, tenant_id = self._place(principal)
        most = request.page_size or DEFAULT_PAGE
        asked, after = ("ListDocuments", request.knowledge_base), ("", "")
        if request.page_token:
            base, name = read_token(principal, asked, request.page_token)
            after = base, name
        found = await bases.list(tenant_id, request.knowledge_base, after, most + 1)
        page, token = found[:most], ""
        if len(found) > most:
            token = make_token(principal, asked, (page[-1].knowledge_base, page[-1].id))
        return api.ListDocumentsResponse(documents=map(_message, page), next_page_token=token)

    async def delete(self, request: api.DeleteDocumentRequest, principal: Principal) -> api.DeleteDocumentResponse:
        bases, tenant_id = self._place(principal)
        await bases.delete(tenant_id, request.knowledge_base, request.document_id)
        return api.DeleteDocumentResponse()

    async def search(self, request: api.SearchDocumentsRequest, principal: Principal) -> api.SearchDocumentsResponse:
        bases, tenant_id = self._place(principal)
        query = await (await self._scrubbers.of(tenant_id)).text(request.query, "")
        found = await bases.search(tenant_id, request.knowledge_base, query, request.limit or DEFAULT_FOUND)
        return api.SearchDocumentsResponse(citations=map(citation, found))

    def _place(self, principal: Principal) -> tuple[KnowledgeBases, uuid.UUID]:
        if self._bases is None or principal.tenant_id is None:
            raise FailedPrecondition("this server keeps nothing: set MALHA_DATABASE_URL, or run `malha up`", reason="STORE_NOT_CONFIGURED")
        return self._bases, principal.tenant_id


def _message(kept: Document) -> api.Document:
    return api.Document(
        id=kept.id, knowledge_base=kept.knowledge_base, title=kept.title, language=kept.language, update_time=_timestamp(kept.updated_at)
    )


def _timestamp(at: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(at)
    return message
