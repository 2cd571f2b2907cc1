"""``malha bench``: what calls cost, and how well they are understood."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from malha.cli import bench_batching, bench_diarize, bench_insight, bench_ocr, bench_pii, bench_synthesize
from malha.cli.output import print_json, status

app = typer.Typer(help="Measure: the cost of many live calls, and recognition.", no_args_is_help=True)
app.command(epilog=bench_pii.EXAMPLES)(bench_pii.pii)
app.command(epilog=bench_ocr.EXAMPLES)(bench_ocr.ocr)
app.command(epilog=bench_batching.EXAMPLES)(bench_batching.batching)
app.command(epilog=bench_diarize.EXAMPLES)(bench_diarize.diarize)
app.command(epilog=bench_insight.EXAMPLES)(bench_insight.insight)
app.command(epilog=bench_synthesize.EXAMPLES)(bench_synthesize.synthesize)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PLAIN_WIDTH = 120
"""Of tables where there is no terminal to fit."""
Save = Annotated[Path | None, typer.Option(help="Also write the JSON to this file.", show_default=False)]


@app.command(
    epilog="\b\nExamples:\n"
    "  malha bench live --sessions 1000 --seconds 30 --engine null --json\n"
    "  malha bench live --seconds 20 --curve 50,200,1000,2000@200\n"
    "  malha bench live --sessions 100 --seconds 120 --pace-factor 30   an hour of each call"
)
def live(
    *,
    sessions: Annotated[int, typer.Option(min=1, max=10_000, help="Calls at once.")] = 50,
    seconds: Annotated[float, typer.Option(min=1.0, max=86_400.0, help="How long they stream.")] = 20.0,
    engine: Annotated[str, typer.Option(help="The recogniser of the server that is started.")] = "null",
    chunk_ms: Annotated[int, typer.Option(min=20, max=1000, help="Length of a chunk of audio.")] = 100,
    stereo: Annotated[bool, typer.Option("--stereo", help="Two channels each call.")] = False,
    pace_factor: Annotated[float, typer.Option(min=1.0, max=100.0, help="Send audio this many times faster than it was spoken.")] = 1.0,
    curve: Annotated[str, typer.Option(help="Several runs: calls, or CALLS@CHUNK_MS, comma separated.", show_default=False)] = "",
    url: Annotated[str, typer.Option(help="ws:// URL of a running server's stream; else one is started.", show_default=False)] = "",
    token: Annotated[
        str, typer.Option(envvar="MALHA_TOKEN", help="That server's token; else the data directory's.", show_default=False)
    ] = "",
    edge_pid: Annotated[int, typer.Option(help="Measure that server's edge process.", show_default=False)] = 0,
    live_pid: Annotated[int, typer.Option(help="Measure that server's live process.", show_default=False)] = 0,
    settle: Annotated[bool, typer.Option(help="Wait first until the server that is started has loaded its standbys.")] = True,
    save: Save = None,
    json: Json = False,
) -> None:
    """Many paced calls of real speech through the WebSocket edge: latency added, CPU for each second of audio, memory.

    Added latency: from sending the chunk that made the server decide to receiving its event.
    """
    from malha.bench.live import Options, run_live
    from malha.cli.bench_tables import live_table

    pids = {name: pid for name, pid in (("edge", edge_pid), ("live", live_pid)) if pid}
    points = [_point(point, chunk_ms) for point in curve.split(",")] if curve else [(sessions, chunk_ms)]
    _check(url)
    reports: list[dict[str, Any]] = []
    with status("starting") as spinner:
        for calls, milliseconds in points:
            options = Options(calls, seconds, engine, milliseconds, stereo, pace_factor, url, _token(url, token), settle, pids)
            reports.append(run_live(options, lambda phase, calls=calls: spinner.update(f"{calls} calls: {phase}")))  # type: ignore[misc]  # a default binds the loop's value
    _finish(reports if curve else reports[0], live_table(reports), save, json=json)


@app.command(
    epilog="\b\nExamples:\n"
    "  malha bench asr calls/*.wav --engine pocketsphinx --sessions 10\n"
    "  malha bench asr call.flac --target 127.0.0.1:50051 --language pt --json"
)
def asr(
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="Recordings; a .txt beside one is its true text.", show_default=False
        ),
    ],
    *,
    sessions: Annotated[int, typer.Option(min=1, max=1000, help="Calls at once.")] = 1,
    engine: Annotated[str, typer.Option(help="The recogniser of the server that is started.")] = "auto",
    language: Annotated[str, typer.Option("--language", "-l", help="What is spoken, such as en or pt-BR.", show_default=False)] = "",
    hangover_ms: Annotated[int, typer.Option(min=90, max=5000, help="Silence that ends an utterance.")] = 300,
    target: Annotated[str, typer.Option(help="host:port of a running server; else one is started.", show_default=False)] = "",
    token: Annotated[
        str, typer.Option(envvar="MALHA_TOKEN", help="That server's token; else the data directory's.", show_default=False)
    ] = "",
    save: Save = None,
    json: Json = False,
) -> None:
    """Recordings as live calls: word error rate, real-time factor, and how long after the acoustic end a final comes (hangover included)."""
    from malha.bench.asr import Options, run_asr
    from malha.cli.bench_tables import asr_tables

    options = Options(files, sessions, engine, language, hangover_ms / 1e3, target, token)
    with status("starting") as spinner:
        report = run_asr(options, spinner.update)
    _finish(report, asr_tables(report), save, json=json)


@app.command(
    epilog="\b\nExamples:\n"
    "  malha bench chaos --json\n"
    "  malha bench chaos --calls 5 --rounds 1 --engine null\n"
    "  malha bench chaos --outage 30   and in the end half a minute without the database\n"
    "  malha bench chaos --engine pocketsphinx --talk 0.25   calls with pauses, as many as two CPUs can recognise"
)
def chaos(
    *,
    calls: Annotated[int, typer.Option(min=1, max=500, help="Calls at once.")] = 20,
    rounds: Annotated[int, typer.Option(min=0, max=100, help="How often each of edge, live, worker and PostgreSQL is killed.")] = 5,
    every: Annotated[float, typer.Option(min=1.0, max=60.0, help="Seconds between kills: what one costs is over before the next.")] = 10.0,
    outage: Annotated[float, typer.Option(min=0.0, max=110.0, help="Seconds without the database in the end.")] = 0.0,
    engine: Annotated[str, typer.Option(help="The recogniser.")] = "auto",
    talk: Annotated[
        float,
        typer.Option(min=0.05, max=1.0, help="Share of the time somebody speaks in a call, in short turns; 1: recordings as they are."),
    ] = 1.0,
    hours: Annotated[float, typer.Option(min=0.0, max=24.0, help="First resume a call of so many hours, many times; 0: none.")] = 0.0,
    save: Save = None,
    json: Json = False,
) -> None:
    """Kill Malha's processes with -9 in the middle of calls: what is lost, what is told twice, and how soon calls go on."""
    from malha.bench.chaos import Options, run_chaos
    from malha.cli.bench_tables import chaos_table

    with status("starting") as spinner:
        report = run_chaos(
            Options(calls, rounds, every, engine, outage, talk=talk, hours=hours),
            spinner.update,
            lambda kill: spinner.update(f"killed {kill.target}"),
        )
    _finish(report, chaos_table(report), save, json=json)


@app.command(
    epilog="\b\nExamples:\n  malha bench store --json\n  malha bench store --conversations 100000   also list, search and open among them"
)
def store(
    *,
    calls: Annotated[int, typer.Option(min=1, max=10_000, help="Calls at once.")] = 500,
    seconds: Annotated[float, typer.Option(min=1.0, max=86_400.0, help="How long they go on.")] = 20.0,
    finals: Annotated[float, typer.Option(min=1.0, max=10_000.0, help="Finals a second, of all calls together.")] = 150.0,
    conversations: Annotated[int, typer.Option(min=0, max=10_000_000, help="Past conversations to ask for; 0: none.")] = 0,
    save: Save = None,
    json: Json = False,
) -> None:
    """What storing before telling adds, in milliseconds, on MALHA_DATABASE_URL or a PostgreSQL started for it; and how soon past calls are found."""
    from malha.bench.store import Options, run_store
    from malha.cli.bench_tables import store_table
    from malha.store.settings import StoreSettings

    with status("starting") as spinner:
        report = run_store(Options(calls, seconds, finals, conversations, StoreSettings()), spinner.update)
    _finish(report, store_table(report), save, json=json)


def _check(url: str) -> None:
    from malha.bench.websocket import Target

    try:
        Target.parse(url or "ws://here")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None


def _point(text: str, chunk_ms: int) -> tuple[int, int]:
    """``CALLS`` or ``CALLS@CHUNK_MS``."""
    calls, _, milliseconds = text.partition("@")
    try:
        point = int(calls), int(milliseconds or chunk_ms)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not CALLS or CALLS@CHUNK_MS", param_hint="--curve") from None
    if not (1 <= point[0] <= 10_000 and 20 <= point[1] <= 1000):
        raise typer.BadParameter(f"{text!r}: 1 to 10000 calls, chunks of 20 to 1000 ms", param_hint="--curve")
    return point


def _token(url: str, token: str) -> str:
    """The token for a running server."""
    if token or not url:
        return token
    from malha.runtime.auth import TOKEN_FILE
    from malha.runtime.settings import RuntimeSettings

    return (RuntimeSettings().data_dir / TOKEN_FILE).read_text().strip()


def _finish(report: Any, tables: Any, save: Path | None, *, json: bool) -> None:
    if save is not None:
        import orjson

        save.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if json:
        print_json(report)
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(tables)
