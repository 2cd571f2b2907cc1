"""A backup file: a ZIP with what PostgreSQL's COPY writes of each table, and ``manifest.json``, which says what it is of."""

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from malha.runtime.errors import InvalidArgument
from malha.store.roles import OWNER, Connection

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"

_TABLES = f"""
    SELECT c.relname::text AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relowner = '{OWNER}'::regrole AND c.relname <> 'schema_revision'
    GROUP BY c.relname ORDER BY c.relname
"""  # noqa: S608 - a constant
_REFERENCES = """
    SELECT DISTINCT conrelid::regclass::text AS from_table, confrelid::regclass::text AS to_table FROM pg_constraint
    WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conrelid <> confrelid
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, its columns as they follow each other in the file, and how many rows it has."""

    name: str
    columns: list[str]
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of."""

    format: int
    revision: str
    """Of the schema."""
    created_at: str
    tables: list[Table]


async def tables(connection: Connection) -> list[Table]:
    """The tables of the schema, without what is computed; each after those it refers to."""
    known = {row["name"]: Table(row["name"], row["columns"]) for row in await connection.fetch(_TABLES)}
    needs: dict[str, set[str]] = {name: set() for name in known}
    for row in await connection.fetch(_REFERENCES):
        if row["from_table"] in known:
            needs[row["from_table"]].add(row["to_table"])
    ordered: list[Table] = []
    while needs:
        free = sorted(name for name, targets in needs.items() if not targets & needs.keys())
        assert free, "foreign keys in a circle"
        for name in free:
            ordered.append(known[name])
            del needs[name]
    return ordered


def write_manifest(archive: zipfile.ZipFile, manifest: Manifest) -> None:
    """Write it last: a file without it was not finished."""
    archive.writestr(MANIFEST, json.dumps(asdict(manifest), indent=2))


def read_manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    """Raises InvalidArgument for what is no backup, is damaged, or comes from a later Malha."""
    try:
        content = json.loads(archive.read(MANIFEST))
        manifest = Manifest(**(content | {"tables": [Table(**table) for table in content["tables"]]}))
    except (KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InvalidArgument(f"{path} is no backup of Malha, or was not finished", reason="NO_BACKUP") from error
    if manifest.format != FORMAT:
        raise InvalidArgument(f"{path} was made by a later Malha: restore it with that one", reason="NO_BACKUP")
    return manifest
