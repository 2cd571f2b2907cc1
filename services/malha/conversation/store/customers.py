"""Customers."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from malha.conversation.store.names import as_uuid
from malha.runtime.errors import FailedPrecondition, NotFound
from malha.store.roles import Connection
from malha.store.text import storable

COLUMNS: Final = "id, external_id, name, email, phone, source, status, created_at, updated_at"

FIND: Final = f"""
    SELECT {COLUMNS} FROM customer WHERE external_id = $1 OR id = $2 ORDER BY external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1
"""  # noqa: S608 - constants
INSERT: Final = f"""
    INSERT INTO customer (tenant_id, external_id, name, email, phone, source, status) VALUES (malha_tenant(), $1, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant_id, external_id) DO NOTHING
    RETURNING {COLUMNS}
"""  # noqa: S608 - constants
UPDATE: Final = f"""
    UPDATE customer SET name = COALESCE($2, name), email = COALESCE($3, email), phone = COALESCE($4, phone),
        source = COALESCE($5, source), status = COALESCE($6, status), updated_at = now()
    WHERE id = $1
    RETURNING {COLUMNS}
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Customer:
    """A row."""

    id: uuid.UUID
    external_id: str | None
    name: str
    email: str
    phone: str
    source: str
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of a customer. None: as it is."""

    name: str | None = None
    email: str | None = None
    phone: str | None = None
    source: str | None = None
    status: str | None = None


async def find(connection: Connection, name: str) -> Customer:
    """The customer of that name or id. Raises NotFound."""
    row = await connection.fetchrow(FIND, storable(name), as_uuid(name))
    if row is None:
        raise NotFound("there is no such customer", reason="CUSTOMER_NOT_FOUND")
    return _customer(row)


async def newest(connection: Connection, email: str, phone: str, after: uuid.UUID | None, most: int) -> list[Customer]:
    """Those that were made last, before ``after``: ids are in order of time."""
    clauses, values = ["true"], list[Any]([most])
    for condition, value in (("email = {}", email or None), ("phone = {}", phone or None), ("id < {}", after)):
        if value is not None:
            values.append(value)
            clauses.append(condition.format(f"${len(values)}"))
    query = f"SELECT {COLUMNS} FROM customer WHERE {' AND '.join(clauses)} ORDER BY id DESC LIMIT $1"  # noqa: S608 - constants
    return [_customer(row) for row in await connection.fetch(query, *values)]


async def create(connection: Connection, external_id: str | None, details: Details) -> Customer:
    """Make a customer. Raises FailedPrecondition where there is one of that name."""
    row = await connection.fetchrow(
        INSERT, external_id, details.name, details.email, details.phone, details.source, details.status or "active"
    )
    if row is None:
        raise FailedPrecondition("there is a customer of this external_id: update it", reason="CUSTOMER_EXISTS")
    return _customer(row)


async def update(connection: Connection, customer_id: uuid.UUID, details: Details) -> Customer:
    """Change a customer. Raises NotFound."""
    row = await connection.fetchrow(UPDATE, customer_id, details.name, details.email, details.phone, details.source, details.status)
    if row is None:
        raise NotFound("there is no such customer", reason="CUSTOMER_NOT_FOUND")
    return _customer(row)


def _customer(row: asyncpg.Record) -> Customer:
    return Customer(*(row[name] for name in Customer.__slots__))
