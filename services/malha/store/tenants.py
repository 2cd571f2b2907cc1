"""Tenants: who they are by name, and their settings."""

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from malha.runtime.errors import NotFound
from malha.store.database import Database

_INSERT = "INSERT INTO tenant (id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
_UPDATE = "UPDATE tenant SET settings = jsonb_strip_nulls(settings || $2) WHERE id = $1 RETURNING settings"
_UPDATE_QUOTA = """
    UPDATE tenant SET settings = jsonb_strip_nulls(
        settings || jsonb_build_object('quota', CASE jsonb_typeof(settings -> 'quota') WHEN 'object' THEN settings -> 'quota' ELSE '{}' END || $2))
    WHERE id = $1 RETURNING settings
"""


class Tenants:
    """The tenants of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> Mapping[str, uuid.UUID]:
        """All ids by name, in the order of names."""
        async with self._database.app_tx() as connection:
            return {row["name"]: row["id"] for row in await connection.fetch("SELECT id, name FROM malha_tenants()")}

    async def find(self, name: str) -> uuid.UUID:
        """The id of a tenant. Raises NotFound."""
        async with self._database.app_tx() as connection:
            found: uuid.UUID | None = await connection.fetchval("SELECT malha_find_tenant($1)", name)
        if found is None:
            raise NotFound("there is no tenant of this name", reason="TENANT_UNKNOWN")
        return found

    async def ensure(self, names: Collection[str]) -> Mapping[str, uuid.UUID]:
        """The ids of tenants by name, made where there are none."""
        return {name: await self._ensure(name) for name in names}

    async def settings(self, ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, Mapping[str, Any]]:
        """The settings of tenants; those there are none of are left out."""
        found = {}
        for tenant in ids:
            async with self._database.tenant_tx(tenant) as connection:
                settings = await connection.fetchval("SELECT settings FROM tenant WHERE id = $1", tenant)
            if settings is not None:
                found[tenant] = settings
        return found

    async def update(self, tenant: uuid.UUID, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace settings by their name, null taking one away; all of them afterwards. Raises NotFound."""
        return await self._update(_UPDATE, tenant, settings)

    async def update_quota(self, tenant: uuid.UUID, limits: Mapping[str, int | None]) -> Mapping[str, Any]:
        """Set limits (``streams``, ``calls_per_minute``; see `malha.runtime.quotas`), None: the server's own again. Raises NotFound.

        All of the tenant's settings afterwards.
        """
        return await self._update(_UPDATE_QUOTA, tenant, limits)

    async def _update(self, statement: str, tenant: uuid.UUID, values: Mapping[str, Any]) -> Mapping[str, Any]:
        async with self._database.tenant_tx(tenant) as connection:
            updated: Mapping[str, Any] | None = await connection.fetchval(statement, tenant, dict(values))
        if updated is None:
            raise NotFound("there is no such tenant", reason="TENANT_UNKNOWN")
        return updated

    async def _ensure(self, name: str) -> uuid.UUID:
        """A tenant is inserted as itself: row-level security lets nobody else."""
        async with self._database.app_tx() as connection:
            found: uuid.UUID | None = await connection.fetchval("SELECT malha_find_tenant($1)", name)
            if found is None:
                new = await connection.fetchval("SELECT malha_uuid7()")
                await connection.execute("SELECT set_config('malha.tenant', $1, true)", str(new))
                await connection.execute(_INSERT, new, name)
                found = await connection.fetchval("SELECT malha_find_tenant($1)", name)  # another process may have been first
        if found is None:
            raise AssertionError(name)
        return found
