"""``malha jobs``: what the server works on. Works on the database itself, as `malha token` does."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from malha.cli.output import note, print_json, print_table

if TYPE_CHECKING:  # both load what `malha --help` may not
    from malha.jobs.store import JobRow
    from malha.store.roles import Connection
    from malha.store.settings import StoreSettings

app = typer.Typer(help="Jobs: list, show, cancel.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tenant = Annotated[str, typer.Option(help="Whose jobs.")]
Id = Annotated[uuid.UUID, typer.Argument(help="As `malha jobs list` shows it.", metavar="ID")]
Result = TypeVar("Result")

STATUSES = ("queued", "running", "done", "failed", "cancelled")


@app.command("list", epilog="\b\nExamples:\n  malha jobs list\n  malha jobs list --status failed --json")
def list_jobs(
    tenant: Tenant = "default",
    status: Annotated[str | None, typer.Option(help=f"Only those that stand there: {', '.join(STATUSES)}.")] = None,
    most: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    json: Json = False,
) -> None:
    """List jobs, the newest first."""
    from malha.jobs import store

    if status is not None and status not in STATUSES:
        raise typer.BadParameter(f"one of {', '.join(STATUSES)}", param_hint="--status")
    found = _as_tenant(tenant, lambda connection: store.newest(connection, most, status, None))
    if json:
        print_json({"jobs": [_fields(job) for job in found]})
    elif found:
        _print_table(found)
    else:
        note("there are no jobs: curl -F file=@call.wav -H 'Authorization: Bearer TOKEN' http://127.0.0.1:8000/api/v1/jobs")


@app.command(epilog="\b\nExamples:\n  malha jobs show 019aa5c2-6f0e-7c11-9b7e-2d6a4f1c8e55 --json")
def show(job_id: Id, tenant: Tenant = "default", json: Json = False) -> None:
    """Show a job: where it stands and what came of it."""
    from malha.jobs import store

    _print(_as_tenant(tenant, lambda connection: store.get(connection, job_id)), json=json)


@app.command(epilog="\b\nExamples:\n  malha jobs cancel 019aa5c2-6f0e-7c11-9b7e-2d6a4f1c8e55")
def cancel(job_id: Id, tenant: Tenant = "default", json: Json = False) -> None:
    """End a job that waits or runs. Whoever runs it stops within a second."""
    from malha.jobs import store

    _print(_as_tenant(tenant, lambda connection: store.cancel(connection, job_id)), json=json)


def _as_tenant(name: str, work: "Callable[[Connection], Awaitable[Result]]") -> Result:
    from malha.cli.db import with_store
    from malha.store.database import Database
    from malha.store.tenants import Tenants

    async def run(settings: "StoreSettings") -> Result:
        async with await Database.connect(settings) as database:
            await database.check()
            async with database.tenant_tx(await Tenants(database).find(name)) as connection:
                return await work(connection)

    return with_store(run)


def _fields(job: "JobRow") -> dict[str, Any]:
    result = job.result or {}
    return {
        "id": str(job.id),
        "kind": job.kind,
        "status": job.status,
        "progress": round(job.progress, 3),
        "attempts": job.attempts,
        "conversation_id": job.conversation_id and str(job.conversation_id),
        "session_id": str(job.session_id) if job.status == "done" else None,
        "reason": job.reason,
        "message": result.get("message", ""),
        "warnings": result.get("warnings", []),
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at and job.started_at.isoformat(),
        "ended_at": job.ended_at and job.ended_at.isoformat(),
    }


def _print(job: "JobRow", *, json: bool) -> None:
    fields = _fields(job)
    if json:
        print_json(fields)
        return
    for name, value in fields.items():
        shown = "; ".join(warning["message"] for warning in value) if name == "warnings" else value
        if shown not in (None, ""):
            print(f"{name.replace('_', ' '):16} {shown}")


def _print_table(jobs: "list[JobRow]") -> None:
    rows = [
        (str(job.id), job.kind, job.status, f"{job.progress:.0%}", str(job.attempts), f"{job.created_at:%Y-%m-%d %H:%M}", job.reason or "-")
        for job in jobs
    ]
    print_table(("id", "kind", "status", "progress", "attempts", "created", "reason"), rows)
