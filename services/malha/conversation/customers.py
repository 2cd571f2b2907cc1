"""Customers: the contract's methods."""

import uuid
from collections.abc import Mapping
from typing import Final

from malha.api.conversation.v1 import customer_pb2 as api
from malha.conversation.messages import customer_message, tenant_of
from malha.conversation.store import customers as store
from malha.runtime.auth import Principal
from malha.runtime.pages import make_token, read_token
from malha.runtime.rpc import UnaryMethod
from malha.store.database import Database
from malha.store.text import storable

_PAGE: Final = 100
_FIELDS: Final = ("name", "email", "phone", "source", "status")


class Customers:
    """Answers what is asked of customers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def methods(self) -> Mapping[str, UnaryMethod]:
        return {
            "CreateCustomer": UnaryMethod(self.create),
            "GetCustomer": UnaryMethod(self.get),
            "ListCustomers": UnaryMethod(self.list),
            "UpdateCustomer": UnaryMethod(self.update),
        }

    async def create(self, request: api.CreateCustomerRequest, principal: Principal) -> api.CreateCustomerResponse:
        """Make a customer."""
        details = store.Details(**{field: storable(getattr(request, field)) for field in _FIELDS})
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.create(connection, storable(request.external_id) or None, details)
        return api.CreateCustomerResponse(customer=customer_message(kept))

    async def get(self, request: api.GetCustomerRequest, principal: Principal) -> api.GetCustomerResponse:
        """A customer."""
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.find(connection, request.customer_id)
        return api.GetCustomerResponse(customer=customer_message(kept))

    async def list(self, request: api.ListCustomersRequest, principal: Principal) -> api.ListCustomersResponse:
        """A page of customers."""
        most = request.page_size or _PAGE
        asked = ("ListCustomers", request.email, request.phone)
        after = uuid.UUID(read_token(principal, asked, request.page_token)[0]) if request.page_token else None
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.newest(connection, storable(request.email), storable(request.phone), after, most + 1)
        token = make_token(principal, asked, (str(kept[most - 1].id),)) if len(kept) > most else ""
        return api.ListCustomersResponse(customers=map(customer_message, kept[:most]), next_page_token=token)

    async def update(self, request: api.UpdateCustomerRequest, principal: Principal) -> api.UpdateCustomerResponse:
        """Change a customer."""
        given = (field for field in _FIELDS if request.HasField(field))
        details = store.Details(**{field: storable(getattr(request, field)) for field in given})
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.find(connection, request.customer_id)
            kept = await store.update(connection, kept.id, details)
        return api.UpdateCustomerResponse(customer=customer_message(kept))
