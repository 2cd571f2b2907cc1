"""``malha import``: what another system kept. Works on the database itself; without MALHA_DATABASE_URL it is the embedded one."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from malha.cli.output import EXIT_FAILURE, note, print_json, status

if TYPE_CHECKING:  # both load what `malha --help` may not
    from malha.conversation.importing.run import Report
    from malha.store.database import Database
    from malha.store.settings import StoreSettings

app = typer.Typer(help="Bring in what another system kept.", no_args_is_help=True)

_NOTE_SECONDS: Final = 10.0


@app.callback()
def _group() -> None:
    """Keeps `conversations` a command of its own."""


@app.command(
    epilog="\b\nExamples:\n  malha import conversations old.jsonl\n"
    "  malha import conversations postgresql://reader@db/crm --tenant acme --prefix crm-\n\n"
    "\b\nA line of JSONL, of which only id and, in messages, sender_type and text are required:\n"
    '  {"id": "c-17", "channel": "whatsapp", "status": "closed", "subject": "Invoice",\n'
    '   "started_at": "2026-01-31T10:00:00Z", "ended_at": "2026-01-31T10:20:00Z", "duration_seconds": 1200,\n'
    '   "customer": {"id": "7", "name": "Ana", "email": "ana@example.com", "phone": "+55...", "source": "site", "status": "active"},\n'
    '   "messages": [{"id": "m-1", "sender_type": "customer", "sender_id": "7", "text": "Hello", "created_at": "..."}]}\n'
    "  channel: voice, whatsapp, site. status: open, closed, abandoned. sender_type: customer, agent, bot, system.\n\n"
    "\b\nOf a PostgreSQL the tables customers, conversations and messages are read, their columns by these names or usual others."
)
def conversations(
    source: Annotated[str, typer.Argument(help="A JSONL file, or the postgresql:// URL of another database.", show_default=False)],
    *,
    tenant: Annotated[str, typer.Option(help="Whose they will be.")] = "default",
    prefix: Annotated[str, typer.Option(help="Put before every id, to tell them from others.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Import conversations with their customers and messages.

    What is there already, by id, stays as it is: an import that was broken off is simply done again. Bad rows are counted and told by place; with
    any the exit status is 1, and the rest is imported.
    """
    report = _run(source, tenant, prefix)
    if json:
        counts = {name: getattr(report, name) for name in ("customers", "conversations", "messages")}
        told = {name: {"added": count.added, "there": count.there} for name, count in counts.items()}
        print_json({**told, "bad": report.bad, "problems": report.problems})
    else:
        for name in ("customers", "conversations", "messages"):
            count = getattr(report, name)
            print(f"{count.added} {name} added, {count.there} were there")
        _print_problems(report)
    if report.bad:
        raise typer.Exit(EXIT_FAILURE)


def _run(source: str, tenant: str, prefix: str) -> "Report":
    from malha.cli.db import with_store
    from malha.conversation.importing.run import import_conversations
    from malha.store.database import Database

    async def run(settings: "StoreSettings") -> "Report":
        async with await Database.connect(settings) as database:
            await database.check()
            with _progress() as told:
                return await import_conversations(database, await find_tenant(database, tenant), source, prefix=prefix, told=told)

    return with_store(run)


async def find_tenant(database: "Database", name: str) -> uuid.UUID:
    """The id of a tenant; `default` is made where it is not there yet. Raises NotFound."""
    from malha.runtime.auth import DEFAULT_TENANT
    from malha.store.tenants import Tenants

    tenants = Tenants(database)
    return (await tenants.ensure([name]))[name] if name == DEFAULT_TENANT else await tenants.find(name)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """How far it is: beside a spinner, or now and then a line where standard error is no terminal."""
    if sys.stderr.isatty():
        with status("importing") as spinner:
            yield spinner.update
        return
    last = time.monotonic()

    def told(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _NOTE_SECONDS:
            last = time.monotonic()
            note(text)

    yield told


def _print_problems(report: "Report") -> None:
    for problem in report.problems:
        note(problem)
    if report.bad > len(report.problems):
        note(f"and {report.bad - len(report.problems)} more")
    if report.bad:
        note(f"malha: {report.bad} bad rows were left out")
