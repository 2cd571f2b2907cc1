"""``malha bench pii``: how well personal numbers are found in text."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLES = "\b\nExamples:\n  malha bench pii --json\n  malha bench pii --texts 10000 --seed 7\n  malha bench pii --file texts.json   texts annotated by others"


def pii(
    *,
    texts: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many texts to generate.")] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed, the same texts.")] = 2026,
    file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, readable=True, help="JSON of annotated texts, instead of generated ones.", show_default=False
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Personal numbers planted in generated Portuguese and Spanish texts, written and spoken: how many are masked, how many masks are right, and how long it takes."""
    from malha.bench.pii import Options, run_pii
    from malha.cli.bench import _finish
    from malha.cli.output import status

    with status("reading texts"):
        report = run_pii(Options(texts, seed, file))
    _finish(report, _table(report), save, json=json)


def _table(report: Mapping[str, Any]) -> Any:
    """One line for each kind, and the whole."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    table = Table("kind", "planted", "masked", "of spoken", "as its kind", title=f"{report['texts']} texts", box=SIMPLE)
    for kind, figures in report["by_kind"].items():
        table.add_row(kind, str(figures["planted"]), *(_share(figures[name]) for name in ("recall", "spoken_recall", "right_kind")))
    table.add_section()
    table.add_row("all", str(report["planted"]), *(_share(report[name]) for name in ("recall", "spoken_recall", "right_kind")))
    times = report["ms_per_segment"]
    return Group(
        table,
        f"{_share(report['precision'])} of masks are right; a segment of {report['words_per_segment']} words takes {times['p50']} ms, p99 {times['p99']}",
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
