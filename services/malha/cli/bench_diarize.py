"""``malha bench diarize``: how well and how soon speakers are told apart."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLES = "\b\nExamples:\n  malha bench diarize calls/*.wav --json\n  malha bench diarize call.flac --max-speakers 2 --pace 1"


def diarize(
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="Recordings; a .rttm beside one tells who speaks when.", show_default=False
        ),
    ],
    *,
    pace: Annotated[float, typer.Option(min=0.5, max=50.0, help="Times the pace they were spoken at.")] = 4.0,
    max_speakers: Annotated[int, typer.Option(min=0, max=20, help="At most so many; 0: found out.")] = 0,
    engine: Annotated[str, typer.Option(help="The diarizer of the server that is started.")] = "resemblyzer",
    save: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recordings as live calls, mixed to mono: diarization error rate with a collar of 0.25 s, how soon turns are told, CPU for each second of audio."""
    from malha.bench.diarize import Options, run_diarize
    from malha.cli.bench import _finish
    from malha.cli.output import status

    with status("starting") as spinner:
        report = run_diarize(Options(files, pace, max_speakers, engine), spinner.update)
    _finish(report, _table(report), save, json=json)


def _table(report: Mapping[str, Any]) -> Any:
    """A line for each file."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    table = Table("file", "DER", "live", "missed", "false", "confused", "speakers", "delay p95", title=report["engine"], box=SIMPLE)
    for file in report["files"]:
        rates = (f"{file[name]:.1%}" for name in ("der", "der_live", "missed", "false_alarm", "confused"))
        delay = file["turn_delay_s"]["p95"]
        table.add_row(
            file["file"], *rates, f"{file['speakers']} of {file['reference_speakers']}", "-" if delay is None else f"{delay:.2f} s"
        )
    return Group(table, f"{report['cpu_ms_per_audio_s']} ms CPU for each second of audio, {report['pace']:g} times as fast as spoken")
