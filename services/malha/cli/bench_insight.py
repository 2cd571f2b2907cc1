"""``malha bench insight``: how soon advice comes."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLES = (
    "\b\nExamples:\n  malha bench insight --json\n  malha bench insight --calls 50 --chat-url http://127.0.0.1:8100/v1\n"
    "  malha bench insight --vllm .venvs/models/tiny-qwen2   with a vLLM of its own"
)


def insight(
    *,
    calls: Annotated[int, typer.Option(min=1, max=1000, help="Calls at once.")] = 50,
    seconds: Annotated[float, typer.Option(min=5.0, max=3600.0, help="How long they go on.")] = 20.0,
    rate: Annotated[float, typer.Option(min=0.1, max=100.0, help="Times the pace the conversations were spoken at.")] = 4.0,
    chat_url: Annotated[str, typer.Option(help="An OpenAI-compatible server, with /v1, to ask too.", show_default=False)] = "",
    vllm: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A model to start vLLM with, and ask too.", show_default=False)
    ] = None,
    pairs: Annotated[int, typer.Option(min=10, max=10_000, help="Times the first token is compared.")] = 200,
    audio: Annotated[bool, typer.Option(help="Stream the audio of as many calls meanwhile, by a null recogniser.")] = True,
    save: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Calls at Insight: from a sentence to its alert at the client, from an operator's wish to a model's answer, and what Malha adds to a model's first token."""
    if chat_url and vllm is not None:
        raise typer.BadParameter("either --chat-url or --vllm", param_hint="--vllm")
    from malha.bench.insight import Options, run_insight
    from malha.cli.bench import _finish
    from malha.cli.output import status

    with status("starting") as spinner:
        report = run_insight(Options(calls, seconds, rate, chat_url, vllm, pairs, audio), spinner.update)
    _finish(report, _table(report), save, json=json)


def _table(report: Mapping[str, Any]) -> Any:
    """A line for each figure."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    table = Table("milliseconds", "p50", "p95", "p99", title=f"{report['calls']} calls", box=SIMPLE)
    rows = {"sentence to alert, rules": report["rules_ms"], "wish to answer, model": report["llm_ms"]}
    rows["added to the first token"] = report["chat_first_token_added_ms"]
    for name, figures in rows.items():
        if figures is not None:
            table.add_row(name, *("-" if figures[share] is None else f"{figures[share]:.1f}" for share in ("p50", "p95", "p99")))
    lines = [
        f"{report['rules']['alerts']} alerts at {report['rate']:g} times the pace, {report['rules']['audio_calls']} calls of audio beside them"
    ]
    if report["llm_ms"] is not None:
        outcomes = ", ".join(f"{name} {count}" for name, count in report["llm"]["outcomes"].items())
        lines.append(f"{report['llm']['questions']} questions: {outcomes}; the longest took {report['llm']['longest_ms']:.0f} ms")
    return Group(table, *lines)
