"""``malha token``: who may call. Works on the database itself, so that the first admin token needs no other."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import datetime as dt
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from malha.cli.output import note, print_json, print_table

if TYPE_CHECKING:  # both load what `malha --help` may not
    from malha.store.settings import StoreSettings
    from malha.store.tokens import Token, Tokens

app = typer.Typer(help="Tokens of callers: create, list, revoke.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Result = TypeVar("Result")

ACTOR = "cli"
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([1-9][0-9]{0,4})([mhdw])")


@app.command(
    epilog="\b\nExamples:\n  malha token create --name dashboard --scope read\n  malha token create --tenant acme --expires 30d --json\n"
    "  malha token create --name desk-7 --counter desk-7"
)
def create(
    tenant: Annotated[str, typer.Option(help="Whose token. Made if there is none of this name.")] = "default",
    name: Annotated[str, typer.Option(help="What you call it.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do: stream, read, write or admin; may be repeated. Without: all but admin.", metavar="SCOPE"),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="How long it is good: 90m, 12h, 30d, 8w. Without: until it is revoked.")] = None,
    counter: Annotated[str | None, typer.Option(help="The service counter it is for.", metavar="ID")] = None,
    json: Json = False,
) -> None:
    """Make a token and print it, this once: only its digest is kept."""
    from malha.runtime.scopes import DEFAULT_SCOPES

    until = None if expires is None else dt.datetime.now(dt.UTC) + duration(expires)

    async def made(tokens: "Tokens") -> "tuple[str, Token]":
        return await tokens.create(tenant, actor=ACTOR, name=name, scopes=scope or DEFAULT_SCOPES, counter=counter, expires_at=until)

    secret, token = _with_tokens(made)
    if json:
        print_json({"token": secret, **_fields(token)})
        return
    print(secret)
    note(f"token {token.id} of tenant {token.tenant}: {', '.join(token.scopes)}{_until(token)}. It is not shown again.")


@app.command("list", epilog="\b\nExamples:\n  malha token list\n  malha token list --tenant acme --json")
def list_tokens(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    json: Json = False,
) -> None:
    """List tokens: what they allow and until when, never the tokens themselves."""

    async def listed(tokens: "Tokens") -> "list[Token]":
        return await tokens.list(tenant)

    found = _with_tokens(listed)
    if json:
        print_json({"tokens": [_fields(token) for token in found]})
    elif found:
        _print_table(found)
    else:
        note("there are no tokens but those of MALHA_API_TOKENS and of `malha up`'s own file: malha token create")


@app.command(
    epilog="\b\nExamples:\n  malha token revoke 019aa5c2-6f0e-7c11-9b7e-2d6a4f1c8e55\n  malha token revoke 019aa5c2-6f0e-7c11-9b7e-2d6a4f1c8e55 --json"
)
def revoke(
    token_id: Annotated[uuid.UUID, typer.Argument(help="As `malha token list` shows it.", metavar="ID")],
    json: Json = False,
) -> None:
    """End a token. New calls are refused at once or within ten seconds, open streams end within thirty."""

    async def revoked(tokens: "Tokens") -> "Token":
        return await tokens.revoke(token_id, actor=ACTOR)

    token = _with_tokens(revoked)
    if json:
        print_json(_fields(token))
    else:
        print(f"token {token.id} of tenant {token.tenant} is revoked")


def duration(text: str) -> dt.timedelta:
    """``30d`` and the like. Raises typer.BadParameter."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter("a number and m, h, d or w, such as 30d", param_hint="--expires")
    return dt.timedelta(**{UNITS[match[2]]: int(match[1])})


def _with_tokens(work: "Callable[[Tokens], Awaitable[Result]]") -> Result:
    from malha.cli.db import with_store
    from malha.store.database import Database
    from malha.store.tokens import Tokens

    async def run(settings: "StoreSettings") -> Result:
        async with await Database.connect(settings) as database:
            await database.check()
            return await work(Tokens(database))

    return with_store(run)


def _fields(token: "Token") -> dict[str, Any]:
    return {
        "id": str(token.id),
        "tenant": token.tenant,
        "name": token.name,
        "scopes": list(token.scopes),
        "counter": token.counter,
        "created_at": token.created_at.isoformat(),
        "expires_at": token.expires_at and token.expires_at.isoformat(),
        "revoked_at": token.revoked_at and token.revoked_at.isoformat(),
    }


def _print_table(tokens: "list[Token]") -> None:
    rows = []
    for token in tokens:
        dates = (f"{at:%Y-%m-%d %H:%M}" if at else "-" for at in (token.created_at, token.expires_at, token.revoked_at))
        rows.append((str(token.id), token.tenant, token.name or "-", ",".join(token.scopes), token.counter or "-", *dates))
    print_table(("id", "tenant", "name", "scopes", "counter", "created", "expires", "revoked"), rows)


def _until(token: "Token") -> str:
    return f", until {token.expires_at:%Y-%m-%d %H:%M} UTC" if token.expires_at else ""
