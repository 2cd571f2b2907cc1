"""``malha backup`` and ``malha restore``."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from pathlib import Path
from typing import Annotated

import typer

from malha.cli.db import with_store
from malha.cli.output import counted, note, print_json

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def backup(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="File to write.", show_default=False)],
    *,
    json: Json = False,
) -> None:
    """Write all that is kept into a file, while calls go on. Without MALHA_DATABASE_URL: of the embedded database."""
    from malha.store.backup import backup

    manifest = with_store(lambda settings: backup(settings, file))
    rows = {table.name: table.rows for table in manifest.tables}
    if json:
        print_json({"file": str(file), "bytes": file.stat().st_size, "revision": manifest.revision, "rows": rows})
    else:
        print(f"{file}: {rows['conversation']} conversations, {rows['customer']} customers, {file.stat().st_size / 1e6:.1f} MB")
        note("it holds what customers said, and tokens' digests: keep it as safe as the database")


def restore(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="What `malha backup` wrote.", show_default=False)
    ],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Give up the conversations that are there.")] = False,
    json: Json = False,
) -> None:
    """Put a backup in place of what the database holds, and erase again what was erased since. Stop the services first."""
    from malha.store.restore import restore

    restored = with_store(lambda settings: restore(settings, file, replace=replace))
    rows = {table.name: table.rows for table in restored.manifest.tables}
    if json:
        print_json({"revision": restored.manifest.revision, "rows": rows, "tombstones": restored.erased})
    else:
        print(f"restored {counted(rows['conversation'], 'conversation')}, as of {restored.manifest.created_at}")
        note(f"what was erased since is erased again: {counted(restored.erased, 'tombstone')}")
