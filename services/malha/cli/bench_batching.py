"""``malha bench batching``: what Whisper's batches across sessions save."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

EXAMPLES = "\b\nExamples:\n  malha bench batching --json\n  malha bench batching --sessions 16 --seconds 8 --size base"


def batching(
    *,
    sessions: Annotated[int, typer.Option(min=1, max=64, help="Utterances that come at the same moment.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.5, max=28.0, help="Length of an utterance.")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="How often each contender recognises them all.")] = 5,
    size: Annotated[Literal["tiny", "base", "small"], typer.Option(help="The Whisper whose dimensions the model has.")] = "tiny",
    threads: Annotated[int, typer.Option(min=1, max=64, help="CPU threads of each contender.")] = 1,
    save: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Whisper's items for each second of CPU: faster-whisper one by one, its batched pipeline, and Malha's engine, in one run."""
    from malha.runtime.engines import missing_extra

    try:
        from malha.bench.batching import Options, run_batching
    except ModuleNotFoundError as error:
        raise missing_extra("faster-whisper") from error
    from malha.cli.bench import _finish
    from malha.cli.output import status

    with status("starting") as spinner:
        report = run_batching(Options(sessions, seconds, rounds, size, threads), spinner.update)
    _finish(report, _table(report), save, json=json)


def _table(report: Mapping[str, Any]) -> Any:
    """One line for each contender."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    table = Table("engine", "items a CPU second", "CPU ms an item", title=report["model"], box=SIMPLE)
    for name, milliseconds in report["cpu_ms_per_item"].items():
        table.add_row(name.replace("_", " "), f"{report[name]:.2f}", f"{milliseconds:.1f}")
    return Group(
        table,
        f"{report['sessions']} sessions of {report['seconds']:g} s: {report['times_one_by_one']:.1f} times one by one, "
        f"{report['times_batched_pipeline']:.1f} times the batched pipeline",
    )
