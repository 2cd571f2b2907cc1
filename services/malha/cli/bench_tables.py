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


def chaos_table(report: Report) -> Group:
    """One line for each kind of process that was killed, and what became of the calls."""
    table = Table("killed", "times", "resumed", "p50", "p95", title=f"{report['calls']} calls of {report['seconds']:.0f} s", box=SIMPLE)
    for kill in report["kills"]:
        figures = report["resume_ms"]["by_target"][kill["target"]]
        table.add_row(kill["target"], str(kill["count"]), str(figures["count"]), _number(figures["p50"], 0), _number(figures["p95"], 0))
    kills = sum(kill["count"] for kill in report["kills"])
    outage = f", {report['outage_s']:g} s without the database" if report["outage_s"] else ""
    note = "resumed in ms without a server; worker and postgres: how much later than usual a final came"
    return Group(
        table, note, f"{kills} kills{outage}: {report['lost']} lost, {report['duplicated']} twice of {report['utterances']} utterances"
    )


def store_table(report: Report) -> Group:
    """The commit, then each question about past conversations. All in ms."""
    table = Table("ms", "p50", "p95", "p99", title=f"{report['calls']} calls, {report['finals_per_s']:g} finals a second", box=SIMPLE)
    asked = report.get("conversations", {})
    figures = {"commit": report["commit_ms"], **{name.removesuffix("_ms"): value for name, value in asked.items() if name.endswith("_ms")}}
    for name, value in figures.items():
        table.add_row(name, *(_number(value[key]) for key in ("p50", "p95", "p99")))
    return Group(table, f"{report['rows_per_s']} rows a second when all calls commit at once")


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
