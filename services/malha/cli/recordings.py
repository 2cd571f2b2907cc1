"""``malha recordings``: what was recorded, and a copy to listen to, which the audit tells of."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from malha.cli.output import counted, note, print_json

if TYPE_CHECKING:  # they load what `malha --help` may not
    import uuid
    from collections.abc import Sequence

    from malha.recording.blobs import RecordedFiles
    from malha.recording.recordings import Listed, Recordings
    from malha.store.database import Database
    from malha.store.settings import StoreSettings

app = typer.Typer(help="Recordings of calls: list, export.", no_args_is_help=True)

ACTOR = "cli"
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tenant = Annotated[str, typer.Option(help="Whose.")]
Result = TypeVar("Result")


@app.command("list", epilog="\b\nExamples:\n  malha recordings list\n  malha recordings list --conversation call-4711 --tenant acme --json")
def list_recordings(
    conversation: Annotated[str | None, typer.Option(help="Only of this one: your id of it, or Malha's.", metavar="ID")] = None,
    tenant: Tenant = "default",
    json: Json = False,
) -> None:
    """List recordings, the newest first. `malha retention set --recording` turns recording on."""

    async def listed(recordings: "Recordings", tenant_id: "uuid.UUID", conversation_id: "uuid.UUID | None") -> "list[Listed]":
        return await recordings.list(tenant_id, conversation_id)

    found = _with_recordings(tenant, conversation, listed)
    if json:
        print_json({"recordings": [_fields(each) for each in found]})
        return
    for each in found:
        channels = counted(each.channels, "channel")
        print(f"{each.conversation_id}  {each.session_id}  {each.written_at:%Y-%m-%d %H:%M}  {each.seconds:.0f} s  {channels}")
    if not found:
        note("nothing is recorded: malha retention set --recording")


@app.command(
    epilog="\b\nExamples:\n  malha recordings export --conversation call-4711\n  malha recordings export --conversation call-4711 -o /tmp --json"
)
def export(
    conversation: Annotated[str, typer.Option(help="Of which: your id of it, or Malha's.", metavar="ID", show_default=False)],
    tenant: Tenant = "default",
    output: Annotated[Path, typer.Option("--output", "-o", exists=True, file_okay=False, help="Directory to write to.")] = Path(),
    json: Json = False,
) -> None:
    """Write a WAV of each session of a conversation. The audit keeps who did it and when."""

    async def exported(recordings: "Recordings", tenant_id: "uuid.UUID", conversation_id: "uuid.UUID | None") -> "Sequence[Path]":
        assert conversation_id is not None
        return await recordings.export(tenant_id, conversation_id, output, ACTOR)

    paths = _with_recordings(tenant, conversation, exported)
    if json:
        print_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        print(path)
    note("these files are not encrypted: delete them when they were heard")


@contextlib.asynccontextmanager
async def files() -> "AsyncIterator[RecordedFiles]":
    """Where recordings' files lie, by this configuration."""
    from malha.recording.blobs import RecordedFiles, make_blobs
    from malha.recording.settings import RecordingSettings
    from malha.runtime.settings import RuntimeSettings

    blobs = make_blobs(RecordingSettings(), RuntimeSettings().data_dir)
    try:
        yield RecordedFiles(blobs)
    finally:
        await blobs.close()


def _with_recordings(
    tenant: str, conversation: str | None, work: "Callable[[Recordings, uuid.UUID, uuid.UUID | None], Awaitable[Result]]"
) -> Result:
    from malha.cli.db import with_store
    from malha.privacy.subjects import find
    from malha.recording.make import make_recordings
    from malha.runtime.settings import RuntimeSettings
    from malha.store.database import Database
    from malha.store.tenants import Tenants

    async def run(settings: "StoreSettings") -> Result:
        async with await Database.connect(settings) as database:
            await database.check()
            tenant_id = await Tenants(database).find(tenant)
            conversation_id = None
            if conversation is not None:
                async with database.tenant_tx(tenant_id) as connection:
                    conversation_id = (await find(connection, tenant_id, "conversation", conversation)).id
            return await _used(database, tenant_id, conversation_id)

    async def _used(database: "Database", tenant_id: "uuid.UUID", conversation_id: "uuid.UUID | None") -> Result:
        recordings = make_recordings(database, RuntimeSettings().data_dir)
        try:
            return await work(recordings, tenant_id, conversation_id)
        finally:
            await recordings.close()

    return with_store(run)


def _fields(each: "Listed") -> dict[str, object]:
    return {
        "conversation": str(each.conversation_id),
        "session": str(each.session_id),
        "channels": each.channels,
        "seconds": each.seconds,
        "files": each.files,
        "bytes": each.bytes,
        "written_at": each.written_at.isoformat(),
    }
