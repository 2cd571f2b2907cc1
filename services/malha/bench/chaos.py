"""``malha bench chaos``: calls that go on while each of Malha's processes is killed with -9, again and again.

What is lost or told twice is found by comparison with the same audio in a call that nobody disturbed: each of its utterances must have been
told once, at its time, in one unbroken numbering.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import quantiles
from typing import Any, Final

import numpy as np
import psutil

from malha.bench import speech
from malha.bench.chaos_call import CHUNK_SECONDS, ChaosCall
from malha.bench.chaos_call import Final as Told
from malha.bench.chaos_hour import long_call
from malha.bench.live import about_run
from malha.bench.private_server import Running, private_server
from malha.bench.spoken import spoken
from malha.bench.statistics import summary
from malha.runtime.errors import Unavailable

TARGETS: Final = ("edge", "live", "worker", "postgres")
FIRST_KILL_SECONDS: Final = 4.0
STAGGER_SECONDS: Final = 2.0
LAST_SECONDS: Final = 5.0
"""Of audio after the last kill's own time."""
TURN_SECONDS: Final = 3.0
"""Of a turn, where calls have pauses: longer recordings are left off there."""
FIND_SECONDS: Final = 10.0
SAME_SECONDS: Final = 0.25
"""An utterance heard again may begin or end so much earlier or later."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to do."""

    calls: int = 20
    rounds: int = 5
    every_seconds: float = 10.0
    """Between kills: what one costs is over before the next."""
    engine: str = "auto"
    outage_seconds: float = 0.0
    """Of PostgreSQL, stopped (SIGSTOP) once in the end; 0: none."""
    stagger_seconds: float = STAGGER_SECONDS
    """From the start of the first call to that of the last."""
    dialogue: str = ""
    """The language of the dialogue to speak; "": recordings, where there are any."""
    hours: float = 0.0
    """Of a call that is heard before the others and resumed many times; 0: none."""
    talk: float = 1.0
    """The share of the time somebody speaks: turns with pauses, each call at its own time. 1: the recordings as they are."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that was killed."""

    target: str
    pid: int
    at: float
    """By the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told what happens, when it does."""

    phase: Callable[[str], None]
    kill: Callable[[Kill], None]
    call: Callable[[int, ChaosCall], None]
    """Something was told to a call, given by its number from 0, or it was lost."""


def run_chaos(
    options: Options,
    on_phase: Callable[[str], None] = lambda _: None,
    on_kill: Callable[[Kill], None] = lambda _: None,
    on_call: Callable[[int, ChaosCall], None] = lambda _number, _call: None,
) -> dict[str, Any]:
    """Play the calls, kill what serves them, and report. The callbacks are `Watcher`'s. Raises Unavailable if the server does not start."""
    watcher = Watcher(on_phase, on_kill, on_call)
    settings = {"MALHA_TRANSCRIBE_ENGINE": options.engine, "MALHA_LOG_LEVEL": "WARNING"}
    seconds = FIRST_KILL_SECONDS + options.rounds * len(TARGETS) * options.every_seconds + options.outage_seconds + LAST_SECONDS
    watcher.phase("starting the servers")
    with private_server(settings) as server:
        chunks = _audio(server, seconds, options)
        long: dict[str, Any] = {}
        if options.hours:
            watcher.phase(f"a call of {options.hours:g} hours")
            long = {"long_call": asyncio.run(long_call(server, chunks, options.hours))}
        return {**asyncio.run(_run(options, server, chunks, watcher)), **long, **about_run()}


async def _run(options: Options, server: Running, chunks: list[bytes], watcher: Watcher) -> dict[str, Any]:
    authorization = f"Bearer {server.token}"
    watcher.phase("hearing the audio undisturbed")
    reference = ChaosCall(server.websocket, authorization, chunks, pace=False)
    await reference.run()
    if reference.error or not reference.finals:
        raise Unavailable(f"the undisturbed call failed: {reference.error or 'nothing was heard'}", reason="REFERENCE_FAILED")
    calls = [ChaosCall(server.websocket, authorization, chunks, on_change=partial(watcher.call, number)) for number in range(options.calls)]
    watcher.phase(f"{options.calls} calls")
    kills: list[Kill] = []
    targets = [target for target in TARGETS if find(server.supervisor, target)]  # an engine may have no worker

    async def play(number: int, call: ChaosCall) -> None:
        await asyncio.sleep(_stagger_seconds(options) * number / options.calls)
        await call.run()

    async def kill() -> None:
        await asyncio.sleep(FIRST_KILL_SECONDS)
        for _ in range(options.rounds):
            for target in targets:
                kills.append(await _kill(server.supervisor, target))
                watcher.kill(kills[-1])
                await asyncio.sleep(options.every_seconds)
        if options.outage_seconds:
            with _stopped(server.supervisor):
                watcher.phase(f"{options.outage_seconds:g} s without the database")
                await asyncio.sleep(options.outage_seconds)
            watcher.phase("the database is back")

    killing = asyncio.create_task(kill())
    await asyncio.gather(*(play(number, call) for number, call in enumerate(calls)))
    await killing
    return report(options, reference, calls, kills)


def report(options: Options, reference: ChaosCall, calls: list[ChaosCall], kills: list[Kill]) -> dict[str, Any]:
    """What became of the calls."""
    lost = sum(missing(reference, call) for call in calls)
    twice = sum(repeated(call) for call in calls)
    late = lateness(reference, calls)
    resume = {target: _resume_ms(target, calls, kills, late) for target in TARGETS}
    together = [value for target in ("edge", "live", "worker") for value in resume[target]]
    return {
        "calls": options.calls,
        "talk": options.talk,
        "seconds": round(len(reference.chunks) * CHUNK_SECONDS, 1),
        "kills": [{"target": kill.target, "count": sum(1 for each in kills if each.target == kill.target)} for kill in _firsts(kills)],
        "utterances": len(reference.finals) * len(calls),
        "lost": lost,
        "duplicated": twice,
        "insights": sum(len(call.insights) for call in calls),
        "insights_duplicated": sum(advised_twice(call) for call in calls),
        "gaps": sum(call.gaps for call in calls),
        "failed": sorted({call.error or call.ended for call in calls if call.error or call.ended != "finished"}),
        "outage_s": options.outage_seconds,
        "resume_ms": {**_quantiles(together), "by_target": {target: _quantiles(values) for target, values in resume.items()}},
    }


def missing(reference: ChaosCall, call: ChaosCall) -> int:
    """Utterances of the reference that the call was never told, holes in its numbering, and an end that did not come."""
    spans = [(final.start, final.end) for final in call.finals]
    untold = sum(1 for final in reference.finals if not any(_covers(span, (final.start + final.end) / 2) for span in spans))
    holes = max(call.seqs, default=0) - len(set(call.seqs))
    return untold + holes + (call.ended != "finished")


def repeated(call: ChaosCall) -> int:
    """Events told twice: by their number, and by what they say."""
    spans = sorted((final.start, final.end) for final in call.finals)
    overlaps = sum(1 for one, two in pairwise(spans) if two[0] < one[1] - SAME_SECONDS)
    return len(call.seqs) - len(set(call.seqs)) + overlaps


def advised_twice(call: ChaosCall) -> int:
    """Insights told twice: by their id, or saying the same of the same words."""
    said = {insight.id: (insight.type, insight.evidence) for insight in call.insights}
    return len(call.insights) - len(set(said.values()))


def _covers(span: tuple[float, float], second: float) -> bool:
    return span[0] - SAME_SECONDS <= second <= span[1] + SAME_SECONDS


def lateness(reference: ChaosCall, calls: list[ChaosCall]) -> list[list[tuple[float, float]]]:
    """For each call, when its finals came and by how many milliseconds they were later than usual for what was said.

    All calls hear the same audio at times of their own: usual is what the quarter of them that had an utterance soonest had it within.
    """
    heard: dict[int, list[float]] = {}
    matched: list[list[tuple[int, Told]]] = [[] for _ in calls]
    for found, call in zip(matched, calls, strict=True):
        for final in call.finals:
            number = next(
                (n for n, each in enumerate(reference.finals) if _covers((final.start, final.end), (each.start + each.end) / 2)), None
            )
            if number is not None and final.latency_ms is not None:
                heard.setdefault(number, []).append(final.latency_ms)
                found.append((number, final))
    usual = {number: quantiles(values, n=4)[0] if len(values) > 1 else values[0] for number, values in heard.items()}
    return [[(final.at, max(0.0, (final.latency_ms or 0.0) - usual[number])) for number, final in found] for found in matched]


def _resume_ms(target: str, calls: list[ChaosCall], kills: list[Kill], late: list[list[tuple[float, float]]]) -> list[float]:
    """How long calls were without a server after each kill. A worker's and the database's: how much later than usual finals came, of which
    what went before the kill is not its doing.
    """
    found = []
    for number, kill in enumerate(kills):
        if kill.target != target:
            continue
        until = kills[number + 1].at if number + 1 < len(kills) else kill.at + FIND_SECONDS
        for call, finals in zip(calls, late, strict=True):
            if target in ("edge", "live"):
                found += [lost for at, lost in call.resumed if kill.at <= at < until]
            else:
                found += [max(worst)] if (worst := [min(by, (at - kill.at) * 1e3) for at, by in finals if kill.at <= at < until]) else []
    return found


def _quantiles(values: list[float]) -> dict[str, float | int | None]:
    return {**summary(values, (50, 95)), "count": len(values)}


def _firsts(kills: list[Kill]) -> Iterator[Kill]:
    seen: set[str] = set()
    for kill in kills:
        if kill.target not in seen:
            seen.add(kill.target)
            yield kill


def _stagger_seconds(options: Options) -> float:
    """Calls whose turns come at different times load the recogniser evenly."""
    return options.stagger_seconds if options.talk >= 1 else TURN_SECONDS / options.talk


def _audio(server: Running, seconds: float, options: Options) -> list[bytes]:
    directory = None if options.dialogue else speech.data_directory()
    if directory is not None:
        loop = speech.join(_turns(speech.recordings(directory), options.talk), "recordings")
    else:
        loop = speech.join(_turns(spoken(server.url, server.token, options.dialogue or "en"), options.talk), "espeak-ng")
    chunks = loop.chunks(int(CHUNK_SECONDS * 1000))
    wanted = int(seconds / CHUNK_SECONDS)
    return [chunks[number % len(chunks)] for number in range(wanted)]


def _turns(recordings: Iterable[speech.Samples], talk: float) -> Iterator[speech.Samples]:
    """What somebody says at a time, and the silence after it but for the pause that `speech.join` adds."""
    usual = (speech.SHORTEST_PAUSE + speech.LONGEST_PAUSE) / 2
    for recording in recordings:
        if talk >= 1:
            yield recording
            continue
        turn = recording[: int(TURN_SECONDS * speech.RATE)]
        rest = max(0.0, len(turn) / speech.RATE * (1 / talk - 1) - usual)
        yield np.concatenate((turn, np.zeros(int(rest * speech.RATE), np.int16)))


async def _kill(supervisor: int, target: str) -> Kill:
    """Kill one process with SIGKILL, once there is one. Raises Unavailable if there is none for a while."""
    deadline = time.monotonic() + FIND_SECONDS
    while time.monotonic() < deadline:
        pid = find(supervisor, target)
        if pid:
            os.kill(pid, signal.SIGKILL)
            return Kill(target, pid, time.monotonic())
        await asyncio.sleep(0.05)
    raise Unavailable(f"no {target} process to kill", reason="NO_PROCESS")


@contextmanager
def _stopped(supervisor: int) -> Iterator[None]:
    """PostgreSQL, all of it, answers nothing."""
    main = find(supervisor, "postgres")
    processes = [psutil.Process(main), *psutil.Process(main).children(recursive=True)] if main else []
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def find(supervisor: int, target: str) -> int:
    """The process id of a child of ``malha up``; 0 if there is none now. The oldest of its kind: younger ones stand by."""
    try:
        processes = psutil.Process(supervisor).children(recursive=True)
    except psutil.NoSuchProcess:
        return 0
    found = []
    for process in processes:
        with suppress(psutil.Error):  # it has just died
            if _IS[target](process.cmdline()):
                found.append((process.create_time(), process.pid))
    return min(found, default=(0.0, 0))[1]


_IS: Mapping[str, Callable[[list[str]], bool]] = {
    "edge": lambda command: command[-2:] == ["-m", "malha.edge"],
    "live": lambda command: command[-2:] == ["serve", "live"],
    "worker": lambda command: any("malha.transcribe" in part for part in command),
    "postgres": lambda command: bool(command) and command[0].endswith("/postgres") and "-D" in command,
}
