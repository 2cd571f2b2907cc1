"""Webhooks: the contract's methods."""

import secrets
import uuid
from collections.abc import Mapping
from typing import Final

from malha.api.jobs.v1 import jobs_pb2 as api
from malha.jobs import webhook_store as store
from malha.jobs.messages import tenant_of, webhook_message
from malha.jobs.settings import JobSettings
from malha.runtime.auth import Principal
from malha.runtime.errors import ResourceExhausted
from malha.runtime.outbound import Outbound
from malha.runtime.rpc import UnaryMethod
from malha.store.database import Database

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what secrets begin with


class Webhooks:
    """Answers what is asked of webhooks."""

    def __init__(self, database: Database, settings: JobSettings, outbound: Outbound) -> None:
        self._database = database
        self._most = settings.webhooks_per_tenant
        self._outbound = outbound

    def methods(self) -> Mapping[str, UnaryMethod]:
        return {
            "CreateWebhook": UnaryMethod(self.create),
            "ListWebhooks": UnaryMethod(self.list),
            "DeleteWebhook": UnaryMethod(self.delete),
        }

    async def create(self, request: api.CreateWebhookRequest, principal: Principal) -> api.CreateWebhookResponse:
        """Make a webhook whose URL would not be refused now."""
        tenant, secret = tenant_of(principal), SECRET_PREFIX + secrets.token_urlsafe(32)
        await self._outbound.check(request.url)
        async with self._database.tenant_tx(tenant) as connection:
            kept = await store.create(connection, request.url, request.events, secret, self._most)
        if kept is None:
            raise ResourceExhausted(
                f"there are {self._most} webhooks already: delete one, or raise MALHA_WEBHOOKS_PER_TENANT",
                reason="TOO_MANY_WEBHOOKS",
                quota="webhooks",
            )
        return api.CreateWebhookResponse(webhook=webhook_message(kept), secret=secret)

    async def list(self, request: api.ListWebhooksRequest, principal: Principal) -> api.ListWebhooksResponse:
        """All webhooks."""
        del request
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.list_all(connection)
        return api.ListWebhooksResponse(webhooks=map(webhook_message, kept))

    async def delete(self, request: api.DeleteWebhookRequest, principal: Principal) -> api.DeleteWebhookResponse:
        """Delete a webhook."""
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            await store.delete(connection, uuid.UUID(request.webhook_id))
        return api.DeleteWebhookResponse()
