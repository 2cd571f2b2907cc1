"""How much jobs delay calls: latency of finals of live calls, without background jobs and while some run.

``python -m malha.bench.background RECORDING ... --jobs 2 --minutes 13 --save FILE``. Latency is counted as by `malha.bench.asr`: from the
acoustic end of a segment, the silence that ends an utterance included.
"""

import argparse
import asyncio
import io
import sys
import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import orjson

from malha.bench.live import about_run
from malha.bench.playback import Playback, Recording, read_recording
from malha.bench.private_server import Running, private_server
from malha.bench.statistics import summary
from malha.sdk import Final as FinalEvent
from malha.sdk import Malha

JOBS: Final = "/api/v1/jobs"
REQUEST_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 5.0
"""Between jobs and calls."""
DEADLINE_SECONDS: Final = 120.0
"""For the jobs to begin."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    files: Sequence[Path]
    """Each is a live call; all at once."""
    rounds: int = 1
    """How often they are called, without jobs and beside them in turn: the machine may be busy with other things for a while."""
    jobs: int = 2
    minutes: float = 13.0
    """Of speech in one job: the recordings again and again."""
    engine: str = "pocketsphinx"


def run_background(options: Options) -> dict[str, Any]:
    """Measure and report. Raises InvalidArgument for a file that is no audio, and what the server and the SDK raise."""
    recordings = [read_recording(file) for file in options.files]
    with private_server({"MALHA_TRANSCRIBE_ENGINE": options.engine}) as server:
        return asyncio.run(_measure(options, recordings, server))


async def _measure(options: Options, recordings: Sequence[Recording], server: Running) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with (
        Malha(server.grpc, server.token) as malha,
        httpx.AsyncClient(base_url=server.url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False) as http,
    ):
        rounds = [await _round(options, malha, http, recordings) for _ in range(options.rounds)]
    shares = (50, 95, 100)
    return {
        "engine": options.engine,
        "calls": len(recordings),
        "jobs": options.jobs,
        "job_minutes": options.minutes,
        "final_ms": summary((value for each in rounds for value in each.alone), shares),
        "final_ms_with_jobs": summary((value for each in rounds for value in each.beside), shares),
        "rounds": [
            {
                "final_ms": summary(each.alone, shares),
                "final_ms_with_jobs": summary(each.beside, shares),
                "finals": [len(each.alone), len(each.beside)],
                "jobs_running_to_the_end": each.running,
                "job_seconds_a_second": each.job_speed,
            }
            for each in rounds
        ],
        **about_run(),
        "command": " ".join(["python", "-m", "malha.bench.background", *sys.argv[1:]]),
    }


@dataclass(frozen=True, slots=True)
class _Round:
    """Latencies of finals in milliseconds, without jobs and beside them; jobs that ran all the time; audio seconds a second each did."""

    alone: list[float]
    beside: list[float]
    running: int
    job_speed: list[float]


async def _round(options: Options, malha: Malha, http: httpx.AsyncClient, recordings: Sequence[Recording]) -> _Round:
    alone = await _calls(malha, recordings)
    jobs = [await _begin(http, _long(recordings[n % len(recordings)], options.minutes * 60)) for n in range(options.jobs)]
    before = [await _until_running(http, job) for job in jobs]
    await asyncio.sleep(SETTLE_SECONDS)
    began = time.monotonic()
    beside = await _calls(malha, recordings)
    seconds = time.monotonic() - began
    after = [await _job(http, job) for job in jobs]
    for job in jobs:
        await http.post(f"{JOBS}/{job}:cancel", json={})
    await asyncio.sleep(SETTLE_SECONDS)
    speed = [
        round((_progress(end) - _progress(begin)) * options.minutes * 60 / seconds, 3) for begin, end in zip(before, after, strict=True)
    ]
    return _Round(alone, beside, sum(job["status"] == "JOB_STATUS_RUNNING" for job in after), speed)


async def _calls(malha: Malha, recordings: Sequence[Recording]) -> list[float]:
    """Latencies of their finals in milliseconds, all called at once."""
    heard = await asyncio.gather(*(_call(malha, recording) for recording in recordings))
    return [latency for call in heard for latency in call]


async def _call(malha: Malha, recording: Recording) -> list[float]:
    playback = Playback(recording)
    call = malha.live(playback.chunks(), encoding="pcm16", sample_rate=recording.rate, channels=recording.channels)
    return [playback.since(event.segment.end_seconds) * 1e3 async for event in call if isinstance(event, FinalEvent) and event.text]


async def _begin(http: httpx.AsyncClient, recording: bytes) -> str:
    answer = await http.post(JOBS, files={"file": ("recording.wav", recording, "audio/wav")})
    answer.raise_for_status()
    return str(answer.json()["job"]["id"])


async def _job(http: httpx.AsyncClient, job: str) -> dict[str, Any]:
    answer = await http.get(f"{JOBS}/{job}")
    answer.raise_for_status()
    return dict(answer.json()["job"])


async def _until_running(http: httpx.AsyncClient, job: str) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found = await _job(http, job)
            if found["status"] == "JOB_STATUS_RUNNING" and _progress(found):
                return found
            await asyncio.sleep(0.2)


def _progress(job: dict[str, Any]) -> float:
    """0 to 1."""
    return float(job.get("progress", 0.0))


def _long(recording: Recording, seconds: float) -> bytes:
    """A WAV file of so many seconds."""
    times = max(1, round(seconds / recording.seconds))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(recording.channels)
        file.setsampwidth(2)
        file.setframerate(recording.rate)
        file.writeframes(np.tile(recording.samples, (times, 1)).astype("<i2").tobytes())
    return out.getvalue()


def main() -> None:
    """Measure what the command line says, print it as JSON and save it."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m malha.bench.background")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=13.0)
    parser.add_argument("--engine", default="pocketsphinx")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    report = run_background(Options(arguments.files, arguments.rounds, arguments.jobs, arguments.minutes, arguments.engine))
    text = orjson.dumps(report, option=orjson.OPT_INDENT_2)
    if arguments.save is not None:
        arguments.save.write_bytes(text + b"\n")
    sys.stdout.write(text.decode() + "\n")


if __name__ == "__main__":
    main()
