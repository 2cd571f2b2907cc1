"""``malha db``: the database's schema. Without MALHA_DATABASE_URL it is the embedded one, started for the time of the command."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from malha.cli import import_state
from malha.cli.output import print_json

if TYPE_CHECKING:  # pydantic takes longer to load than `malha --help` may
    from malha.runtime.errors import FailedPrecondition
    from malha.store.settings import StoreSettings

app = typer.Typer(help="The database: upgrade, current, check, import-state.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Result = TypeVar("Result")


@app.command(epilog="\b\nExamples:\n  malha db upgrade\n  MALHA_DATABASE_OWNER_URL=postgresql://postgres@db/malha malha db upgrade --json")
def upgrade(json: Json = False) -> None:
    """Make roles and schema what this version needs. What is so already stays as it is."""
    from malha.store import migrate

    done = with_store(migrate.upgrade)
    if json:
        print_json({"before": done.before, "after": done.after})
    elif done.before == done.after:
        print(f"the schema is at revision {done.after}: nothing to do")
    else:
        print(f"the schema went from revision {done.before or 'none'} to {done.after}")


@app.command(epilog="\b\nExamples:\n  malha db current --json")
def current(json: Json = False) -> None:
    """Tell the schema's revision and the one this version needs."""
    from malha.store import migrate
    from malha.store.revision import HEAD

    revision = with_store(migrate.current)
    if json:
        print_json({"revision": revision, "needed": HEAD})
    else:
        print(f"{revision or 'none'} (this version needs {HEAD})")


@app.command(epilog="\b\nExamples:\n  malha db check && malha serve live")
def check(json: Json = False) -> None:
    """Tell whether services can use the database: reachable, schema up to date, tenants kept apart. Exit status 78: configure it first."""
    from malha.runtime.errors import FailedPrecondition, MalhaError
    from malha.store.database import Database

    async def checked(settings: "StoreSettings") -> None:
        try:
            async with await Database.connect(settings) as database:
                await database.check()
        except FailedPrecondition as error:
            raise (await _diagnosed(settings, error) if error.reason == "STORE_MISCONFIGURED" else error) from error

    try:
        with_store(checked)
    except MalhaError as error:
        if json:
            print_json({"ok": False, "reason": error.reason, "message": error.message})
        raise
    if json:
        print_json({"ok": True})
    else:
        print("the database is reachable, its schema is up to date, its roles keep tenants apart")


async def _diagnosed(settings: "StoreSettings", error: "FailedPrecondition") -> "FailedPrecondition":
    """Which of the causes it is, of those that a service need not tell apart."""
    import asyncpg

    from malha.runtime.errors import FailedPrecondition
    from malha.store import migrate
    from malha.store.revision import HEAD

    if isinstance(error.__cause__, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError):
        return FailedPrecondition("the database refuses MALHA_DATABASE_URL: are its user, password and name right?", reason="STORE_LOGIN")
    revision = await migrate.current(settings)
    if revision != HEAD:
        return FailedPrecondition(
            f"the schema is at revision {revision or 'none'}, this version of Malha needs {HEAD}: malha db upgrade", reason="STORE_SCHEMA"
        )
    return FailedPrecondition(
        "the login of MALHA_DATABASE_URL may not become Malha's roles: malha db upgrade, with MALHA_DATABASE_OWNER_URL, lets it",
        reason="STORE_LOGIN",
    )


app.command("import-state", epilog=import_state.EXAMPLES)(import_state.import_state)


def with_store(work: "Callable[[StoreSettings], Awaitable[Result]]") -> Result:
    """The result of work on the database of this configuration."""

    async def run() -> Result:
        async with _store() as settings:
            return await work(settings)

    return asyncio.run(run())


@contextlib.asynccontextmanager
async def _store() -> "AsyncIterator[StoreSettings]":
    """The database of this configuration."""
    from malha.runtime.settings import RuntimeSettings
    from malha.store.embedded import running
    from malha.store.settings import StoreSettings

    settings = StoreSettings()
    if settings.url:
        yield settings
        return
    async with running(RuntimeSettings().data_dir) as embedded:
        yield embedded
