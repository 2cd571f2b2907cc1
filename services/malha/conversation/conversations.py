"""Conversations and their messages: the contract's methods."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from malha.api.conversation.v1 import conversation_pb2 as api
from malha.conversation.messages import (
    CHANNELS,
    SENDERS,
    STATUSES,
    conversation_message,
    fill_entry,
    invalid,
    message_message,
    moment,
    name_of,
    tenant_of,
)
from malha.conversation.store import conversations as store
from malha.conversation.store import customers, search, transcript
from malha.conversation.store.names import as_uuid
from malha.runtime.auth import Principal
from malha.runtime.pages import EPOCH, make_token, micros, moment_of, read_token
from malha.runtime.rpc import UnaryMethod
from malha.store.database import Database
from malha.store.roles import Connection
from malha.store.text import storable

_PAGE: Final = 100
_SEARCH_PAGE: Final = 20
_ENTRIES_PAGE: Final = 500
_ENTRIES_BYTES: Final = 2 * 1024 * 1024
"""Of a transcript in one answer; a message of gRPC may have 4 MiB."""
_ENTRIES_AT_ONCE: Final = 100
"""Made into messages before calls that go on have their turn."""


class Conversations:
    """Answers what is asked of conversations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def methods(self) -> Mapping[str, UnaryMethod]:
        return {
            "GetConversation": UnaryMethod(self.get),
            "ListConversations": UnaryMethod(self.list),
            "SearchConversations": UnaryMethod(self.search),
            "UpsertConversation": UnaryMethod(self.upsert),
            "UpdateConversation": UnaryMethod(self.update),
            "DeleteConversation": UnaryMethod(self.delete),
            "CreateMessage": UnaryMethod(self.create_message),
        }

    async def get(self, request: api.GetConversationRequest, principal: Principal) -> api.GetConversationResponse:
        """A conversation with a page of its transcript."""
        most = request.page_size or _ENTRIES_PAGE
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.find(connection, request.conversation_id)
            asked = ("GetConversation", kept.id)
            place = (EPOCH.min.replace(tzinfo=EPOCH.tzinfo), "")
            if request.page_token:
                at, name = read_token(principal, asked, request.page_token)
                place = (moment_of(at), name)
            entries = await transcript.entries(connection, kept.id, place, most + 1, words=request.words)
        response, size = api.GetConversationResponse(conversation=conversation_message(kept)), 0
        for index, entry in enumerate(entries):
            message = response.entries.add()
            fill_entry(message, entry)
            size += message.ByteSize()
            if index == most or (index and size > _ENTRIES_BYTES):
                del response.entries[-1]
                last = entries[index - 1]
                response.next_page_token = make_token(principal, asked, (micros(last.at), last.name))
                break
            if index % _ENTRIES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return response

    async def list(self, request: api.ListConversationsRequest, principal: Principal) -> api.ListConversationsResponse:
        """A page of conversations."""
        most = request.page_size or _PAGE
        began_from, began_until = moment(request, "start_time_from"), moment(request, "start_time_until")
        asked = ("ListConversations", request.customer_id, request.status, request.channel, began_from, began_until)
        after = _place(principal, asked, request.page_token)
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            wanted = store.Filter(
                customer_id=(await customers.find(connection, request.customer_id)).id if request.customer_id else None,
                status=name_of(STATUSES, request.status),
                channel=name_of(CHANNELS, request.channel),
                began_from=began_from,
                began_until=began_until,
            )
            kept = await store.newest(connection, wanted, after, most + 1)
        token = _next_token(principal, asked, kept[most - 1]) if len(kept) > most else ""
        return api.ListConversationsResponse(conversations=map(conversation_message, kept[:most]), next_page_token=token)

    async def search(self, request: api.SearchConversationsRequest, principal: Principal) -> api.SearchConversationsResponse:
        """A page of the conversations that have the words."""
        most = request.page_size or _SEARCH_PAGE
        asked = ("SearchConversations", request.query)
        after, words = _place(principal, asked, request.page_token), search.query_of(request.query)
        if not words:
            raise invalid("query", "needs a word")
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            found = await search.search(connection, words, after, most + 1)
        token = _next_token(principal, asked, found[most - 1].conversation) if len(found) > most else ""
        return api.SearchConversationsResponse(conversations=map(_found_message, found[:most]), next_page_token=token)

    async def upsert(self, request: api.UpsertConversationRequest, principal: Principal) -> api.UpsertConversationResponse:
        """Make or change a conversation."""
        channel, started_at = name_of(CHANNELS, request.channel), moment(request, "start_time")
        if not storable(request.conversation_id):
            raise invalid("conversation_id", "must have a character that can be kept")
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            change = await _change(connection, request, channel, started_at)
            kept, created = await store.upsert(connection, request.conversation_id, change)
        return api.UpsertConversationResponse(conversation=conversation_message(kept), created=created)

    async def update(self, request: api.UpdateConversationRequest, principal: Principal) -> api.UpdateConversationResponse:
        """Change a conversation."""
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.find(connection, request.conversation_id)
            kept = await store.update(connection, kept.id, await _change(connection, request))
        return api.UpdateConversationResponse(conversation=conversation_message(kept))

    async def delete(self, request: api.DeleteConversationRequest, principal: Principal) -> api.DeleteConversationResponse:
        """Delete a conversation with all that belongs to it."""
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.find(connection, request.conversation_id)
            await store.delete(connection, kept.id, principal.token_id)
        return api.DeleteConversationResponse()

    async def create_message(self, request: api.CreateMessageRequest, principal: Principal) -> api.CreateMessageResponse:
        """Keep a message."""
        text = storable(request.text)
        if not text:
            raise invalid("text", "must have a character that can be kept")
        new = transcript.NewMessage(
            external_id=storable(request.external_id) or None,
            sender_type=name_of(SENDERS, request.sender_type) or "",
            sender_id=storable(request.sender_id),
            text=text,
            created_at=moment(request, "create_time"),
        )
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.find(connection, request.conversation_id)
            message = await transcript.add_message(connection, kept.id, new)
        return api.CreateMessageResponse(message=message_message(message))


async def _change(connection: Connection, request: Any, channel: str | None = None, started_at: Any = None) -> store.Change:
    """What a request wants changed. Raises NotFound for its customer."""
    return store.Change(
        sets_customer=request.HasField("customer_id"),
        customer_id=(await customers.find(connection, request.customer_id)).id if request.customer_id else None,
        channel=channel,
        status=name_of(STATUSES, request.status),
        subject=storable(request.subject) if request.HasField("subject") else None,
        started_at=started_at,
    )


def _found_message(found: search.Found) -> api.FoundConversation:
    return api.FoundConversation(conversation=conversation_message(found.conversation), matches=map(_match_message, found.matches))


def _match_message(match: search.Match) -> api.Match:
    return api.Match(
        session_id=str(match.session_id or ""),
        segment_id=match.segment_id or "",
        message_id=str(match.message_id or ""),
        snippet=match.snippet,
        highlights=(api.Highlight(start=start, end=end) for start, end in match.highlights),
    )


def _place(principal: Principal, asked: tuple[object, ...], token: str) -> store.Place | None:
    if not token:
        return None
    at, name = read_token(principal, asked, token)
    conversation_id = as_uuid(name)
    return None if conversation_id is None else (moment_of(at), conversation_id)


def _next_token(principal: Principal, asked: tuple[object, ...], last: store.Conversation) -> str:
    return make_token(principal, asked, (micros(last.started_at), str(last.id)))
