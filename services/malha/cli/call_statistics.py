"""The figures a call ends with."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Group
from rich.table import Table

from malha.bench.statistics import summary
from malha.cli.live_view import Line


@dataclass(slots=True)
class CallStatistics:
    """Gathers lines as they are told."""

    engine: str = ""
    duration_seconds: float = 0.0
    talk_seconds: dict[str, float] = field(default_factory=dict)
    """By speaker."""
    partials: int = 0
    _finals: list[Line] = field(default_factory=list)
    _partial_ms: list[float] = field(default_factory=list)

    def add(self, line: Line) -> None:
        """A revision was told."""
        if line.final and line.text:
            self._finals.append(line)
        elif not line.final:
            self.partials += 1
            self._partial_ms.append(line.latency_ms)

    def amend(self, line: Line) -> None:
        """A final was told anew; when it first came counts."""
        self._finals = [replace(line, latency_ms=told.latency_ms) if told.segment == line.segment else told for told in self._finals]

    def line(self, segment: str) -> Line | None:
        """What was told of a segment."""
        return next((line for line in self._finals if line.segment == segment), None)

    def text(self, speaker: str) -> str:
        """All that one speaker said."""
        return " ".join(line.text for line in sorted(self._finals, key=lambda line: line.start_seconds) if line.speaker == speaker)

    def report(self) -> dict[str, Any]:
        """As JSON. ``final_ms`` counts from the acoustic end of each segment, the silence that ends an utterance included."""
        return {
            "engine": self.engine,
            "duration_seconds": round(self.duration_seconds, 2),
            "segments": len(self._finals),
            "partials": self.partials,
            "talk_seconds": {speaker: round(seconds, 2) for speaker, seconds in self.talk_seconds.items()},
            "final_ms": summary((line.latency_ms for line in self._finals), (50, 95)),
            "partial_ms": summary(self._partial_ms, (50, 95)),
            "transcript": [
                {"speaker": line.speaker, "start_seconds": line.start_seconds, "end_seconds": line.end_seconds, "text": line.text}
                for line in sorted(self._finals, key=lambda line: (line.start_seconds, line.channel))
            ],
        }


def statistics_table(report: Mapping[str, Any]) -> Group:
    """The report for people, without the transcript, which was shown."""
    table = Table("speaker", "segments", "talk", title="the call")
    by_speaker: defaultdict[str, int] = defaultdict(int)
    for line in report["transcript"]:
        by_speaker[line["speaker"]] += 1
    for speaker in {**report["talk_seconds"], **by_speaker}:
        table.add_row(speaker, str(by_speaker[speaker]), f"{report['talk_seconds'].get(speaker, 0.0):.1f} s")
    table.add_section()
    table.add_row("both" if len(table.rows) > 1 else "all", str(report["segments"]), f"{report['duration_seconds']:.1f} s long")
    lines = [f"recognised by {report['engine']}", _latency("finals", report["final_ms"], "after the acoustic end")]
    if report["partials"]:
        lines.append(_latency("partials", report["partial_ms"], "behind the speaker"))
    if report.get("wer") is not None:
        lines.append(f"word error rate against the script: {report['wer']:.1%}")
    return Group(table, *lines)


def _latency(what: str, values: Mapping[str, float | None], after: str) -> str:
    if values["p50"] is None:
        return f"no {what}"
    return f"{what} {values['p50']:.0f} ms (p50), {values['p95']:.0f} ms (p95) {after}"
