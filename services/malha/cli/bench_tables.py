"""Reports of ``malha bench`` for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

Report = Mapping[str, Any]


def live_table(reports: Sequence[Report]) -> Group:
    """One line for each run, and what to know about them."""
    table = Table(
        "calls",
        "chunk",
        "lost",
        "dup.",
        "added p50",
        "p95",
        "p99",
        "CPU edge",
        "live",
        "RSS edge",
        "live",
        "a call",
        "load late p99",
        title="live calls",
    )
    for report in reports:
        added, cpu, rss = report["added_ms"], report["cpu_ms_per_audio_s"], report["rss_mb"]
        per_call = report["rss_mb_per_session"]
        table.add_row(
            str(report["sessions"]),
            f"{report['chunk_ms']} ms",
            str(report["lost"]),
            str(report["duplicated"]),
            *(_number(added[share], "ms") for share in ("p50", "p95", "p99")),
            *(_number(cpu[name], "ms/s") for name in ("edge", "live")),
            *(_number(rss[name], "MB", 0) for name in ("edge", "live")),
            _number(sum(per_call.values()) if per_call else None, "MB", 2),
            _number(report["generator_late_ms"]["p99"], "ms") + (" !" if report["generator_late"] else ""),
        )
    notes = [_notes(report) for report in reports]
    return Group(
        table, *filter(None, notes), "added: from sending the chunk that made the server decide to its event; CPU: for each second of audio"
    )


def asr_tables(report: Report) -> Group:
    """One line for each file, and the whole."""
    files = Table("file", "length", "calls", "WER", "final p50", "p95", title=f"{report['engine']}, {report['sessions']} at once")
    for file in report["files"]:
        final = file["final_ms"]
        files.add_row(
            file["file"],
            f"{file['seconds']} s",
            str(file["calls"]),
            _share(file["wer"]),
            _number(final["p50"], "ms", 0),
            _number(final["p95"], "ms", 0),
        )
    final = report["final_ms"]
    files.add_section()
    files.add_row(
        "all",
        f"{report['audio_seconds']} s",
        str(report["calls"]),
        _share(report["wer"]),
        _number(final["p50"], "ms", 0),
        _number(final["p95"], "ms", 0),
    )
    return Group(
        files, f"real-time factor {report['rtf']}; finals count from the acoustic end, {report['hangover_ms']} ms of hangover in them"
    )


def _notes(report: Report) -> str:
    """What spoils a run, in words."""
    troubles = [
        f"errors: {', '.join(f'{reason} ({count})' for reason, count in report['errors'].items())}" if report["errors"] else "",
        f"{report['unplaced']} events named no chunk" if report["unplaced"] else "",
        "the load generator was late: its figures are too high" if report["generator_late"] else "",
    ]
    told = "; ".join(filter(None, troubles))
    return f"{report['sessions']} calls: {told}" if told else ""


def _number(value: float | None, unit: str, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f} {unit}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
