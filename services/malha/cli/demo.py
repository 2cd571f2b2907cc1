"""``malha demo``: a two-voice call, spoken, streamed, transcribed and advised on by servers started for it, then its figures; then two calls as text."""

import asyncio
import random
import sys
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson
import typer
from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from malha.bench.dialogues import AGENT, CUSTOMER, DIALOGUES
from malha.bench.playback import Playback, Recording
from malha.bench.private_server import Running, private_server
from malha.bench.speech import RATE
from malha.bench.spoken import Speaker
from malha.bench.wer import word_error_rate
from malha.cli.call_statistics import CallStatistics, statistics_table
from malha.cli.demo_replay import replay_transcripts
from malha.cli.insight_view import Advice, Ground
from malha.cli.live_view import Line, LiveView
from malha.cli.output import note, print_json, status
from malha.cli.pull import pull_model
from malha.models.catalogue import Model, find
from malha.models.hub import HubOptions
from malha.models.store import ModelStore
from malha.runtime import engines
from malha.runtime.errors import Aborted, FailedPrecondition, Unavailable
from malha.text.scrub import Pipeline

ROLES = (AGENT, CUSTOMER)
MODEL = "whisper/small"
"""For Portuguese and Spanish, which the embedded recogniser does not know."""
TAGS = {"en": "en", "pt": "pt-BR", "es": "es"}
LEAD_SECONDS = 0.6
NOISE_RMS = 6.0
OPEN_SECONDS = 10.0
CLOSE_SECONDS = 60.0
"""From the end of the audio to the last event: a Whisper model on a slow machine may be behind."""


def run_demo(lang: str, *, yes: bool, json: bool) -> int:
    """Run the demo in a language; the exit status. Raises what stops it."""
    settings = {"MALHA_TRANSCRIBE_ENGINE": "pocketsphinx"} if lang == "en" else _whisper_settings(yes=yes)
    with ExitStack() as stack:
        with status("starting the servers"):
            server = stack.enter_context(private_server(settings))
        note(f"servers started in {server.start_seconds:.1f} s")
        with status("speaking the call"):
            recording = spoken_call(server, lang)
        advice: list[Advice] = []
        statistics = asyncio.run(_play(server, recording, lang, advice, quiet=json))
        report = {"language": lang, **statistics.report(), "wer": _wer(statistics, lang), "insights": [asdict(each) for each in advice]}
        if not json:
            Console().print(statistics_table(report))
        replays = replay_transcripts(server, quiet=json)
    if json:
        print_json({**report, "replays": replays})
        return 0
    if lang == "en":
        print("The same call in Portuguese or Spanish, by Whisper: make demo DEMO_LANG=pt, or malha demo --lang es")
    return 0


def spoken_call(server: Running, lang: str) -> Recording:
    """The dialogue as a stereo call: the agent on the left, the customer on the right, each silent while the other speaks."""
    speaker = Speaker(server.url, server.token, TAGS[lang])
    try:
        turns = [(turn, speaker.speak(turn)) for turn in DIALOGUES[lang]]
    finally:
        speaker.close()
    pieces = [np.zeros((round(LEAD_SECONDS * RATE), 2), np.int16)]
    for turn, speech in turns:
        piece = np.zeros((len(speech) + round(turn.pause_seconds * RATE), 2), np.int16)
        piece[: len(speech), ROLES.index(turn.role)] = speech
        pieces.append(piece)
    samples = np.concatenate(pieces)
    noise = np.random.default_rng(random.Random(lang).getrandbits(32)).normal(0.0, NOISE_RMS, samples.shape)  # noqa: S311 - a quiet line, not a secret
    return Recording(np.clip(samples + noise, -32_768, 32_767).astype(np.int16), RATE)


async def _play(server: Running, recording: Recording, lang: str, advice: list[Advice], *, quiet: bool) -> CallStatistics:
    """Stream the call through the WebSocket edge in real time; ``advice`` gets its insights. Raises Unavailable if the edge refuses or loses it."""
    statistics, playback = CallStatistics(), Playback(recording)
    headers = {"Authorization": f"Bearer {server.token}"}
    start = {
        "event": "start",
        "conversation_id": "demo",
        "language": TAGS[lang],
        "encoding": "pcm16",
        "sample_rate": RATE,
        "enable_insights": True,
    }
    try:
        async with connect(server.websocket, additional_headers=headers, compression=None, proxy=None, open_timeout=OPEN_SECONDS) as socket:
            await socket.send(orjson.dumps({**start, "channels": 2, "roles": ROLES}).decode())
            with LiveView(playback, recording.seconds, quiet=quiet) as view:
                await _converse(socket, playback, _Told(view, statistics, playback, advice), recording.seconds + CLOSE_SECONDS)
    except (ConnectionClosed, InvalidHandshake, TimeoutError, OSError) as error:
        raise Unavailable(f"the call was lost ({type(error).__name__})", reason="CALL_LOST") from error
    return statistics


@dataclass(frozen=True, slots=True)
class _Told:
    """Where what is told goes."""

    view: LiveView
    statistics: CallStatistics
    playback: Playback
    advice: list[Advice]


async def _converse(socket: ClientConnection, playback: Playback, told: _Told, limit_seconds: float) -> None:
    """Send and receive until ``session_ended``."""

    async def send() -> None:
        with suppress(ConnectionClosed):  # the receiver says why
            async for chunk in playback.chunks():
                await socket.send(chunk)
            await socket.send('{"event":"stop"}')

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(limit_seconds):
            async for message in socket:
                if _take(orjson.loads(message), told):
                    return
        raise Unavailable("the call ended before its end was told", reason="CALL_LOST")
    finally:
        sending.cancel()
        await asyncio.wait([sending])


def _take(event: dict[str, Any], told: _Told) -> bool:
    """Show and count an event; whether it was the last. Raises Unavailable for an error the edge tells."""
    match event["event"]:
        case "session_started":
            told.statistics.engine = str(event["engine"])
        case "partial" | "batch_processed" | "amended" as name:
            for segment in event["segments"]:
                _show(_line(event, segment, told.playback, name), told)
        case "insight":
            advice = _advice(event, told.statistics)
            told.advice.append(advice)
            told.view.advise(advice)
        case "warning":
            told.view.say(f"{event['reason']}: {event['message']}")
        case "final_summary":
            told.statistics.duration_seconds = event["duration_sec"]
            told.statistics.talk_seconds = dict(zip(ROLES, event["talk_sec"], strict=True))
        case "error":
            raise Unavailable(str(event["message"]), reason=str(event["reason"]))
        case "session_ended":
            return True
        case _:
            pass  # acks, speech started and ended: nothing to show
    return False


def _show(line: Line, told: _Told) -> None:
    if line.amended:
        told.statistics.amend(line)
    else:
        told.statistics.add(line)
    told.view.show(line)


def _advice(event: dict[str, Any], statistics: CallStatistics) -> Advice:
    """An insight, with who said the words it rests on, and when."""
    grounds = []
    for evidence in event["evidence"]:
        line = statistics.line(evidence["segment_id"])
        grounds.append(Ground(line.speaker if line else "?", line.start_seconds if line else 0.0, evidence["quote"]))
    return Advice(event["type"], event["message"], event["confidence"], grounds, event["latency_ms"], event["degraded"])


def _line(event: dict[str, Any], segment: dict[str, Any], playback: Playback, name: str) -> Line:
    return Line(
        segment=segment["id"],
        channel=event["channel"],
        speaker=event["role"] or str(event["channel"]),
        text=segment["text"],
        start_seconds=segment["start_sec"],
        end_seconds=segment["end_sec"],
        final=name != "partial",
        latency_ms=playback.since(segment["end_sec"]) * 1e3,
        amended=name == "amended",
    )


def _wer(statistics: CallStatistics, lang: str) -> float | None:
    """Against the script, both channels, with digits for number words as in every transcript; None where jiwer is not installed."""
    pipeline = Pipeline(TAGS[lang])
    said = [" ".join(pipeline.alone(turn.text).text for turn in DIALOGUES[lang] if turn.role == role) for role in ROLES]
    try:
        return round(word_error_rate(said, [statistics.text(role) for role in ROLES]), 4)
    except FailedPrecondition:
        return None


def _whisper_settings(*, yes: bool) -> dict[str, str]:
    """Make sure that the engine and its model are here. Raises FailedPrecondition without either."""
    engines.load("transcribe", "faster-whisper")
    model, store = find(MODEL), ModelStore()
    if store.find(model.name) is None:
        _ask(model, yes=yes)
        pull_model(model, HubOptions.from_environment())
        if problems := store.verify(model.name):
            raise Aborted(f"{model.name} is damaged ({problems[0]}): malha models pull {model.name}", reason="MODEL_FILE_CORRUPT")
        note(f"{model.name} is here and verified")
    path = store.find(model.name)
    return {"MALHA_TRANSCRIBE_ENGINE": "faster-whisper", "MALHA_WHISPER_MODEL": str(path)}


def _ask(model: Model, *, yes: bool) -> None:
    """Name the model, its size and licence, and ask once. Raises FailedPrecondition if the answer is no, or nobody can be asked."""
    note(
        f"This call needs {model.title} ({model.name}): {model.size_bytes / 1e6:.0f} MB, licence {model.licence}, from {model.repository} on the hub."
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise FailedPrecondition(f"fetching {model.name} was not agreed to: add --yes", reason="NOT_AGREED")
    if not typer.confirm("Fetch it?", err=True):
        raise FailedPrecondition(f"without {model.name} there is no call in this language", reason="NOT_AGREED")
