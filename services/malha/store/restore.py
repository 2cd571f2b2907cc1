"""Puts a backup in the place of all that a database holds, in one transaction, and erases again what was erased since.

What was erased is in ``tombstone``: in the backup's, and in that of the database as it was before.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.store.archive import Manifest, Table, read_manifest, tables
from malha.store.failures import told
from malha.store.migrate import revision_of, revisions
from malha.store.revision import HEAD
from malha.store.roles import OWNER, Connection, login_of
from malha.store.settings import StoreSettings

_CONNECT_SECONDS = 10.0

_ERASE: Final = (
    """CREATE TEMP TABLE gone_conversation ON COMMIT DROP AS
    SELECT DISTINCT c.tenant_id, c.id FROM conversation c JOIN tombstone t ON t.tenant_id = c.tenant_id
        AND ((t.kind = 'conversation' AND t.object_id = c.id) OR (t.kind = 'customer' AND t.object_id = c.customer_id))""",
    """CREATE TEMP TABLE gone_session ON COMMIT DROP AS
    SELECT l.tenant_id, l.session_id FROM live_session l JOIN gone_conversation g ON (g.tenant_id, g.id) = (l.tenant_id, l.conversation_id)
    UNION SELECT t.tenant_id, t.object_id FROM tombstone t WHERE t.kind = 'session'""",
    "DELETE FROM event USING gone_session g WHERE event.session_id = g.session_id AND event.tenant_id = g.tenant_id",
    "DELETE FROM segment USING gone_session g WHERE segment.session_id = g.session_id AND segment.tenant_id = g.tenant_id",
    "DELETE FROM live_session USING gone_session g WHERE live_session.session_id = g.session_id AND live_session.tenant_id = g.tenant_id",
    "DELETE FROM conversation c USING gone_conversation g WHERE (c.tenant_id, c.id) = (g.tenant_id, g.id)",
    "DELETE FROM customer c USING tombstone t WHERE t.kind = 'customer' AND (c.tenant_id, c.id) = (t.tenant_id, t.object_id)",
    "DELETE FROM legal_hold h USING tombstone t WHERE (t.tenant_id, t.kind, t.object_id) = (h.tenant_id, h.kind, h.object_id)",
    "DELETE FROM speaker s USING tombstone t WHERE t.kind = 'speaker' AND (s.tenant_id, s.id) = (t.tenant_id, t.object_id)",
)


_LASTING: Final = {"tombstone": "true", "erasure": "true", "legal_hold": "tenant_id IN (SELECT id FROM tenant)"}
"""What is not forgotten because an older state is restored, and which rows of it."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. ``erased``: tombstones that were applied to it."""

    manifest: Manifest
    erased: int


async def restore(settings: StoreSettings, path: Path, *, replace: bool = False) -> Restored:
    """Restore a backup into a database with this version's schema.

    Raises InvalidArgument for a file that is none, FailedPrecondition if conversations would be replaced and ``replace`` is not given, if
    services are connected, or the schemas do not fit; Unavailable without a database. Then nothing has changed.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise InvalidArgument(f"{path} is no backup of Malha, or was not finished", reason="NO_BACKUP") from error
    with archive:
        manifest = read_manifest(path, archive)
        if (broken := archive.testzip()) is not None:
            raise InvalidArgument(f"{path} is damaged at {broken}", reason="NO_BACKUP")
        with told():
            connection = await asyncpg.connect(settings.owner_url, timeout=_CONNECT_SECONDS)
            try:
                await _check(connection, settings, manifest, replace=replace)
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL ROLE {OWNER}; SET LOCAL lock_timeout = '5s'")
                    erased = await _replace(connection, archive, manifest)
            finally:
                await connection.close(timeout=_CONNECT_SECONDS)
    return Restored(manifest, erased)


async def _check(connection: Connection, settings: StoreSettings, manifest: Manifest, *, replace: bool) -> None:
    if await revision_of(connection) != HEAD:
        raise FailedPrecondition("bring the database to this version's schema first: malha db upgrade", reason="STORE_SCHEMA")
    if manifest.revision not in revisions():
        raise FailedPrecondition("the backup was made by a later Malha: restore it with that one", reason="NO_BACKUP")
    service, _ = login_of(settings.url)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = $1"
    if await connection.fetchval(others, service):
        raise FailedPrecondition("Malha's services use this database: stop them first", reason="STORE_IN_USE")
    async with connection.transaction():
        await connection.execute(f"SET LOCAL ROLE {OWNER}")
        known = await connection.fetchval("SELECT count(*) FROM conversation")
    if known and not replace:
        raise FailedPrecondition(
            f"the database holds {known} conversations: --replace gives them up for the backup's", reason="STORE_NOT_EMPTY"
        )


async def _replace(connection: Connection, archive: zipfile.ZipFile, manifest: Manifest) -> int:
    present = await tables(connection)
    _check_fit(present, manifest)
    for name in _LASTING:
        await connection.execute(f"CREATE TEMP TABLE {name}_before ON COMMIT DROP AS SELECT * FROM {name}")  # noqa: S608 - constants
    await connection.execute("TRUNCATE " + ", ".join(f'public."{table.name}"' for table in present))
    saved = {table.name: table for table in manifest.tables}
    for table in present:
        if table.name in saved:
            await _load(connection, archive, saved[table.name])
    for name, condition in _LASTING.items():
        await connection.execute(f"INSERT INTO {name} SELECT * FROM {name}_before WHERE {condition} ON CONFLICT DO NOTHING")  # noqa: S608 - constants
    for statement in _ERASE:
        await connection.execute(statement)
    erased: int = await connection.fetchval("SELECT count(*) FROM tombstone")
    return erased


def _check_fit(present: Sequence[Table], manifest: Manifest) -> None:
    """Names in the file are believed only where the catalogue knows them."""
    known = {table.name: set(table.columns) for table in present}
    for table in manifest.tables:
        if not set(table.columns) <= known.get(table.name, set()):
            raise FailedPrecondition(
                f"the backup's {table.name!r} has no place in this schema: restore it with the Malha that made it, then upgrade",
                reason="NO_BACKUP",
            )


async def _load(connection: Connection, archive: zipfile.ZipFile, table: Table) -> None:
    """By way of a temporary table: PostgreSQL does not COPY into one with row-level security."""
    columns = ", ".join(f'"{column}"' for column in table.columns)
    await connection.execute(f'CREATE TEMP TABLE loading ON COMMIT DROP AS SELECT {columns} FROM public."{table.name}" WITH NO DATA')  # noqa: S608 - checked
    with archive.open(table.name) as member:
        await connection.copy_to_table("loading", source=member, schema_name="pg_temp", columns=table.columns)
    await connection.execute(f'INSERT INTO public."{table.name}" ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM loading')  # noqa: S608 - checked
    await connection.execute("DROP TABLE loading")
