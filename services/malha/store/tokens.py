"""Tokens as the store keeps them: their SHA-256 and what they allow, never the tokens."""

import secrets
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from malha.runtime.auth import Grant, digest_of
from malha.runtime.errors import InvalidArgument, NotFound
from malha.runtime.scopes import ALL_SCOPES, DEFAULT_SCOPES
from malha.store.database import Database
from malha.store.roles import Connection
from malha.store.tenants import Tenants
from malha.store.text import storable

PREFIX: Final = "malha_"
"""What tokens begin with, so that people, and programs that look for leaked secrets, know them."""
NAME_LENGTH: Final = 200

_FIND = """
    SELECT given.digest, tenant_id, tenant_name, token_id, scopes, counter, expires_at, revoked_at
    FROM unnest($1::bytea[]) AS given (digest) CROSS JOIN LATERAL malha_find_token(given.digest)
"""
_INSERT = """
    INSERT INTO token (tenant_id, digest, name, scopes, counter, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
    RETURNING id, name, scopes, counter, created_at, expires_at, revoked_at
"""
_LIST = "SELECT id, name, scopes, counter, created_at, expires_at, revoked_at FROM token WHERE tenant_id = $1 ORDER BY created_at, id"
_REVOKE = """
    UPDATE token SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND id = $2
    RETURNING id, name, scopes, counter, created_at, expires_at, revoked_at
"""
_AUDIT = "INSERT INTO audit (tenant_id, actor, action, object_type, object_id) VALUES ($1, $2, $3, 'token', $4)"


@dataclass(frozen=True, slots=True)
class Token:
    """What may be told of a token."""

    tenant: str
    id: uuid.UUID
    name: str
    scopes: tuple[str, ...]
    counter: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Tokens:
    """The tokens of a database: `malha.runtime.auth.TokenDirectory`, and what `malha token` does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tenants = Tenants(database)

    async def find(self, digests: Collection[bytes]) -> Mapping[bytes, Grant]:
        """What tokens allow, in one query; those there are none of are left out."""
        async with self._database.app_tx() as connection:
            rows = await connection.fetch(_FIND, list(digests))
        return {row["digest"]: _grant(row) for row in rows}

    async def ensure_tenants(self, names: Collection[str]) -> Mapping[str, uuid.UUID]:
        """The ids of tenants by name, made where there are none."""
        return await self._tenants.ensure(names)

    async def create(
        self,
        tenant: str,
        *,
        actor: str,
        name: str = "",
        scopes: Iterable[str] = DEFAULT_SCOPES,
        counter: str | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[str, Token]:
        """Make a token for a tenant, who is made too where there is none of this name. The token itself is nowhere to be had again.

        ``actor`` is who does it, for the audit. Raises InvalidArgument for a scope there is none of, and for what is too long.
        """
        wanted = _checked_scopes(scopes)
        name, counter = _checked("name", name), None if counter is None else _checked("counter", counter)
        tenant_id = (await self._tenants.ensure([_checked("tenant", tenant, least=1)]))[tenant]
        secret = PREFIX + secrets.token_urlsafe(32)
        async with self._database.tenant_tx(tenant_id) as connection:
            row = await connection.fetchrow(_INSERT, tenant_id, digest_of(secret), name, wanted, counter, expires_at)
            await _audit(connection, tenant_id, actor, "token.create", row["id"])
        return secret, _token(tenant, row)

    async def list(self, tenant: str | None = None) -> list[Token]:
        """All tokens, or those of one tenant, oldest first within each. Raises NotFound for a tenant there is none of."""
        found = []
        for name, tenant_id in (await self._tenants_of(tenant)).items():
            async with self._database.tenant_tx(tenant_id) as connection:
                found += [_token(name, row) for row in await connection.fetch(_LIST, tenant_id)]
        return found

    async def revoke(self, token_id: uuid.UUID, *, actor: str, tenant: str | None = None) -> Token:
        """End a token, of whatever tenant unless one is named; one that has been revoked stays so since then. Raises NotFound."""
        for name, tenant_id in (await self._tenants_of(tenant)).items():
            async with self._database.tenant_tx(tenant_id) as connection:
                row = await connection.fetchrow(_REVOKE, tenant_id, token_id)
                if row is not None:
                    await _audit(connection, tenant_id, actor, "token.revoke", token_id)
                    return _token(name, row)
        raise NotFound("there is no token with this id: see `malha token list`", reason="TOKEN_UNKNOWN")

    async def _tenants_of(self, name: str | None) -> Mapping[str, uuid.UUID]:
        return await self._tenants.list() if name is None else {name: await self._tenants.find(name)}


async def _audit(connection: Connection, tenant: uuid.UUID, actor: str, action: str, token: uuid.UUID) -> None:
    await connection.execute(_AUDIT, tenant, actor, action, str(token))


def _checked_scopes(scopes: Iterable[str]) -> list[str]:
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in ALL_SCOPES]
    if unknown or not wanted:
        raise InvalidArgument(
            f"there is no scope {', '.join(unknown) or 'at all'}: name some of {', '.join(sorted(ALL_SCOPES))}", reason="SCOPE_UNKNOWN"
        )
    return wanted


def _checked(what: str, text: str, *, least: int = 0) -> str:
    if not least <= len(text) <= NAME_LENGTH or storable(text) != text:
        raise InvalidArgument(f"{what}: {least} to {NAME_LENGTH} characters that can be stored", violations={what: "length or characters"})
    return text


def _token(tenant: str, row: Mapping[str, Any]) -> Token:
    return Token(tenant, **{**row, "scopes": tuple(row["scopes"])})


def _grant(row: Mapping[str, Any]) -> Grant:
    return Grant(
        row["tenant_name"],
        row["tenant_id"],
        str(row["token_id"]),
        frozenset(row["scopes"]),
        row["counter"],
        row["expires_at"],
        row["revoked_at"],
    )
