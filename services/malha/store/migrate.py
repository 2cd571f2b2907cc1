"""Brings a database to this code's schema, and tells where it stands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SyncConnection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from malha.runtime.errors import FailedPrecondition
from malha.store.failures import told
from malha.store.revision import HEAD
from malha.store.roles import ensure_roles
from malha.store.settings import StoreSettings

_OLDEST = (15,)
_CONNECT_SECONDS = 10.0
_LOCK = "SELECT pg_advisory_lock(hashtext('malha.migrate'))"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did. Equal: nothing."""

    before: str | None
    after: str


async def upgrade(settings: StoreSettings, revision: str = HEAD) -> Upgrade:
    """Make roles and schema what ``revision`` says; does nothing where they are. Two at once: one waits.

    Raises FailedPrecondition, with what to do, where the login may not, Unavailable where there is no database.
    """
    with told():
        connection = await asyncpg.connect(settings.owner_url, timeout=_CONNECT_SECONDS)
        try:
            if connection.get_server_version() < _OLDEST:
                raise FailedPrecondition("PostgreSQL 15 or later is needed", reason="STORE_TOO_OLD")
            await connection.execute(_LOCK)
            await ensure_roles(connection, settings.url)
            before = await revision_of(connection)
            if before != revision:
                await _run(settings.owner_url, revision)
            return Upgrade(before, revision)
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)


async def current(settings: StoreSettings) -> str | None:
    """The revision of the schema; None: there is none. Raises Unavailable where there is no database."""
    with told():
        connection = await asyncpg.connect(settings.owner_url, timeout=_CONNECT_SECONDS)
        try:
            return await revision_of(connection)
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)


def revisions() -> tuple[str, ...]:
    """All revisions, the oldest first."""
    return tuple(script.revision for script in reversed(list(ScriptDirectory.from_config(_config()).walk_revisions())))


async def revision_of(connection: asyncpg.Connection) -> str | None:
    """The revision of the schema a connection sees; None: there is none."""
    if await connection.fetchval("SELECT to_regclass('public.schema_revision')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM public.schema_revision")
    return revision


async def _run(url: str, revision: str) -> None:
    async def connect(*_: Any, **__: Any) -> asyncpg.Connection:
        return await asyncpg.connect(url, timeout=_CONNECT_SECONDS)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()


def _upgrade(connection: SyncConnection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
