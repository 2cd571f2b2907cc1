"""``malha models``: the models that can be had, and those on this machine's disk."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from typing import Annotated

import typer

from malha.cli.output import EXIT_FAILURE, note, print_json

app = typer.Typer(help="Recognition models: list, pull, verify.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The model, such as whisper/small.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MEGABYTE = 1_000_000


@app.command("list", epilog="\b\nExamples:\n  malha models list\n  malha models list --json")
def list_models(json: Json = False) -> None:
    """The models Malha can fetch, with size and licence, and which of them are here."""
    from malha.models.catalogue import MODELS
    from malha.models.store import ModelStore

    local = {model.name: model for model in ModelStore().list_local()}
    rows = [
        {"name": model.name, "size_mb": round(model.size_bytes / MEGABYTE), "licence": model.licence, "languages": model.languages}
        | {"path": str(local[model.name].path) if model.name in local else None}
        for model in MODELS.values()
    ]
    rows += [
        {
            "name": name,
            "size_mb": round(model.size_bytes / MEGABYTE),
            "licence": model.manifest.licence if model.manifest else None,
            "languages": None,
        }
        | {"path": str(model.path)}
        for name, model in local.items()
        if name not in MODELS
    ]
    if json:
        print_json({"models": rows})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "size", "licence", "languages", "here")
    for row in rows:
        table.add_row(
            str(row["name"]),
            f"{row['size_mb']} MB",
            str(row["licence"] or "unknown"),
            str(row["languages"] or ""),
            "yes" if row["path"] else "",
        )
    Console().print(table)


@app.command(epilog="\b\nExamples:\n  malha models pull whisper/small\n  HF_ENDPOINT=https://mirror.example malha models pull whisper/tiny")
def pull(name: Name, json: Json = False) -> None:
    """Fetch a model, going on where a broken download ended, and check each file's SHA-256."""
    from malha.cli.pull import pull_model
    from malha.models.catalogue import find

    path = pull_model(find(name))
    if json:
        print_json({"name": name, "path": str(path)})
    else:
        print(path)


@app.command(epilog="\b\nExamples:\n  malha models path whisper/small")
def path(name: Name, json: Json = False) -> None:
    """Where a model lies on this machine's disk."""
    from malha.models.store import ModelStore
    from malha.runtime.errors import NotFound

    found = ModelStore().find(name)
    if found is None:
        raise NotFound(f"{name} is not on this machine: malha models pull {name}", reason="MODEL_NOT_LOCAL")
    if json:
        print_json({"name": name, "path": str(found)})
    else:
        print(found)


@app.command(epilog="\b\nExamples:\n  malha models verify whisper/small")
def verify(name: Name, json: Json = False) -> None:
    """Read a model's files through and compare them with what was pulled."""
    from malha.models.store import ModelStore

    problems = ModelStore().verify(name)
    if json:
        print_json({"name": name, "problems": list(problems)})
    elif problems:
        note("\n".join(problems))
        note(f"malha: {name} is damaged: malha models pull {name} fetches what is wrong again")
    else:
        print(f"{name} is as it was pulled")
    if problems:
        raise typer.Exit(EXIT_FAILURE)
