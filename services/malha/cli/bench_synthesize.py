"""``malha bench synthesize``: how soon speech begins, and how fast it is made."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLES = (
    "\b\nExamples:\n  malha bench synthesize --json\n  malha bench synthesize --requests 1000 --seconds 300\n"
    "  malha bench synthesize --engine coqui   in the environment that has it"
)


def synthesize(
    *,
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="Sentences whose first chunk is waited for.")] = 150,
    seconds: Annotated[float, typer.Option(min=1.0, max=3600.0, help="How much speech each format is asked for.")] = 60.0,
    engine: Annotated[str, typer.Option(help="Of the server that is started.")] = "espeak",
    save: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Speech through the edge: from the request to the first chunk of audio, and seconds of work for each second of speech."""
    from malha.bench.synthesize import Options, run_synthesize
    from malha.cli.bench import _finish
    from malha.cli.output import status

    with status("starting") as spinner:
        report = run_synthesize(Options(requests, seconds, engine), spinner.update)
    _finish(report, _table(report), save, json=json)


def _table(report: Mapping[str, Any]) -> Any:
    """First chunks, then a line for each format."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    table = Table("format", "first chunk p50", "p95", "real-time factor", "CPU s per s", "kbit/s", title=report["engine"], box=SIMPLE)
    for kind, figures in report["formats"].items():
        first = report["first_chunk_ms_by_format"].get(kind, {})
        shown = [f"{first[share]:.1f} ms" if first.get(share) is not None else "" for share in ("p50", "p95")]
        table.add_row(kind, *shown, f"{figures['rtf']:.4f}", f"{figures['cpu_per_second']:.4f}", f"{figures['kilobits_per_second']:.0f}")
    first = report["first_chunk_ms"]
    return Group(table, f"first chunk of {report['requests']} sentences: {first['p50']:.1f} ms, p95 {first['p95']:.1f} ms")
