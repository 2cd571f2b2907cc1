"""``malha models``: the models that can be had, and those on this machine's disk."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from typing import TYPE_CHECKING, Annotated, Any

import typer

from malha.cli.output import EXIT_FAILURE, note, print_json, print_table

if TYPE_CHECKING:  # it loads what `malha --help` may not
    from malha.models.store import LocalModel, ModelStore

app = typer.Typer(help="Models: list, pull, verify. The licences are in `malha licences`.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The model, such as whisper/small.", show_default=False)]
Names = Annotated[list[str] | None, typer.Argument(help="Models, such as whisper/small, or families.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Accepted = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-licence", metavar="NAME", help="Agree to the licence of this model, which is shown; may be repeated.", show_default=False
    ),
]
MEGABYTE = 1_000_000


@app.command("list", epilog="\b\nExamples:\n  malha models list\n  malha models list --json")
def list_models(json: Json = False) -> None:
    """The models Malha can fetch, with size and licence, and which of them are here."""
    from malha.cli.pull import shown_size, state
    from malha.models.store import ModelStore

    rows = _rows(ModelStore())
    if json:
        print_json({"models": rows})
        return
    print_table(
        ("model", "size", "licence", "commercial", "gated", "languages", "here"),
        (
            (
                row["name"],
                shown_size(row["size_bytes"]),
                row["licence"] or "unknown",
                {True: "yes", False: "NO", None: "unknown"}[row["commercial"]],
                "yes" if row["gated"] else "",
                row["languages"] or "",
                state(row["path"]),
            )
            for row in rows
        ),
    )


@app.command(
    epilog="\b\nExamples:\n  malha models pull whisper/small\n  malha models pull pp-ocrv6        a family\n  malha models pull                 all that production needs: make bootstrap"
    "\n  malha models pull xtts/v2 --accept-licence xtts/v2\n  HF_TOKEN=... malha models pull pyannote/speaker-diarization-community-1"
    "\n  HF_ENDPOINT=https://mirror.example malha models pull whisper/tiny --json"
)
def pull(names: Names = None, accept_licence: Accepted = None, json: Json = False) -> None:
    """Fetch models, or without a name all that production needs.

    Goes on where a broken download ended, checks each file's SHA-256, asks before gated and non-commercial weights, and ends with a line
    for each: `NAME: present` or `NAME: missing`.
    """
    from malha.cli.pull import run_pull

    raise typer.Exit(run_pull(names or (), accept_licence or (), json=json))


@app.command(
    epilog="\b\nExamples:\n  malha models path whisper/small\n  malha serve llm qwen --model $(malha models path qwen2.5-14b-instruct-awq)"
)
def path(name: Name, json: Json = False) -> None:
    """Where a model lies on this machine's disk."""
    from malha.models.catalogue import find, full_name
    from malha.models.store import ModelStore
    from malha.runtime.errors import NotFound

    found = ModelStore().find(name)
    if found is None:
        known = find(name).name
        raise NotFound(f"{known} is not on this machine: malha models pull {known}", reason="MODEL_NOT_LOCAL")
    if json:
        print_json({"name": full_name(name), "path": str(found)})
    else:
        print(found)


@app.command(epilog="\b\nExamples:\n  malha models verify whisper/small\n  malha models verify --json        all that were pulled")
def verify(names: Names = None, json: Json = False) -> None:
    """Read models' files through and compare them with what was pulled."""
    from malha.models.store import ModelStore

    store = ModelStore()
    named = names or [model.name for model in store.list_local() if model.manifest is not None]
    problems = {name: store.verify(name) for name in named}
    if json:
        print_json({"models": [{"name": name, "sound": not found, "problems": list(found)} for name, found in problems.items()]})
    else:
        if not problems:
            note("no model was pulled to this machine: malha models pull NAME; malha models list names them")
        for name, found in problems.items():
            print(f"{name}: {'damaged' if found else 'sound'}")
            if found:
                note("\n".join(f"  {problem}" for problem in found))
    if damaged := [name for name, found in problems.items() if found]:
        note(f"malha: damaged: malha models pull {' '.join(damaged)} fetches what is wrong again")
        raise typer.Exit(EXIT_FAILURE)


def _rows(store: "ModelStore") -> list[dict[str, Any]]:
    """Of the catalogue first, then what lies on the disk beside it."""
    from malha.models.catalogue import MODELS

    local = {model.name: model for model in store.list_local()}
    rows = [
        {"name": model.name, "title": model.title, "size_bytes": model.size_bytes, "licence": model.licence}
        | {"commercial": model.terms.commercial, "gated": model.gated, "languages": model.languages, "production": model.production}
        | {"repository": model.repository, "revision": model.revision, "path": str(local[name].path) if name in local else None}
        for name, model in MODELS.items()
    ]
    return rows + [_unlisted(model) for name, model in local.items() if name not in MODELS]


def _unlisted(model: "LocalModel") -> dict[str, Any]:
    """A model on the disk that the catalogue does not have."""
    from malha.models.catalogue import LICENCES

    manifest = model.manifest
    terms = LICENCES.get(manifest.licence) if manifest else None
    return {
        "name": model.name,
        "title": model.name,
        "size_bytes": model.size_bytes,
        "licence": manifest.licence if manifest else None,
        "commercial": terms.commercial if terms else None,
        "gated": None,
        "languages": None,
        "production": False,
        "repository": manifest.repository if manifest else None,
        "revision": manifest.commit if manifest else None,
        "path": str(model.path),
    }
