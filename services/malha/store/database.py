"""The way to the database: transactions that act as one tenant, or as the writer of live calls, and nothing else.

The services' login may do nothing by itself. A transaction begins by becoming malha_app for one tenant, or malha_ingest, until it ends: no
state is left in a session, so a pooler in transaction mode may stand between.
"""

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Final, Self

import asyncpg
import orjson

from malha.runtime.errors import FailedPrecondition, MalhaError
from malha.store.failures import DATABASE_ERRORS, as_malha_error, is_away
from malha.store.revision import HEAD
from malha.store.roles import APP, INGEST, OWNER, QUEUE, Connection
from malha.store.settings import StoreSettings
from malha.store.text import storable_json

_PAUSES: Final = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between attempts while PostgreSQL is started again."""
_LEAST_SECONDS: Final = 0.01
_LOCK_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 30.0
"""A transaction whose owner hangs is ended by the server."""
_LATE_SECONDS: Final = 2.0
"""A server that does not even end a statement at its time-out counts as away so much later."""
_END_SECONDS: Final = 5.0
"""For a rollback, and for giving a connection back."""

_CHECK = f"""
    SELECT rolname, rolsuper OR rolbypassrls AS bypasses,
        rolname = session_user AND pg_has_role(oid, '{OWNER}', 'MEMBER') AS owns,
        rolname = session_user AND (pg_has_role(oid, '{APP}', 'USAGE') OR pg_has_role(oid, '{INGEST}', 'USAGE')
            OR pg_has_role(oid, '{QUEUE}', 'USAGE')) AS inherits
    FROM pg_roles WHERE rolname IN (session_user, '{APP}', '{INGEST}', '{QUEUE}')
"""  # noqa: S608 - constants


class Database:
    """A pool of connections. Each transaction is begun again, for a while, where PostgreSQL was away when it began."""

    def __init__(self, pool: Any, settings: StoreSettings) -> None:
        self._pool = pool
        self._settings = settings

    @classmethod
    async def connect(cls, settings: StoreSettings) -> Self:
        """Open a pool; connections are made when they are needed. Raises FailedPrecondition without a URL."""
        if not settings.url:
            raise FailedPrecondition(
                "no database: `malha up` runs an embedded one; otherwise set MALHA_DATABASE_URL", reason="STORE_NOT_CONFIGURED"
            )
        pool = await asyncpg.create_pool(
            settings.url, min_size=0, max_size=settings.database_pool_size, init=prepare, reset=_reset, **connect_options(settings)
        )
        return cls(pool, settings)

    async def close(self) -> None:
        """Close all connections, those in use too after a few seconds."""
        try:
            await asyncio.wait_for(self._pool.close(), _END_SECONDS)
        except TimeoutError:
            self._pool.terminate()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def tenant_tx(self, tenant_id: uuid.UUID) -> contextlib.AbstractAsyncContextManager[Connection]:
        """A transaction that sees and writes one tenant's rows alone. What runs within does nothing but use the connection.

        Raises Unavailable (STORE_UNAVAILABLE, STORE_FULL) and DeadlineExceeded (STORE_TIMEOUT). Lost while it committed, it may have been
        committed or not.
        """
        return self._transaction(APP, str(uuid.UUID(str(tenant_id))))

    def app_tx(self) -> contextlib.AbstractAsyncContextManager[Connection]:
        """A transaction before a tenant is known: sees no row, may call ``malha_find_token``, ``malha_find_tenant``, ``malha_tenants``."""
        return self._transaction(APP, "")

    def ingest_tx(self) -> contextlib.AbstractAsyncContextManager[Connection]:
        """A transaction on the tables of live calls, of all tenants."""
        return self._transaction(INGEST, "")

    async def check(self) -> None:
        """Raise FailedPrecondition where row-level security would not hold, or the schema is not this code's; Unavailable without a database."""
        async with self._transaction("none", "") as connection:
            roles = await connection.fetch(_CHECK) if await connection.fetchval("SELECT to_regrole($1) IS NOT NULL", APP) else []
            if not roles:
                raise FailedPrecondition("the database is not set up: malha db upgrade", reason="STORE_SCHEMA")
            for role in roles:
                _check_role(role)
        async with self.app_tx() as connection:
            revision = await connection.fetchval("SELECT max(version_num) FROM schema_revision")
        if revision != HEAD:
            raise FailedPrecondition(
                f"the schema is at revision {revision}, this version of Malha needs {HEAD}: malha db upgrade", reason="STORE_SCHEMA"
            )

    @contextlib.asynccontextmanager
    async def _transaction(self, role: str, tenant: str) -> AsyncIterator[Connection]:
        connection, transaction = await self._begin(setup_statement(role, tenant, self._settings.database_statement_seconds))
        try:
            try:
                yield connection
            except BaseException:
                await _roll_back(transaction)
                raise
            await transaction.commit()
        except MalhaError:
            raise
        except Exception as error:
            if (told_as := as_malha_error(error)) is None:
                raise
            raise told_as from error
        finally:
            await self._release(connection)

    async def _begin(self, setup: str) -> tuple[Connection, Any]:
        """A connection, and the transaction on it that ``setup`` prepared. A restart of PostgreSQL is waited out."""
        deadline = time.monotonic() + self._settings.database_acquire_seconds
        for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
            try:
                return await self._try_begin(setup, max(deadline - time.monotonic(), _LEAST_SECONDS))
            except DATABASE_ERRORS as error:
                if is_away(error) and time.monotonic() + pause < deadline:
                    await asyncio.sleep(pause)
                    continue
                if (told_as := as_malha_error(error)) is None:
                    raise
                raise told_as from error
        raise AssertionError  # `repeat` does not end

    async def _try_begin(self, setup: str, seconds: float) -> tuple[Connection, Any]:
        connection = await self._pool.acquire(timeout=seconds)
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(setup)
        except BaseException:
            connection.terminate()
            await self._release(connection)
            raise
        return connection, transaction

    async def _release(self, connection: Connection) -> None:
        with contextlib.suppress(*DATABASE_ERRORS):  # then the pool has dropped it
            await self._pool.release(connection, timeout=_END_SECONDS)


def connect_options(settings: StoreSettings, *, pooler: bool | None = None) -> dict[str, Any]:
    """What asyncpg is told of a connection. A pooler in transaction mode forbids prepared statements that outlive a transaction."""
    behind_pooler = settings.database_pooler if pooler is None else pooler
    return {
        "timeout": settings.database_connect_seconds,
        "command_timeout": settings.database_statement_seconds + _LATE_SECONDS,
        **({"statement_cache_size": 0} if behind_pooler else {}),
    }


async def prepare(connection: Connection) -> None:
    """JSON columns take and give Python values; what PostgreSQL cannot keep is left out of them."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=json_text, decoder=orjson.loads)


def json_text(value: Any) -> str:
    """JSON that PostgreSQL can keep."""
    try:
        text = orjson.dumps(value)
        if b"\\u0000" not in text:
            return text.decode()
    except TypeError:  # orjson refuses lone surrogates
        pass
    return orjson.dumps(storable_json(value)).decode()


def setup_statement(role: str, tenant: str, statement_seconds: float, *, local: bool = True) -> str:
    """Who the transaction acts as until it ends (``local``), or the session. All parts are ours: role names, a UUID, numbers."""
    options = {
        "role": role,
        "malha.tenant": tenant,
        "statement_timeout": f"{statement_seconds * 1000:.0f}",
        "lock_timeout": f"{_LOCK_SECONDS * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{_IDLE_SECONDS * 1000:.0f}",
    }
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', {str(local).lower()})" for name, value in options.items())


async def _reset(connection: Connection) -> None:
    """Settings end with their transaction; only one that was left open has to be ended. No round trip otherwise."""
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


async def _roll_back(transaction: Any) -> None:
    with contextlib.suppress(*DATABASE_ERRORS):  # the connection is lost: it is rolled back
        await transaction.rollback()


def _check_role(role: asyncpg.Record) -> None:
    name = role["rolname"]
    if role["bypasses"]:
        raise FailedPrecondition(
            f"role {name} is superuser or has BYPASSRLS, so tenants would not be kept apart: give MALHA_DATABASE_URL a login of its own"
            f" (malha db upgrade makes it) and this one to MALHA_DATABASE_OWNER_URL, or ALTER ROLE {name} NOSUPERUSER NOBYPASSRLS",
            reason="STORE_ROLE_BYPASSES",
        )
    if role["owns"] or role["inherits"]:
        raise FailedPrecondition(
            f"role {name} has by itself what only a transaction may have: REVOKE {OWNER} FROM {name}; ALTER ROLE {name} NOINHERIT; "
            f"and from PostgreSQL 16 on GRANT {APP}, {INGEST}, {QUEUE} TO {name} WITH INHERIT FALSE",
            reason="STORE_ROLE_BYPASSES",
        )
