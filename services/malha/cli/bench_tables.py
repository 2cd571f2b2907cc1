"""Reports of ``malha bench`` for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Column, Table

Report = Mapping[str, Any]

LIVE_UNITS = "chunk, added latency and the load generator's lateness in ms; CPU in ms for each second of audio; memory in MB"


def live_table(reports: Sequence[Report]) -> Group:
    """One line for each run, and what spoils it."""
    headers = ("calls", "chunk", "lost", "dup.", "added p50", "p95", "p99", "CPU edge", "live", "RSS edge", "live", "a call", "late p99")
    table = Table(*(Column(header, justify="right") for header in headers), title="live calls", box=SIMPLE)
    for report in reports:
        added, cpu, rss, per_call = (report[name] for name in ("added_ms", "cpu_ms_per_audio_s", "rss_mb", "rss_mb_per_session"))
        table.add_row(
            str(report["sessions"]),
            str(report["chunk_ms"]),
            str(report["lost"]),
            str(report["duplicated"]),
            *(_number(added[share]) for share in ("p50", "p95", "p99")),
            *(_number(cpu[name]) for name in ("edge", "live")),
            *(_number(rss[name], 0) for name in ("edge", "live")),
            _number(sum(per_call.values()) if per_call else None),
            _number(report["generator_late_ms"]["p99"]),
        )
    return Group(table, *filter(None, (_troubles(report) for report in reports)), LIVE_UNITS)


def asr_tables(report: Report) -> Group:
    """One line for each file, and the whole."""
    table = Table("file", "length", "calls", "WER", "final p50", "p95", title=f"{report['engine']}, {report['sessions']} at once")
    for file in report["files"]:
        table.add_row(file["file"], *_recognition(file["seconds"], file))
    table.add_section()
    table.add_row("all", *_recognition(report["audio_seconds"], report))
    note = f"real-time factor {report['rtf']}; finals in ms from the acoustic end, {report['hangover_ms']} ms of hangover in them"
    return Group(table, note)


def _recognition(seconds: float, figures: Report) -> tuple[str, ...]:
    final, wer = figures["final_ms"], figures["wer"]
    rate = "-" if wer is None else f"{wer:.1%}"
    return f"{seconds:.1f} s", str(figures["calls"]), rate, _number(final["p50"], 0), _number(final["p95"], 0)


def _troubles(report: Report) -> str:
    """What spoils a run, in words."""
    told = [
        f"errors: {', '.join(f'{reason} ({count})' for reason, count in report['errors'].items())}" if report["errors"] else "",
        f"{report['unplaced']} events named no chunk" if report["unplaced"] else "",
        "the servers were behind: CPU is of audio sent, not of audio done" if report["behind"] else "",
        "the load generator was late: its figures are too high" if report["generator_late"] else "",
    ]
    return "\n".join(f"{report['sessions']} calls: {trouble}" for trouble in told if trouble)


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
