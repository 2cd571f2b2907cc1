"""``malha call``: a recording as a live call."""

import asyncio
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from malha.bench.playback import Playback, read_recording
from malha.cli.call_statistics import CallStatistics, statistics_table
from malha.cli.client import connected, sdk
from malha.cli.live_view import Line, LiveView
from malha.cli.output import print_json_line


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What the command line says."""

    file: Path
    language: str
    roles: tuple[str, ...]
    conversation: str
    model: str
    partials: bool
    target: str | None


def run_call(options: CallOptions, *, json: bool) -> None:
    """Play the recording. Raises InvalidArgument, and what the SDK raises."""
    statistics = CallStatistics()
    asyncio.run(_play(options, statistics, json=json))
    if not json:
        Console().print(statistics_table(statistics.report()))


async def _play(options: CallOptions, statistics: CallStatistics, *, json: bool) -> None:
    recording = read_recording(options.file)
    playback = Playback(recording)
    async with connected(options.target) as malha:
        call = malha.live(
            playback.chunks(),
            encoding="pcm16",
            sample_rate=recording.rate,
            channels=recording.channels,
            roles=options.roles,  # type: ignore[arg-type]  # the SDK checks them and names those there are
            language=options.language or None,
            conversation_id=options.conversation,
            model=options.model,
            interim=options.partials,
        )
        with LiveView(playback, recording.seconds, quiet=json) as view:
            async for event in call:
                if json:
                    print_json_line(_as_json(event))
                _take(event, view, statistics, playback)


def _take(event: sdk.Event, view: LiveView, statistics: CallStatistics, playback: Playback) -> None:
    match event:
        case sdk.Opened():
            statistics.engine = event.engine.name
        case sdk.Partial() | sdk.Final():
            line = _line(event, playback)
            statistics.add(line)
            view.show(line)
        case sdk.Resumed():
            view.resumed(event.lost_seconds, complete=event.sent_from <= event.resume_from)
        case sdk.CallWarning():
            view.say(f"{event.reason}: {event.message}")
        case sdk.Summary():
            statistics.duration_seconds = event.duration_seconds
            statistics.talk_seconds = {channel.role or str(channel.channel): channel.talk_seconds for channel in event.channels}
        case _:
            pass  # acks, speech started and ended: nothing to show


def _line(event: sdk.Transcript, playback: Playback) -> Line:
    segment = event.segment
    return Line(
        segment=segment.id,
        channel=segment.channel,
        speaker=segment.role or str(segment.channel),
        text=segment.text,
        start_seconds=segment.start_seconds,
        end_seconds=segment.end_seconds,
        final=isinstance(event, sdk.Final),
        latency_ms=playback.since(segment.end_seconds) * 1e3,
    )


def _as_json(event: sdk.Event) -> dict[str, Any]:
    """An event as the SDK tells it, its kind in front. The resume token is a secret."""
    fields = {name: value for name, value in dataclasses.asdict(event).items() if name != "resume_token"}
    return {"event": type(event).__name__, **fields}
