"""``malha erase``: destroys what is kept of somebody, on the database itself, and prints a signed report."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from malha.cli.output import note, print_json

if TYPE_CHECKING:  # they load what `malha --help` may not
    from malha.privacy.erasure import Eraser, Plan
    from malha.privacy.subjects import Subject
    from malha.store.settings import StoreSettings

ACTOR = "cli"
EXAMPLES = (
    "  malha erase --customer 019aa5c2-6f0e-7c11-9b7e-2d6a4f1c8e55\n"
    "  malha erase --conversation call-4711 --tenant acme --yes --json > report.json\n"
    "  malha erase --verify report.json"
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON: the report.")]


def erase(
    customer: Annotated[str | None, typer.Option(help="Erase this customer: your id of it, or Malha's.", metavar="ID")] = None,
    conversation: Annotated[str | None, typer.Option(help="Erase this conversation.", metavar="ID")] = None,
    tenant: Annotated[str, typer.Option(help="Whose.")] = "default",
    verify: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, readable=True, help="Erase nothing: check that this report is genuine.", metavar="REPORT"
        ),
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Destroy all that is kept of a customer or a conversation, for good: rows, recordings and their keys. Interrupted, ask again."""
    given = [name for name, value in (("customer", customer), ("conversation", conversation), ("verify", verify)) if value is not None]
    if len(given) != 1:
        raise typer.BadParameter("give one of --customer, --conversation and --verify")
    if verify is not None:
        _verify(verify, json=json)
        return
    report = _erase(given[0], customer or conversation or "", tenant, yes=yes)
    if json:
        print_json(report)
        return
    print(_sentence(report))
    print_json(report)


def _erase(kind: str, name: str, tenant: str, *, yes: bool) -> dict[str, Any]:
    from malha.cli.db import with_store
    from malha.cli.recordings import files
    from malha.privacy.erasure import Eraser
    from malha.privacy.report import Signer
    from malha.privacy.subjects import find
    from malha.runtime.job_files import JobFiles, JobFilesSettings
    from malha.runtime.settings import RuntimeSettings
    from malha.store.database import Database
    from malha.store.tenants import Tenants

    signer = Signer(RuntimeSettings().data_dir)  # before anything is destroyed that it could not tell of

    async def run(settings: "StoreSettings") -> dict[str, Any]:
        async with await Database.connect(settings) as database, files() as recorded:
            await database.check()
            tenant_id = await Tenants(database).find(tenant)
            uploads = JobFiles(RuntimeSettings().data_dir, JobFilesSettings().job_files_bytes)
            eraser = Eraser(database, recorded, uploads)
            await eraser.finish(tenant_id)
            async with database.tenant_tx(tenant_id) as connection:
                subject = await find(connection, tenant_id, "customer" if kind == "customer" else "conversation", name)
            await _ask(eraser, subject, yes=yes)
            return signer.sign(await eraser.erase(subject, ACTOR))

    return with_store(run)


async def _ask(eraser: "Eraser", subject: "Subject", *, yes: bool) -> None:
    """Say what will go; a person says yes once. Nothing is locked meanwhile."""
    from malha.runtime.errors import FailedPrecondition

    plan = await eraser.plan(subject)
    note(_announcement(plan))
    if yes or (plan.erased_at is not None and not plan.counts):
        return
    if not sys.stdin.isatty():
        raise FailedPrecondition("this cannot be undone, and nobody is there to ask: add --yes", reason="NOT_AGREED")
    typer.confirm("Destroy all of it, for good?", abort=True, err=True)


def _announcement(plan: "Plan") -> str:
    subject = f"{plan.subject.kind} {plan.subject.id}"
    if plan.erased_at is not None and not plan.counts:
        return f"{subject} was erased on {plan.erased_at:%Y-%m-%d %H:%M} UTC: here is the report again"
    return f"{subject}: {_listed(plan.counts)} will be destroyed, and the files of its recordings"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {table}" for table, count in counts.items()) or "nothing"


def _sentence(report: dict[str, Any]) -> str:
    return f"{report['subject']['kind']} {report['subject']['id']} is erased: {_listed(report['counts'])}"


def _verify(path: Path, *, json: bool) -> None:
    from malha.privacy.report import Signer
    from malha.runtime.errors import InvalidArgument
    from malha.runtime.settings import RuntimeSettings

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument("this is no report of an erasure", reason="NO_REPORT") from None
    report = Signer(RuntimeSettings().data_dir, make=False).verify(text[text.find("{") :])
    if json:
        print_json({"genuine": True, "subject": report["subject"], "ended_at": report["ended_at"], "counts": report["counts"]})
    else:
        print(f"genuine: {_sentence(report)}, on {report['ended_at']}")
