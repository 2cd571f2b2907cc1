import io

import numpy as np
import pytest
from rich.console import Console

from malha.bench.playback import Playback, Recording
from malha.cli.call import _take
from malha.cli.call_statistics import CallStatistics, statistics_table
from malha.cli.client import sdk
from malha.cli.live_view import Line, LiveView
from malha.cli.screen import printable


def _line(text: str, *, final: bool, segment: str = "s1", speaker: str = "agent", latency_ms: float = 400.0) -> Line:
    return Line(segment, 0 if speaker == "agent" else 1, speaker, text, 1.0, 2.5, final, latency_ms)


def _shown(*lines: Line, terminal: bool) -> str:
    view = LiveView(Playback(Recording(np.zeros((16_000, 1), np.int16), 16_000)), 1.0)
    output = io.StringIO()
    view._console = Console(file=output, force_terminal=terminal, width=100, highlight=False)
    for line in lines:
        view.show(line)
    with view._console.capture() as region:
        view._console.print(view)
    return output.getvalue() + (region.get() if terminal else "")


def test_without_a_terminal_partials_and_finals_are_lines() -> None:
    shown = _shown(_line("good", final=False), _line("good morning", final=True), terminal=False).splitlines()
    assert shown[0].split() == ["1.0", "s", "agent", "good", "...", "400", "ms"]
    assert shown[1].split() == ["1.0", "s", "agent", "good", "morning", "400", "ms"]


def test_on_a_terminal_a_final_replaces_its_partials() -> None:
    assert "good ..." in _shown(_line("good", final=False), terminal=True)
    shown = _shown(_line("good", final=False), _line("good morning", final=True), terminal=True)
    assert "good morning" in shown
    assert "..." not in shown


def test_an_empty_final_takes_its_partials_back() -> None:
    shown = _shown(_line("uh", final=False), _line("", final=True), terminal=True)
    assert "uh" not in shown
    assert "agent" not in shown


@pytest.mark.parametrize(("sent_from", "told"), [(100, "after 1.5 s\n"), (200, "after 1.5 s, without some of its audio\n")])
def test_a_call_that_was_resumed_says_so_and_begins_what_was_being_said_anew(sent_from: int, told: str) -> None:
    view = LiveView(Playback(Recording(np.zeros((16_000, 1), np.int16), 16_000)), 1.0)
    output = io.StringIO()
    view._console = Console(file=output, force_terminal=True, width=100, highlight=False, color_system=None)
    view.show(_line("good", final=False))
    _take(sdk.Resumed("s", 1.5, 100, sent_from), view, CallStatistics(), view._playback)
    assert output.getvalue().endswith(told)
    with view._console.capture() as region:
        view._console.print(view)
    assert "good" not in region.get()


@pytest.mark.parametrize("text", ["\x1b[2J", "a\x07b", "\x1b]0;title\x07", "line\nline", "[red]no markup[/red]"])
def test_what_was_said_cannot_steer_the_terminal(text: str) -> None:
    shown = _shown(_line(text, final=True), terminal=False)
    assert shown.count("\n") == 1
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert printable(text).strip() in shown


def test_statistics_are_of_finals_with_text() -> None:
    statistics = CallStatistics(engine="pocketsphinx", duration_seconds=30.0, talk_seconds={"agent": 12.0, "customer": 9.5})
    for line in (
        _line("good", final=False, latency_ms=250),
        _line("good morning", final=True, latency_ms=500),
        _line("", final=True, segment="s2"),
        _line("hello", final=True, segment="s3", speaker="customer", latency_ms=700),
    ):
        statistics.add(line)
    report = statistics.report()
    assert (report["segments"], report["partials"]) == (2, 1)
    assert report["final_ms"] == {"p50": 500, "p95": 700}
    assert report["partial_ms"] == {"p50": 250, "p95": 250}
    assert statistics.text("customer") == "hello"
    output = io.StringIO()
    Console(file=output, width=100).print(statistics_table({**report, "wer": 0.125}))
    for words in ("agent", "12.0 s", "customer", "9.5 s", "30.0 s long", "500 ms (p50), 700 ms (p95)", "12.5%"):
        assert words in output.getvalue()
