"""Rules in PostgreSQL: every version is kept, since an insight names the one that made it."""

import uuid
from typing import Any, Final

from google.protobuf import json_format

from malha.api.insight.v1 import rules_pb2
from malha.runtime.errors import Aborted, NotFound, ResourceExhausted
from malha.store.database import Database
from malha.store.roles import Connection
from malha.store.text import storable_json

MOST_RULES: Final = 500
"""Of a tenant."""

_GET: Final = """
    SELECT id, version, body FROM insight_rule WHERE id = $1 AND ($2 = 0 OR version = $2) ORDER BY version DESC LIMIT 1
"""
_NEWEST: Final = """
    SELECT * FROM (SELECT DISTINCT ON (id) id, version, body FROM insight_rule ORDER BY id, version DESC) AS newest WHERE body IS NOT NULL
    ORDER BY id
"""
_COUNT: Final = f"SELECT count(*) FROM ({_NEWEST}) AS rules WHERE id <> $1"  # noqa: S608 - constants
_INSERT: Final = """
    INSERT INTO insight_rule (tenant_id, id, version, body, actor) VALUES (malha_tenant(), $1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING version
"""


class RuleStore:
    """The rules of tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, tenant_id: uuid.UUID) -> list[rules_pb2.Rule]:
        """A tenant's rules, by id."""
        async with self._database.tenant_tx(tenant_id) as connection:
            return [_rule(row) for row in await connection.fetch(_NEWEST)]

    async def get(self, tenant_id: uuid.UUID, rule_id: str, version: int = 0) -> rules_pb2.Rule:
        """One rule; 0: its newest version. Raises NotFound."""
        async with self._database.tenant_tx(tenant_id) as connection:
            row = await connection.fetchrow(_GET, rule_id, version)
        if row is None or row["body"] is None:
            raise _unknown()
        return _rule(row)

    async def save(self, tenant_id: uuid.UUID, rule: rules_pb2.Rule, actor: str) -> rules_pb2.Rule:
        """Keep the next version. Raises Aborted (REVISION_STALE) where somebody else has kept one since it was read, ResourceExhausted."""
        body = storable_json(json_format.MessageToDict(rule, preserving_proto_field_name=True))
        del body["id"]
        body.pop("version", None)
        kept = json_format.ParseDict(body, rules_pb2.Rule())
        async with self._database.tenant_tx(tenant_id) as connection:
            if await connection.fetchval(_COUNT, rule.id) >= MOST_RULES:
                raise ResourceExhausted(f"a tenant has at most {MOST_RULES} rules: delete some", reason="TOO_MANY_RULES", quota="rules")
            kept.version = await self._append(connection, rule.id, rule.version, body, actor)
        kept.id = rule.id
        return kept

    async def delete(self, tenant_id: uuid.UUID, rule_id: str, actor: str) -> None:
        """End a rule; its versions stay. Raises NotFound."""
        async with self._database.tenant_tx(tenant_id) as connection:
            row = await connection.fetchrow(_GET, rule_id, 0)
            if row is None or row["body"] is None:
                raise _unknown()
            await self._append(connection, rule_id, 0, None, actor)

    async def _append(self, connection: Connection, rule_id: str, read: int, body: dict[str, Any] | None, actor: str) -> int:
        row = await connection.fetchrow(_GET, rule_id, 0)
        stored = row["version"] if row is not None else 0
        version: int | None = None
        if read in (0, stored):
            version = await connection.fetchval(_INSERT, rule_id, stored + 1, body, actor)
        if version is None:
            raise Aborted("somebody has changed this rule: read it again and change that", reason="REVISION_STALE")
        return version


def _unknown() -> NotFound:
    return NotFound("there is no such rule", reason="RULE_NOT_FOUND")


def _rule(row: Any) -> rules_pb2.Rule:
    rule = json_format.ParseDict(row["body"], rules_pb2.Rule(), ignore_unknown_fields=True)
    rule.id, rule.version = row["id"], row["version"]
    return rule
