"""``malha bench asr``: how well and how soon an engine understands recordings, several at once, through Audio as live calls.

Latency of a final is counted from the acoustic end of its segment: the silence that ends an utterance (the hangover) is in it, and told
apart. The real-time factor is of a pass before, as fast as the server takes the same recordings.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from malha.bench.live import about_run
from malha.bench.playback import Playback, Recording, read_recording
from malha.bench.private_server import private_server
from malha.bench.statistics import summary
from malha.bench.wer import word_error_rate
from malha.sdk import Final, Malha, Opened, VadSettings

STAGGER_SECONDS = 1.0
"""Calls of one round begin spread over this time, so that they do not all pause together."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    files: Sequence[Path]
    sessions: int = 1
    """Calls at once. Files are used again where there are fewer."""
    engine: str = "auto"
    language: str = ""
    hangover_seconds: float = 0.3
    target: str = ""
    """``host:port`` of a server that runs already; empty: one is started for the run."""
    token: str = ""


@dataclass(slots=True)
class Heard:
    """What came back of one recording."""

    file: Path
    engine: str = ""
    texts: list[tuple[float, str]] = field(default_factory=list)
    """Start of each final in seconds, and what it says."""
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(text for _, text in sorted(self.texts))


def run_asr(options: Options, on_phase: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure and report. Raises InvalidArgument for a file that is no audio, and what the server and the SDK raise."""
    on_phase("reading the recordings")
    recordings = {file: read_recording(file) for file in options.files}
    references = {file: beside.read_text().strip() for file in options.files if (beside := file.with_suffix(".txt")).is_file()}
    if references:
        word_error_rate(["a"], ["a"])  # a missing extra is told before the work, not after it
    on_phase("starting the server")
    with _server(options) as (target, token):
        return asyncio.run(_measure(options, recordings, references, Malha(target, token), on_phase))


@contextmanager
def _server(options: Options) -> Iterator[tuple[str | None, str | None]]:
    if options.target:
        yield options.target, options.token or None
        return
    with private_server({"MALHA_TRANSCRIBE_ENGINE": options.engine}) as server:
        yield server.grpc, server.token


async def _measure(
    options: Options, recordings: Mapping[Path, Recording], references: Mapping[Path, str], malha: Malha, on_phase: Callable[[str], None]
) -> dict[str, Any]:
    calls = [options.files[number % len(options.files)] for number in range(max(options.sessions, len(options.files)))]
    gate = asyncio.Semaphore(options.sessions)
    async with malha:
        on_phase("transcribing as fast as the server goes")
        begin = time.monotonic()
        await asyncio.gather(*(_batch(malha, recordings[file], options, gate) for file in calls))
        elapsed = time.monotonic() - begin
        on_phase(f"calling, {min(options.sessions, len(calls))} at once")
        delays = [number % options.sessions * STAGGER_SECONDS / options.sessions for number in range(len(calls))]
        heard = await asyncio.gather(
            *(_call(malha, Heard(file), recordings[file], options, _after(gate, delay)) for file, delay in zip(calls, delays, strict=True))
        )
    audio_seconds = sum(recordings[file].seconds for file in calls)
    return _report(options, recordings, references, heard, elapsed / audio_seconds)


async def _batch(malha: Malha, recording: Recording, options: Options, gate: asyncio.Semaphore) -> None:
    async with gate:
        call = malha.live(
            recording.pcm(),
            encoding="pcm16",
            sample_rate=recording.rate,
            channels=recording.channels,
            language=options.language or None,
            pace="batch",
        )
        async for _ in call:
            pass  # only how long it takes is asked for


@asynccontextmanager
async def _after(gate: asyncio.Semaphore, seconds: float) -> AsyncIterator[None]:
    async with gate:
        await asyncio.sleep(seconds)
        yield


async def _call(malha: Malha, heard: Heard, recording: Recording, options: Options, turn: AbstractAsyncContextManager[None]) -> Heard:
    playback = Playback(recording)
    async with turn:
        async for event in malha.live(
            playback.chunks(),
            encoding="pcm16",
            sample_rate=recording.rate,
            channels=recording.channels,
            language=options.language or None,
            vad=VadSettings(hangover_seconds=options.hangover_seconds),
        ):
            match event:
                case Opened():
                    heard.engine = event.engine.name
                case Final() if event.text:
                    heard.latencies_ms.append(playback.since(event.segment.end_seconds) * 1e3)
                    heard.texts.append((event.segment.start_seconds, event.text))
                case _:
                    pass
    return heard


def _report(
    options: Options, recordings: Mapping[Path, Recording], references: Mapping[Path, str], heard: Sequence[Heard], rtf: float
) -> dict[str, Any]:
    judged = [call for call in heard if call.file in references]
    return {
        "engine": heard[0].engine,
        "sessions": options.sessions,
        "rtf": round(rtf, 4),
        "final_ms": summary((value for call in heard for value in call.latencies_ms), (50, 95)),
        "wer": _wer(judged, references),
        "files": [_file(file, recordings[file], references, [call for call in heard if call.file == file]) for file in options.files],
        "hangover_ms": round(options.hangover_seconds * 1e3),
        "finals": sum(len(call.texts) for call in heard),
        "calls": len(heard),
        "audio_seconds": round(sum(recordings[call.file].seconds for call in heard), 2),
        **about_run(),
    }


def _file(file: Path, recording: Recording, references: Mapping[Path, str], heard: Sequence[Heard]) -> dict[str, Any]:
    return {
        "file": file.name,
        "seconds": round(recording.seconds, 2),
        "channels": recording.channels,
        "rate": recording.rate,
        "calls": len(heard),
        "final_ms": summary((value for call in heard for value in call.latencies_ms), (50, 95)),
        "wer": _wer(heard, references) if file in references else None,
    }


def _wer(heard: Sequence[Heard], references: Mapping[Path, str]) -> float | None:
    if not heard:
        return None
    return round(word_error_rate([references[call.file] for call in heard], [call.text for call in heard]), 4)
