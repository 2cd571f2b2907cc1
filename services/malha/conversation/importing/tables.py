"""Tables ``customers``, ``conversations`` and ``messages`` of any PostgreSQL, read through in one snapshot."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg

from malha.conversation.importing.records import CONVERSATION_FIELDS, CUSTOMER_FIELDS, MESSAGE_FIELDS
from malha.runtime.errors import FailedPrecondition, MalhaError, Unavailable

_CONNECT_SECONDS: Final = 10.0
_STATEMENT_SECONDS: Final = 300.0

TABLES: Final = {"customers": CUSTOMER_FIELDS, "conversations": CONVERSATION_FIELDS, "messages": MESSAGE_FIELDS}
REQUIRED: Final = {"customers": {"id"}, "conversations": {"id"}, "messages": {"id", "conversation_id", "sender_type", "text"}}
_COLUMNS: Final = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"


class Tables:
    """The other database. Used within `opened`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._columns: dict[str, dict[str, str]] = {}

    async def find(self) -> None:
        """Look what there is. Raises FailedPrecondition where that is not enough."""
        for table, fields in TABLES.items():
            there = {row["attname"] for row in await self._connection.fetch(_COLUMNS, table)}
            if not there:
                continue
            columns = {field: name for field, names in fields.items() for name in names[::-1] if name in there}
            missing = sorted(REQUIRED[table] - columns.keys())
            if missing:
                known = "; ".join(" or ".join(fields[field]) for field in missing)
                raise FailedPrecondition(f"table {table} lacks a column {known}", reason="IMPORT_COLUMNS")
            self._columns[table] = columns
        if "conversations" not in self._columns:
            raise FailedPrecondition("there is no table `conversations` that this login can see", reason="IMPORT_TABLES")

    async def cursor(self, table: str) -> Any:
        """All rows of a table, as text by the names of fields, in the order of their ids; None where there is no such table."""
        columns = self._columns.get(table)
        if columns is None:
            return None
        wanted = ", ".join(f'"{name}"::text AS "{field}"' for field, name in columns.items())
        query = f'SELECT {wanted} FROM {table} ORDER BY "{columns["id"]}"'  # noqa: S608 - names of ours
        return await self._connection.cursor(query, timeout=_STATEMENT_SECONDS)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Tables]:
    """Connect and look. Raises Unavailable, and FailedPrecondition where it is no such database."""
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS, command_timeout=_STATEMENT_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise Unavailable(f"the database to import from cannot be opened ({type(error).__name__})", reason="IMPORT_SOURCE") from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute("SELECT set_config('datestyle', 'ISO, YMD', true), set_config('timezone', 'UTC', true)")
            tables = Tables(connection)
            await tables.find()
            yield tables
    except MalhaError:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise Unavailable(
            f"the database to import from failed ({type(error).__name__}): import again, what is there stays", reason="IMPORT_SOURCE"
        ) from error
    finally:
        await connection.close(timeout=_CONNECT_SECONDS)
