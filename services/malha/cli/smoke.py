"""``malha smoke-test``: does a running server do what its users ask of it."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import asyncio
from typing import Annotated

import typer

from malha.cli.output import EXIT_FAILURE, note, print_json

EXAMPLES = "  malha smoke-test\n  malha smoke-test --health           only what serves\n  malha smoke-test --url https://malha.example --token $TOKEN --json"


def smoke_test(
    *,
    url: Annotated[str, typer.Option(help="The edge to try.  [default: http://127.0.0.1:8000]", show_default=False)] = "",
    token: Annotated[
        str, typer.Option(envvar="MALHA_TOKEN", help="That server's token; else the data directory's.", show_default=False)
    ] = "",
    health: Annotated[bool, typer.Option("--health", help="Only ask what serves.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try a running server: health, an answer, a streamed one, speech, its recognition, a picture's text.

    What the server does not have is said to be absent. Exits with 1 if something it has fails.
    """
    from malha.cli.local_token import local_token
    from malha.cli.smoke_checks import Check, State, checks, default_url

    where = url or default_url()

    async def run() -> list[Check]:
        done = []
        async for check in checks(where, token or ("" if health else local_token()), health_only=health):
            done.append(check)
            if not json:
                print(f"{check.name:<11} {check.state:<7} {check.milliseconds:>8.0f} ms  {check.detail}", flush=True)
        return done

    done = asyncio.run(run())
    failed = [check.name for check in done if check.state is State.FAILED]
    if json:
        rows = [
            {"name": check.name, "state": str(check.state), "detail": check.detail, "milliseconds": check.milliseconds} for check in done
        ]
        print_json({"url": where, "ok": not failed, "checks": rows})
    if failed:
        note(f"malha: {where}: {', '.join(failed)} failed")
        raise typer.Exit(EXIT_FAILURE)
