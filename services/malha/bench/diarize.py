"""``malha bench diarize``: how well speakers are told apart, how soon, and what it costs.

Recordings are sent as live calls, mono (channels are mixed), faster than they were spoken, all at once. The error rate is of the turns as they
are once all is heard; ``der_live`` of those told before the end of the audio. A turn's delay is from where it begins to when some turn that
covers this moment was first told, whoever was taken for its speaker: that may be amended. It is counted in the call's time, so what the
server takes counts as many times as the call is sent faster.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from malha.bench import usage
from malha.bench.der import Errors, Talk, errors, read_rttm
from malha.bench.live import about_run
from malha.bench.playback import Recording, read_recording
from malha.bench.private_server import private_server
from malha.bench.statistics import summary
from malha.runtime.errors import InvalidArgument
from malha.sdk import Malha, Turn

CHUNK_SECONDS: Final = 0.3
"""What Audio sends at once of a live call."""
COVERED_SECONDS: Final = 0.25
"""A turn is told once this much of it is."""
SETTLE_SECONDS, IDLE_SECONDS = 3.0, 5.0
"""After its start a server is still busy with itself; then it is seen how much it uses when nobody calls."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    files: Sequence[Path]
    pace: float = 4.0
    """How many times faster than it was spoken."""
    max_speakers: int = 0
    """0: found out."""
    engine: str = "resemblyzer"


@dataclass(slots=True)
class Heard:
    """What came back of one recording."""

    file: Path
    recording: Recording
    turns: dict[int, Turn] = field(default_factory=dict)
    live: list[Talk] = field(default_factory=list)
    """The turns when the last audio had been sent."""
    told: list[tuple[float, Turn]] = field(default_factory=list)
    """Every turn that was told, and the second of the recording when it was."""

    def delays(self) -> list[float]:
        """Of the turns that hold, in seconds."""
        return [
            self._first_told(turn.start_seconds + min(COVERED_SECONDS, (turn.end_seconds - turn.start_seconds) / 2)) - turn.start_seconds
            for turn in self.turns.values()
        ]

    def _first_told(self, second: float) -> float:
        return next(
            (at for at, turn in self.told if turn.speaker and turn.start_seconds <= second <= turn.end_seconds), self.recording.seconds
        )


def run_diarize(options: Options, on_phase: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure and report. Raises InvalidArgument for a file that is no audio or has no reference, and what the server and the SDK raise."""
    on_phase("reading the recordings")
    heard = [Heard(file, _mono(read_recording(file))) for file in options.files]
    references = {file: find_reference(file) for file in options.files}
    on_phase("starting the server")
    with private_server({"MALHA_TRANSCRIBE_ENGINE": "null", "MALHA_DIARIZE_ENGINE": options.engine}) as server:
        pids = {"live": server.pids["live"]}
        cpu_seconds = asyncio.run(_measure(options, heard, Malha(server.grpc, server.token), pids, on_phase))
    return _report(options, heard, references, cpu_seconds)


def find_reference(file: Path) -> list[Talk]:
    """Who speaks when in a recording: an RTTM file beside it that is named like it, or that names it. Raises InvalidArgument."""
    name = file.name.partition(".")[0]
    for path in sorted(file.parent.glob("*.rttm")):
        talks = read_rttm(path)
        if path.stem == name:
            return [talk for each in talks.values() for talk in each]
        if name in talks:
            return talks[name]
    raise InvalidArgument(f"{file}: there is no .rttm beside it that tells who speaks when", reason="NO_REFERENCE")


def _mono(recording: Recording) -> Recording:
    return Recording(np.round(recording.samples.mean(axis=1, keepdims=True)).astype(np.int16), recording.rate)


async def _measure(
    options: Options, heard: Sequence[Heard], malha: Malha, pids: Mapping[str, int], on_phase: Callable[[str], None]
) -> Mapping[str, float]:
    """CPU seconds by process, less what it uses when nobody calls."""
    async with malha:
        await asyncio.sleep(SETTLE_SECONDS)
        idle = usage.sample(pids).cpu_seconds
        await asyncio.sleep(IDLE_SECONDS)
        before, began = usage.sample(pids).cpu_seconds, time.monotonic()
        on_phase(f"{len(heard)} recordings at {options.pace:g} times their pace")
        await asyncio.gather(*(_call(malha, each, options) for each in heard))
        after, seconds = usage.sample(pids).cpu_seconds, time.monotonic() - began
    return {name: after[name] - before[name] - (before[name] - idle[name]) * seconds / IDLE_SECONDS for name in after}


async def _call(malha: Malha, heard: Heard, options: Options) -> None:
    playback = _Playback(heard, options.pace)
    stream = malha.diarize_live(playback.chunks(), sample_rate=heard.recording.rate, max_speakers=options.max_speakers or None)
    async for event in stream:
        if isinstance(event, Turn):
            heard.told.append((playback.second, event))
            if event.speaker:
                heard.turns[event.id] = event
            else:
                heard.turns.pop(event.id, None)


class _Playback:
    """Sends a recording at a multiple of its pace."""

    def __init__(self, heard: Heard, pace: float) -> None:
        self._heard = heard
        self._pace = pace
        self._begin = 0.0

    @property
    def second(self) -> float:
        """Of the recording, by the clock: it goes on after its end."""
        return (asyncio.get_running_loop().time() - self._begin) * self._pace

    async def chunks(self) -> AsyncIterator[bytes]:
        loop, recording = asyncio.get_running_loop(), self._heard.recording
        pcm, frames = recording.pcm(), round(CHUNK_SECONDS * recording.rate)
        self._begin = loop.time()
        for number, at in enumerate(range(0, len(pcm), 2 * frames), start=1):
            await asyncio.sleep(self._begin + number * CHUNK_SECONDS / self._pace - loop.time())
            yield pcm[at : at + 2 * frames]
        self._heard.live = _talks(self._heard.turns.values())


def _talks(turns: Any) -> list[Talk]:
    return [Talk(turn.start_seconds, turn.end_seconds, turn.speaker) for turn in turns]


def _report(
    options: Options, heard: Sequence[Heard], references: Mapping[Path, Sequence[Talk]], cpu_seconds: Mapping[str, float]
) -> dict[str, Any]:
    audio_seconds = sum(each.recording.seconds for each in heard)
    delays = [delay for each in heard for delay in each.delays()]
    return {
        "engine": options.engine,
        "files": [_file(each, references[each.file]) for each in heard],
        "turn_delay_s": {**summary(delays, (50, 95)), "max": round(max(delays), 3) if delays else None},
        "cpu_ms_per_audio_s": round(sum(cpu_seconds.values()) / audio_seconds * 1e3, 2),
        "cpu_ms_by_process": {name: round(seconds / audio_seconds * 1e3, 2) for name, seconds in sorted(cpu_seconds.items())},
        "audio_seconds": round(audio_seconds, 2),
        "pace": options.pace,
        "max_speakers": options.max_speakers,
        **about_run(),
    }


def _file(heard: Heard, reference: Sequence[Talk]) -> dict[str, Any]:
    hypothesis = _talks(heard.turns.values())
    found = errors(reference, hypothesis)
    return {
        "file": heard.file.name,
        "der": round(found.rate, 4),
        "speakers": len({talk.speaker for talk in hypothesis}),
        "reference_speakers": len({talk.speaker for talk in reference}),
        "der_live": round(errors(reference, heard.live).rate, 4),
        "der_without_collar": round(errors(reference, hypothesis, collar=0.0).rate, 4),
        **_shares(found),
        "turns": len(hypothesis),
        "turn_delay_s": summary(heard.delays(), (50, 95)),
        "seconds": round(heard.recording.seconds, 2),
        "rate": heard.recording.rate,
    }


def _shares(found: Errors) -> dict[str, float]:
    """Of reference speech."""
    kinds = {"missed": found.missed, "false_alarm": found.false_alarm, "confused": found.confused}
    return {name: round(seconds / found.speech, 4) if found.speech else 0.0 for name, seconds in kinds.items()}
