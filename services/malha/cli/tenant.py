"""``malha tenant``: who there is, how much each may use, and what its models may cost. Works on the database itself, as `malha token` does."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import uuid
from collections.abc import Awaitable, Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from malha.cli.output import print_json, print_table

if TYPE_CHECKING:  # both load what `malha --help` may not
    from malha.store.settings import StoreSettings
    from malha.store.tenants import Tenants

app = typer.Typer(help="Tenants: list, quota, budget.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Result = TypeVar("Result")
LIMITS = ("streams", "calls_per_minute")
SPANS = ("daily", "monthly")


@app.command("list", epilog="\b\nExamples:\n  malha tenant list\n  malha tenant list --json")
def list_tenants(json: Json = False) -> None:
    """List tenants and their quotas. A tenant is made with its first token."""

    async def listed(tenants: "Tenants") -> list[dict[str, Any]]:
        ids = await tenants.list()
        settings = await tenants.settings(ids.values())
        return [_fields(name, ids[name], settings.get(ids[name], {})) for name in ids]

    found = _with_tenants(listed)
    if json:
        print_json({"tenants": found})
        return
    print_table(("name", "id", "quota"), [(tenant["name"], tenant["id"], _quota(tenant)) for tenant in found])


@app.command(
    epilog="\b\nExamples:\n  malha tenant quota acme --streams 50 --calls-per-minute 600\n  malha tenant quota acme --default --json"
)
def quota(
    name: Annotated[str, typer.Argument(help="The tenant.", show_default=False)],
    streams: Annotated[int | None, typer.Option(min=0, help="Streams it may have open at once in each process; 0: no limit.")] = None,
    calls_per_minute: Annotated[int | None, typer.Option(min=0, help="Streams and calls it may start in a minute; 0: no limit.")] = None,
    default: Annotated[bool, typer.Option("--default", help="First forget its own limits: those of the server hold.")] = False,
    json: Json = False,
) -> None:
    """Show or set how much a tenant may use. Servers know within ten seconds."""
    wanted = {limit: value for limit, value in zip(LIMITS, (streams, calls_per_minute), strict=True) if value is not None or default}

    async def changed(tenants: "Tenants") -> dict[str, Any]:
        tenant = await tenants.find(name)
        return _fields(name, tenant, await tenants.update_quota(tenant, wanted))

    found = _with_tenants(changed)
    if json:
        print_json(found)
    else:
        print(_line(found))


@app.command(
    epilog="\b\nExamples:\n  malha tenant budget acme --daily 10 --monthly 200 --currency USD\n  malha tenant budget acme --none --json"
)
def budget(
    name: Annotated[str, typer.Argument(help="The tenant.", show_default=False)],
    daily: Annotated[float | None, typer.Option(min=0, help="What models may cost it in a day (UTC).", show_default=False)] = None,
    monthly: Annotated[float | None, typer.Option(min=0, help="In a month.", show_default=False)] = None,
    currency: Annotated[str | None, typer.Option(help="Of both: that of models.toml.", show_default=False)] = None,
    none: Annotated[bool, typer.Option("--none", help="First forget its budget: models may cost what they do.")] = False,
    json: Json = False,
) -> None:
    """Show or set what models may cost a tenant. Servers know within ten seconds."""
    given = {key: value for key, value in zip((*SPANS, "currency"), (daily, monthly, currency), strict=True) if value is not None}
    for value in (daily, monthly):
        if value is not None and not isfinite(value):
            raise typer.BadParameter("a budget is an amount of money")

    from malha.runtime.errors import InvalidArgument

    async def changed(tenants: "Tenants") -> dict[str, Any]:
        tenant = await tenants.find(name)
        settings = await tenants.update(tenant, {})
        if given or none:
            own = {**({} if none else _budget_of(settings)), **given}
            if currency and not any(span in own for span in SPANS):
                raise InvalidArgument("a currency alone is no budget: give --daily or --monthly too", reason="NO_BUDGET")
            settings = await tenants.update(tenant, {"budget": own or None})
        return {"name": name, "id": str(tenant), "budget": _budget_of(settings)}

    found = _with_tenants(changed)
    if json:
        print_json(found)
    else:
        own = found["budget"]
        shown = ", ".join(f"{own[span]:g} {own.get('currency', '')}".rstrip() + f" {span}" for span in SPANS if span in own)
        print(f"{found['name']}  {found['id']}  {shown or 'no budget: models may cost what they do'}")


def _budget_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    own = settings.get("budget")
    return dict(own) if isinstance(own, dict) else {}


def _with_tenants(work: "Callable[[Tenants], Awaitable[Result]]") -> Result:
    from malha.cli.db import with_store
    from malha.store.database import Database
    from malha.store.tenants import Tenants

    async def run(settings: "StoreSettings") -> Result:
        async with await Database.connect(settings) as database:
            await database.check()
            return await work(Tenants(database))

    return with_store(run)


def _fields(name: str, tenant: uuid.UUID, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "id": str(tenant), "quota": settings.get("quota", {})}


def _line(tenant: Mapping[str, Any]) -> str:
    return f"{tenant['name']}  {tenant['id']}  {_quota(tenant)}"


def _quota(tenant: Mapping[str, Any]) -> str:
    own = tenant["quota"]
    shown = ", ".join(f"{limit.replace('_', ' ')} {own[limit] or 'unlimited'}" for limit in LIMITS if limit in own)
    return shown or "the limits of the server"
