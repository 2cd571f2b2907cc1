"""``malha demo --chaos``: calls on screen that go on while each of the processes that serve them is killed."""

from typing import Any

from malha.bench.chaos import Options, run_chaos
from malha.cli.chaos_view import NAMES, ChaosView
from malha.cli.output import print_json

OPTIONS = Options(calls=4, rounds=3, every_seconds=4.5, engine="pocketsphinx", stagger_seconds=8.0, dialogue="en")


def run_chaos_demo(*, json: bool, options: Options = OPTIONS) -> int:
    """Run it; 0 if nothing was lost and nothing told twice, else 1. Raises Unavailable if the servers do not start."""
    with ChaosView(quiet=json) as view:
        report = run_chaos(options, view.phase, view.kill, view.call)
        for line in _figures(report):
            view.say(line)
        view.say(verdict(report), "bold")
    if json:
        print_json(report)
    return 1 if report["lost"] or report["duplicated"] or report["failed"] else 0


def verdict(report: dict[str, Any]) -> str:
    """What became of the calls, in a line."""
    kills = sum(kill["count"] for kill in report["kills"])
    failed = f", calls ended with {', '.join(report['failed'])}" if report["failed"] else ""
    return f"{kills} kills, {report['lost']} lost, {report['duplicated']} twice{failed}"


def _figures(report: dict[str, Any]) -> list[str]:
    """How soon calls went on, by what was killed."""
    lines = []
    for target, figures in report["resume_ms"]["by_target"].items():
        if figures["count"]:
            what = "without a server for" if target in ("edge", "live") else "told a line later than usual by"
            lines.append(
                f"{NAMES.get(target, target):<13}  calls were {what} {figures['p50']:.0f} ms (median), {figures['p95']:.0f} ms (p95)"
            )
    return lines
