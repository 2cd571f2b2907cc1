"""A real PostgreSQL for tests, with a fresh database for each: a copy of one that was migrated once."""

import asyncio
import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from malha.store.database import Database
from malha.store.embedded import EmbeddedPostgres
from malha.store.settings import StoreSettings

SERVICE_LOGIN = "malha_test:secret"
FAST = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "1GB"}
"""Killed processes lose nothing by it; only a machine's crash would."""


def with_database(url: str, name: str, login: str | None = None) -> str:
    """The URL of another database of the same server, for another login (``user:password``)."""
    parts = urlsplit(url)
    address = parts.netloc if login is None else f"{login}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit((parts.scheme, address, f"/{name}", parts.query, ""))


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server. ``template``: a migrated database that nobody connects to."""

    owner_url: str
    template: str
    service_login: str

    def settings(self, name: str, **given: object) -> StoreSettings:
        """Of a database on this server."""
        return StoreSettings(
            _env_file=None,
            database_url=with_database(self.owner_url, name, self.service_login),
            database_owner_url=with_database(self.owner_url, name),
            **given,
        )

    @contextlib.asynccontextmanager
    async def fresh(self, template: str | None = None) -> AsyncIterator[StoreSettings]:
        """A database of one's own; ``template="template0"``: an empty one."""
        name = f"test_{uuid.uuid4().hex}"
        await self.administer(f"CREATE DATABASE {name} TEMPLATE {template or self.template}")
        try:
            yield self.settings(name)
        finally:
            await self.administer(f"DROP DATABASE {name} WITH (FORCE)")

    async def administer(self, statement: str) -> None:
        """Run a statement as the server's administrator, outside of any of the tests' databases."""
        connection = await asyncpg.connect(with_database(self.owner_url, "postgres"), timeout=60)
        try:
            await connection.execute(statement)
        finally:
            await connection.close(timeout=60)


@contextlib.contextmanager
def postgres_server(directory: Path) -> Iterator[Postgres]:
    """The server of ``MALHA_TEST_DATABASE_URL``, a superuser's URL, or else an embedded one in ``directory``."""
    given = os.environ.get("MALHA_TEST_DATABASE_URL")
    if given:
        from malha.store import migrate  # loads Alembic

        template = f"test_template_{uuid.uuid4().hex}"
        server = Postgres(given, template, SERVICE_LOGIN)
        asyncio.run(server.administer(f"CREATE DATABASE {template}"))
        asyncio.run(migrate.upgrade(server.settings(template)))
        try:
            yield server
        finally:
            asyncio.run(server.administer(f"DROP DATABASE {template} WITH (FORCE)"))
        return
    with EmbeddedPostgres.take(directory, FAST) as embedded:
        process = subprocess.Popen(embedded.spec().command, stdin=subprocess.DEVNULL)
        try:
            asyncio.run(asyncio.wait_for(embedded.ready(), 120))
            owner = embedded.settings.database_owner_url
            login = urlsplit(embedded.settings.database_url).netloc.rpartition("@")[0]
            yield Postgres(owner, urlsplit(owner).path.removeprefix("/"), login)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


async def make_tenant(database: Database, name: str = "") -> uuid.UUID:
    """A new tenant's id."""
    tenant = uuid.uuid4()
    async with database.tenant_tx(tenant) as connection:
        await connection.execute("INSERT INTO tenant (id, name) VALUES ($1, $2)", tenant, name or f"tenant-{tenant}")
    return tenant
