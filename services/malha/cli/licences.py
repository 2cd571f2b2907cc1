"""``malha licences``: what may be done with the models Malha can fetch and the engines it runs on."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from typing import TYPE_CHECKING, Annotated, Any

import typer

from malha.cli.output import note, print_json, print_table

if TYPE_CHECKING:  # `malha --help` must be quick
    from malha.models.catalogue import Licence

EXAMPLES = "  malha licences\n  malha licences --json"

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def licences(json: Json = False) -> None:
    """List all models and engines with their licence, whether they may be used commercially, and where they come from."""
    from malha.models.catalogue import ENGINES, MODELS

    models: list[dict[str, Any]] = [
        {"name": model.name, "title": model.title, "gated": model.gated, "source": f"https://huggingface.co/{model.repository}"}
        | _terms(model.terms)
        for model in MODELS.values()
    ]
    engines: list[dict[str, Any]] = [
        {"name": engine.name, "title": engine.title, "base": engine.base, "source": engine.source} | _terms(engine.terms)
        for engine in ENGINES.values()
    ]
    if json:
        print_json({"models": models, "engines": engines})
        return
    kinds = [("model", row) for row in models] + [("engine" if row["base"] else "extra", row) for row in engines]
    print_table(
        ("kind", "name", "licence", "commercial", "source"),
        ((kind, row["name"], row["licence"], "yes" if row["commercial"] else "NO", row["source"]) for kind, row in kinds),
    )
    for licence, asked in {row["licence"]: row["note"] for _, row in kinds if row["note"]}.items():
        note(f"{licence}: {asked}")


def _terms(terms: "Licence") -> dict[str, Any]:
    return {"licence": terms.name, "commercial": terms.commercial, "licence_url": terms.url, "note": terms.note}
