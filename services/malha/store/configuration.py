"""What a tenant has set for its calls: glossary, names, keywords, policies, catalogue. `malha.api.insight.v1.Configuration` in the database.

InsightService writes it; Audio reads it when a call opens. What is read is kept for a few seconds, so that a morning's rush of calls is one query.
"""

import time
import uuid
from typing import Any, Final

from google.protobuf import json_format

from malha.api.insight.v1 import rules_pb2
from malha.runtime.errors import Aborted
from malha.store.database import Database

KEEP_SECONDS: Final = 10.0
_MOST_KEPT: Final = 1_000
_NEWEST = "SELECT revision, body FROM insight_configuration WHERE tenant_id = $1 ORDER BY revision DESC LIMIT 1"
_INSERT = """
    INSERT INTO insight_configuration (tenant_id, revision, body, actor) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING revision
"""


class Configurations:
    """The configurations of tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[uuid.UUID, tuple[float, rules_pb2.Configuration]] = {}

    async def of(self, tenant_id: uuid.UUID) -> rules_pb2.Configuration:
        """A tenant's configuration, at most ten seconds old; an empty one (revision 0) where it has set nothing. Not to be changed."""
        now = time.monotonic()
        known = self._kept.get(tenant_id)
        if known is not None and now - known[0] < KEEP_SECONDS:
            return known[1]
        configuration = await self.newest(tenant_id)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[tenant_id] = now, configuration
        return configuration

    async def newest(self, tenant_id: uuid.UUID) -> rules_pb2.Configuration:
        """As it is stored now."""
        async with self._database.tenant_tx(tenant_id) as connection:
            row = await connection.fetchrow(_NEWEST, tenant_id)
        if row is None:
            return rules_pb2.Configuration()
        body: dict[str, Any] = row["body"]
        configuration = json_format.ParseDict(body, rules_pb2.Configuration(), ignore_unknown_fields=True)
        configuration.revision = row["revision"]
        return configuration

    async def replace(self, tenant_id: uuid.UUID, configuration: rules_pb2.Configuration, actor: str) -> rules_pb2.Configuration:
        """Store the next revision. Raises Aborted (REVISION_STALE) where somebody else has stored one since it was read."""
        stored = await self.newest(tenant_id)
        if configuration.revision not in (0, stored.revision):
            raise _stale(stored.revision)
        kept = rules_pb2.Configuration()
        kept.CopyFrom(configuration)
        kept.ClearField("revision")
        body = json_format.MessageToDict(kept, preserving_proto_field_name=True)
        async with self._database.tenant_tx(tenant_id) as connection:
            revision = await connection.fetchval(_INSERT, tenant_id, stored.revision + 1, body, actor)
        if revision is None:
            raise _stale(stored.revision + 1)
        kept.revision = revision
        self._kept.pop(tenant_id, None)
        return kept


def _stale(revision: int) -> Aborted:
    return Aborted(f"the configuration is at revision {revision} now: read it again and change that", reason="REVISION_STALE")
