"""The state of conversations: the contract's methods."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from malha.api.conversation.v1 import state_pb2 as api
from malha.conversation.messages import interval, invalid, json_of, struct_of, tenant_of, timestamp
from malha.conversation.settings import ConversationSettings
from malha.conversation.store import conversations
from malha.conversation.store import states as store
from malha.runtime.auth import Principal
from malha.runtime.pages import micros
from malha.runtime.rpc import UnaryMethod
from malha.store.database import Database, json_text
from malha.store.text import storable


class States:
    """Answers what is asked of state."""

    def __init__(self, database: Database, settings: ConversationSettings) -> None:
        self._database = database
        self._most_bytes = settings.conversation_state_bytes
        self._most_keys = settings.conversation_state_keys

    def methods(self) -> Mapping[str, UnaryMethod]:
        return {
            "SaveState": UnaryMethod(self.save),
            "GetState": UnaryMethod(self.get),
            "DeleteState": UnaryMethod(self.delete),
            "ListStates": UnaryMethod(self.list),
        }

    async def save(self, request: api.SaveStateRequest, principal: Principal) -> api.SaveStateResponse:
        """Save a value under a key."""
        value, key = self._value(request.value), storable(request.key)
        if not key:
            raise invalid("key", "must have a character that can be kept")
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await conversations.find(connection, request.conversation_id)
            info = await store.save(
                connection,
                kept.id,
                key,
                value,
                ttl=interval(request.ttl) if request.HasField("ttl") else None,
                if_revision=request.if_revision if request.HasField("if_revision") else None,
                most_keys=self._most_keys,
            )
        return api.SaveStateResponse(state=_info_message(info))

    async def get(self, request: api.GetStateRequest, principal: Principal) -> api.GetStateResponse:
        """A value."""
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await conversations.find(connection, request.conversation_id)
            state = await store.get(connection, kept.id, storable(request.key))
        return api.GetStateResponse(value=struct_of(state.value), state=_info_message(state.info))

    async def delete(self, request: api.DeleteStateRequest, principal: Principal) -> api.DeleteStateResponse:
        """Delete a value."""
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await conversations.find(connection, request.conversation_id)
            await store.delete(connection, kept.id, storable(request.key))
        return api.DeleteStateResponse()

    async def list(self, request: api.ListStatesRequest, principal: Principal) -> api.ListStatesResponse:
        """All keys of a conversation."""
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await conversations.find(connection, request.conversation_id)
            infos = await store.list_all(connection, kept.id)
        return api.ListStatesResponse(states=map(_info_message, infos))

    def _value(self, struct: Struct) -> Mapping[str, Any]:
        """The value as JSON. Raises InvalidArgument where it is too large."""
        value = json_of(struct)
        size = len(json_text(value).encode())
        if size > self._most_bytes:
            raise invalid("value", f"has {size} bytes as JSON, at most {self._most_bytes} are kept", reason="STATE_TOO_LARGE")
        return value


def _info_message(info: store.StateInfo) -> api.StateInfo:
    return api.StateInfo(
        key=info.key, revision=micros(info.updated_at), update_time=timestamp(info.updated_at), expire_time=timestamp(info.expires_at)
    )
