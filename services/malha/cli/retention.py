"""``malha retention``: how long tenants keep conversations, what is held whatever else is said, and the run that enforces both."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from malha.cli.output import counted, note, print_json

if TYPE_CHECKING:  # they load what `malha --help` may not
    import uuid

    from malha.privacy.holds import Hold
    from malha.privacy.subjects import Subject
    from malha.store.database import Database
    from malha.store.settings import StoreSettings

app = typer.Typer(help="How long is kept what: set, run, hold, release, holds.", no_args_is_help=True)

ACTOR = "cli"
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tenant = Annotated[str, typer.Option(help="Whose.")]
Customer = Annotated[str | None, typer.Option(help="A customer, with all conversations.", metavar="ID")]
Conversation = Annotated[str | None, typer.Option(help="A conversation.", metavar="ID")]
Result = TypeVar("Result")


@app.command(
    "set", epilog="\b\nExamples:\n  malha retention set --tenant acme --days 90 --recording-days 30\n  malha retention set --days 0 --json"
)
def set_days(
    tenant: Tenant = "default",
    days: Annotated[int | None, typer.Option(min=0, max=36_500, help="Days a conversation is kept after its end; 0: until erased.")] = None,
    recording_days: Annotated[int | None, typer.Option(min=0, max=36_500, help="Days its recording is kept; 0: as long as it.")] = None,
    speaker_days: Annotated[int | None, typer.Option(min=0, max=36_500, help="Days a voice print is kept; 0: until withdrawn.")] = None,
    recording: Annotated[bool | None, typer.Option("--recording/--no-recording", help="Whether calls are recorded.")] = None,
    json: Json = False,
) -> None:
    """Show or set how long a tenant keeps conversations and recordings, and whether it records at all."""
    from malha.store.tenants import Tenants

    async def changed(database: "Database", tenant_id: "uuid.UUID") -> dict[str, Any]:
        tenants = Tenants(database)
        known = (await tenants.settings([tenant_id])).get(tenant_id, {})
        recorded = dict(known.get("recording") or {})
        if recording_days is not None:
            recorded["retention_days"] = recording_days or None
        if recording is not None:
            recorded["enabled"] = recording
        wanted = {"recording": {name: value for name, value in recorded.items() if value is not None} or None}
        if days is not None:
            wanted["retention_days"] = days or None  # type: ignore[assignment] # a tenant's settings are JSON
        if speaker_days is not None:
            wanted["speakers"] = {"retention_days": speaker_days} if speaker_days else None
        settings = await tenants.update(tenant_id, wanted)
        told = {name: settings.get(name, {}) for name in ("recording", "speakers")}
        return {"tenant": tenant, "retention_days": settings.get("retention_days"), **told}

    found = _with_tenant(tenant, changed)
    if json:
        print_json(found)
        return
    recorded = found["recording"]
    recordings = f"recorded, kept {_days(recorded.get('retention_days'))}" if recorded.get("enabled") else "not recorded"
    conversations, prints = _days(found["retention_days"]), _days(found["speakers"].get("retention_days"))
    print(f"{tenant}: conversations are kept {conversations}; calls are {recordings}; voice prints are kept {prints}")


@app.command(epilog="\b\nExamples:\n  malha retention run\n  malha retention run --json   (once a day, from cron)")
def run(json: Json = False) -> None:
    """Erase what has been kept as long as its tenant wants. What is held, and what is open, stays."""
    from malha.cli.recordings import files
    from malha.privacy.retention import Retention
    from malha.runtime.job_files import JobFiles, JobFilesSettings
    from malha.runtime.settings import RuntimeSettings

    async def swept(database: "Database") -> dict[str, dict[str, int]]:
        uploads = JobFiles(RuntimeSettings().data_dir, JobFilesSettings().job_files_bytes)
        async with files() as recorded:
            return {name: asdict(done) for name, done in (await Retention(database, recorded, uploads).run()).items()}

    done = _with_database(swept)
    if json:
        print_json({"tenants": done})
        return
    for name, counts in done.items():
        erased = ", ".join(counted(counts[f"{noun}s"], noun) for noun in ("conversation", "customer", "recording", "speaker"))
        print(f"{name}: {erased} erased, {counted(counts['left_files'], 'file')} of earlier erasures removed")


@app.command(
    epilog="\b\nExamples:\n  malha retention hold --customer c-17 --reason 'case 12/2026'\n  malha retention hold --conversation call-4711 --json"
)
def hold(
    customer: Customer = None,
    conversation: Conversation = None,
    tenant: Tenant = "default",
    reason: Annotated[str, typer.Option(help="Why, for `malha retention holds`.")] = "",
    json: Json = False,
) -> None:
    """Keep a customer or a conversation, whatever a retention or an erasure says."""
    _change_hold(customer, conversation, tenant, reason, json=json)


@app.command(epilog="\b\nExamples:\n  malha retention release --customer c-17\n  malha retention release --conversation call-4711 --json")
def release(customer: Customer = None, conversation: Conversation = None, tenant: Tenant = "default", json: Json = False) -> None:
    """End a legal hold."""
    _change_hold(customer, conversation, tenant, None, json=json)


@app.command(epilog="\b\nExamples:\n  malha retention holds\n  malha retention holds --tenant acme --json")
def holds(tenant: Tenant = "default", json: Json = False) -> None:
    """List legal holds."""
    from malha.privacy.holds import Holds

    async def listed(database: "Database", tenant_id: "uuid.UUID") -> "list[Hold]":
        return await Holds(database).list(tenant_id)

    found = _with_tenant(tenant, listed)
    if json:
        fields = [asdict(each) | {"object_id": str(each.object_id), "placed_at": each.placed_at.isoformat()} for each in found]
        print_json({"holds": fields})
    elif found:
        for each in found:
            print(f"{each.kind}  {each.object_id}  since {each.placed_at:%Y-%m-%d}  {each.reason}")
    else:
        note("no legal hold is set")


def _change_hold(customer: str | None, conversation: str | None, tenant: str, reason: str | None, *, json: bool) -> None:
    """``reason`` None: release."""
    from malha.privacy.holds import Holds
    from malha.privacy.subjects import find

    if (customer is None) == (conversation is None):
        raise typer.BadParameter("give one of --customer and --conversation")
    kind: Literal["customer", "conversation"] = "customer" if customer is not None else "conversation"

    async def changed(database: "Database", tenant_id: "uuid.UUID") -> "Subject":
        async with database.tenant_tx(tenant_id) as connection:
            subject = await find(connection, tenant_id, kind, customer or conversation or "")
        if reason is None:
            await Holds(database).release(subject, ACTOR)
        else:
            await Holds(database).place(subject, ACTOR, reason)
        return subject

    subject = _with_tenant(tenant, changed)
    if json:
        print_json({"kind": kind, "id": str(subject.id), "held": reason is not None})
    else:
        print(f"{kind} {subject.id} is {'held' if reason is not None else 'held no more'}")


def _with_tenant(name: str, work: "Callable[[Database, uuid.UUID], Awaitable[Result]]") -> Result:
    from malha.store.tenants import Tenants

    async def found(database: "Database") -> Result:
        return await work(database, await Tenants(database).find(name))

    return _with_database(found)


def _with_database(work: "Callable[[Database], Awaitable[Result]]") -> Result:
    from malha.cli.db import with_store
    from malha.store.database import Database

    async def run(settings: "StoreSettings") -> Result:
        async with await Database.connect(settings) as database:
            await database.check()
            return await work(database)

    return with_store(run)


def _days(count: int | None) -> str:
    return "until erased" if count is None else counted(count, "day")
