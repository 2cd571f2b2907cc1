"""The end of ``malha demo``: a Portuguese and a Spanish call as text, with the advice that comes as they go."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console

from malha.bench.insight_replay import Asked, connect, replay
from malha.bench.private_server import Running
from malha.bench.statistics import summary
from malha.bench.transcripts import our_transcript
from malha.cli.insights_run import Shown

TITLES: Final[Mapping[str, str]] = {
    "pt": "a Portuguese call as text: the customer of a telephone company",
    "es": "a Spanish call as text: the customer of a bank",
}
"""By language."""
RATE: Final = 25.0
"""Times the pace they would be spoken at: each is over in seven seconds."""


def replay_transcripts(server: Running, *, quiet: bool) -> list[dict[str, Any]]:
    """Replay both; what came of each. Raises what the server answers."""
    return [asyncio.run(_replay(server, language, quiet=quiet)) for language in TITLES]


async def _replay(server: Running, language: str, *, quiet: bool) -> dict[str, Any]:
    console = Console(quiet=quiet, highlight=False)
    console.print(f"\n{TITLES[language]}, {RATE:.0f} times as fast", style="bold")
    turns, shown, begin = our_transcript(language), Shown(console), time.monotonic()
    async with connect(server.grpc) as channel:
        await replay(channel, server.token, turns, Asked(f"demo-{language}", language, rate=RATE), shown)
    latency = summary(shown.latencies_ms, (50, 95))
    if shown.insights:
        console.print(f"{shown.insights} insights; {latency['p50']:.0f} ms (p50), {latency['p95']:.0f} ms (p95) after what led to them")
    return {
        "language": language,
        "turns": len(turns),
        "insights": shown.insights,
        "types": sorted(shown.types),
        "engine": shown.engine,
        "latency_ms": latency,
        "seconds": round(time.monotonic() - begin, 2),
    }
