"""Writes the whole database, as it is at one moment, into a file. Calls go on meanwhile. It needs no program of PostgreSQL's."""

import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import asyncpg

from malha.runtime.errors import FailedPrecondition
from malha.store.archive import FORMAT, Manifest, Table, tables, write_manifest
from malha.store.failures import told
from malha.store.migrate import revision_of
from malha.store.roles import OWNER, Connection
from malha.store.settings import StoreSettings

_CONNECT_SECONDS = 10.0
_FAST = 1
"""Compression that costs little: rows of JSON shrink to a fifth anyway."""


async def backup(settings: StoreSettings, path: Path) -> Manifest:
    """Write a backup, readable by its owner alone, whole or not at all.

    Raises OSError or FailedPrecondition where the file cannot be written, FailedPrecondition where there is no schema, Unavailable without
    a database.
    """
    if path.exists() and not path.is_file():  # noqa: ASYNC240 - at once; /dev/null would be replaced by a file
        raise FailedPrecondition(f"{path} is no file, and no backup is put in its place", reason="BACKUP_UNWRITABLE")
    part = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as archive:
                manifest = await _write(settings, archive)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return manifest


async def _write(settings: StoreSettings, archive: zipfile.ZipFile) -> Manifest:
    with told():
        connection = await asyncpg.connect(settings.owner_url, timeout=_CONNECT_SECONDS)
        try:
            revision = await revision_of(connection)
            if revision is None:
                raise FailedPrecondition("there is nothing to back up: malha db upgrade", reason="STORE_SCHEMA")
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(f"SET LOCAL ROLE {OWNER}")
                written = [await _write_table(connection, archive, table) for table in await tables(connection)]
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)
    manifest = Manifest(FORMAT, revision, datetime.now(UTC).isoformat(timespec="seconds"), written)
    write_manifest(archive, manifest)
    return manifest


async def _write_table(connection: Connection, archive: zipfile.ZipFile, table: Table) -> Table:
    with archive.open(table.name, "w", force_zip64=True) as member:
        columns = ", ".join(f'"{column}"' for column in table.columns)
        done = await connection.copy_from_query(f'SELECT {columns} FROM "{table.name}"', output=_Writer(member))  # noqa: S608 - names of the catalogue
    return Table(table.name, table.columns, int(done.removeprefix("COPY ")))


class _Writer:
    """Takes COPY's rows on the spot: handing each to a thread would cost more than writing it."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member

    async def __call__(self, data: bytes) -> None:
        try:
            self._member.write(data)
        except OSError as error:
            raise FailedPrecondition(f"the backup cannot be written: {error.strerror}", reason="BACKUP_UNWRITABLE") from error
