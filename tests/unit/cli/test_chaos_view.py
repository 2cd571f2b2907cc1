import io
import time

import pytest
from rich.console import Console

from malha.bench.chaos import Kill
from malha.bench.chaos_call import ChaosCall, Final
from malha.cli import demo_chaos
from malha.cli.chaos_view import ChaosView

QUANTILES = {"p50": None, "p95": None, "count": 0}
REPORT = {
    "kills": [{"target": "edge", "count": 3}, {"target": "postgres", "count": 3}],
    "lost": 0,
    "duplicated": 0,
    "failed": [],
    "resume_ms": {"by_target": {"edge": {"p50": 120.4, "p95": 200.0, "count": 12}, "worker": QUANTILES}},
}


class Seen:
    """A view on a console of 100 columns, and what it printed."""

    def __init__(self, *, terminal: bool = False) -> None:
        self._file = io.StringIO()
        console = Console(file=self._file, width=100, force_terminal=terminal, color_system=None, highlight=False)
        self.view = ChaosView(console=console)
        self.console = console

    @property
    def text(self) -> str:
        return self._file.getvalue()


def call(text: str = "") -> ChaosCall:
    made = ChaosCall("ws://here", "", [])
    made.latest = text
    return made


def final(text: str, latency_ms: float) -> Final:
    return Final(1, 0.0, 1.0, text, latency_ms, time.monotonic())


def test_a_kill_and_what_became_of_the_calls_are_shown_once():
    seen, calls = Seen(), [call(), call()]
    for number, each in enumerate(calls):
        seen.view.call(number, each)
    seen.view.kill(Kill("live", 17, time.monotonic()))
    assert "kill -9 live" in seen.text
    for number, each in enumerate(calls):
        assert "went on" not in seen.text
        each.resumed.append((time.monotonic(), 100.0 + number))
        seen.view.call(number, each)
    assert seen.text.count("live: 2 of 2 calls went on within 101 ms") == 1
    seen.view.call(0, calls[0])
    assert seen.text.count("went on") == 1


def test_a_call_that_has_not_gone_on_by_the_next_kill_is_told():
    seen, calls = Seen(), [call(), call()]
    for number, each in enumerate(calls):
        seen.view.call(number, each)
    seen.view.kill(Kill("edge", 17, time.monotonic()))
    calls[0].resumed.append((time.monotonic(), 80.0))
    seen.view.call(0, calls[0])
    seen.view.kill(Kill("postgres", 18, time.monotonic()))
    assert "edge: 1 of 2 calls went on within 80 ms" in seen.text


def test_without_a_worker_or_the_database_the_next_line_counts():
    seen, talking = Seen(), call()
    talking.finals.append(final("before", 50.0))
    seen.view.call(0, talking)
    seen.view.kill(Kill("postgres", 17, time.monotonic()))
    seen.view.call(0, talking)
    assert "next line" not in seen.text
    talking.finals.append(final("after", 420.0))
    seen.view.call(0, talking)
    assert "PostgreSQL: the next line was told 420 ms after it was spoken" in seen.text
    assert [line.split("call 1: ")[1] for line in seen.text.splitlines() if "call 1: " in line] == ["before", "after"]


def test_a_terminal_shows_each_call_with_its_latest_line_and_whether_it_waits():
    seen, calls = Seen(terminal=True), [call("hello\x1b[2J " + "long " * 40), call("good morning")]
    for number, each in enumerate(calls):
        seen.view.call(number, each)
    seen.view.kill(Kill("live", 17, time.monotonic()))
    calls[0].resumed.append((time.monotonic(), 80.0))
    seen.view.call(0, calls[0])
    with seen.console.capture() as capture:
        seen.console.print(seen.view)
    first, second, *_ = capture.get().splitlines()
    assert first.startswith("  call 1  live   hello [2J long")
    assert len(first) <= 100
    assert second.rstrip() == "  call 2  waits  good morning"


@pytest.mark.parametrize(
    ("change", "code", "verdict"),
    [
        ({}, 0, "6 kills, 0 lost, 0 twice"),
        ({"lost": 2}, 1, "6 kills, 2 lost, 0 twice"),
        ({"duplicated": 1}, 1, "6 kills, 0 lost, 1 twice"),
        ({"failed": ["NOT_FOUND"]}, 1, "6 kills, 0 lost, 0 twice, calls ended with NOT_FOUND"),
    ],
)
def test_the_demo_ends_with_its_verdict(monkeypatch, capsys, change, code, verdict):
    monkeypatch.setattr(demo_chaos, "run_chaos", lambda *_: REPORT | change)
    assert demo_chaos.run_chaos_demo(json=False) == code
    *_, figures, last = capsys.readouterr().out.splitlines()
    assert last == verdict
    assert figures.startswith("edge           calls were without a server for 120 ms (median), 200 ms (p95)")
