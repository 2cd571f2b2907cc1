"""``malha demo``: a two-voice call, spoken, streamed and transcribed by servers started for it, then its figures."""

import asyncio
import random
import sys
from contextlib import ExitStack, suppress
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
from malha.cli.live_view import Line, LiveView
from malha.cli.output import note, print_json, status
from malha.cli.pull import pull_model
from malha.models.catalogue import Model, find
from malha.models.store import ModelStore
from malha.runtime import engines
from malha.runtime.errors import Aborted, FailedPrecondition, Unavailable

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
        statistics = asyncio.run(_play(server, recording, lang, quiet=json))
    report = {"language": lang, **statistics.report(), "wer": _wer(statistics, lang)}
    if json:
        print_json(report)
        return 0
    Console().print(statistics_table(report))
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


async def _play(server: Running, recording: Recording, lang: str, *, quiet: bool) -> CallStatistics:
    """Stream the call through the WebSocket edge in real time. Raises Unavailable if the edge refuses or loses it."""
    statistics, playback = CallStatistics(), Playback(recording)
    headers = {"Authorization": f"Bearer {server.token}"}
    start = {"event": "start", "conversation_id": "demo", "language": TAGS[lang], "encoding": "pcm16", "sample_rate": RATE}
    try:
        async with connect(server.websocket, additional_headers=headers, compression=None, proxy=None, open_timeout=OPEN_SECONDS) as socket:
            await socket.send(orjson.dumps({**start, "channels": 2, "roles": ROLES}).decode())
            with LiveView(playback, recording.seconds, quiet=quiet) as view:
                await _converse(socket, playback, view, statistics, recording.seconds + CLOSE_SECONDS)
    except (ConnectionClosed, InvalidHandshake, TimeoutError, OSError) as error:
        raise Unavailable(f"the call was lost ({type(error).__name__})", reason="CALL_LOST") from error
    return statistics


async def _converse(socket: ClientConnection, playback: Playback, view: LiveView, statistics: CallStatistics, limit_seconds: float) -> None:
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
                if _take(orjson.loads(message), view, statistics, playback):
                    return
        raise Unavailable("the call ended before its end was told", reason="CALL_LOST")
    finally:
        sending.cancel()
        await asyncio.wait([sending])


def _take(event: dict[str, Any], view: LiveView, statistics: CallStatistics, playback: Playback) -> bool:
    """Show and count an event; whether it was the last. Raises Unavailable for an error the edge tells."""
    match event["event"]:
        case "session_started":
            statistics.engine = str(event["engine"])
        case "partial" | "batch_processed" as name:
            for segment in event["segments"]:
                line = _line(event, segment, playback, final=name == "batch_processed")
                statistics.add(line)
                view.show(line)
        case "final_summary":
            statistics.duration_seconds = event["duration_sec"]
            statistics.talk_seconds = dict(zip(ROLES, event["talk_sec"], strict=True))
        case "error":
            raise Unavailable(str(event["message"]), reason=str(event["reason"]))
        case "session_ended":
            return True
        case _:
            pass  # acks, speech started and ended: nothing to show
    return False


def _line(event: dict[str, Any], segment: dict[str, Any], playback: Playback, *, final: bool) -> Line:
    return Line(
        segment=segment["id"],
        channel=event["channel"],
        speaker=event["role"] or str(event["channel"]),
        text=segment["text"],
        start_seconds=segment["start_sec"],
        end_seconds=segment["end_sec"],
        final=final,
        latency_ms=playback.since(segment["end_sec"]) * 1e3,
    )


def _wer(statistics: CallStatistics, lang: str) -> float | None:
    """Against the script, both channels; None where jiwer is not installed."""
    said = [" ".join(turn.text for turn in DIALOGUES[lang] if turn.role == role) for role in ROLES]
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
        pull_model(model)
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
