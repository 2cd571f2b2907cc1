"""``malha bench live``: how much latency and CPU many live calls cost.

Added latency is what the server and the wire add to the audio's own pace: from sending the chunk that made the server decide, named by the
event's ``position``, to receiving the event. Load and servers share the machine; the load generator is a process of its own.
"""

import datetime as dt
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from malha.bench import speech, usage
from malha.bench.generator import Load, raise_file_limit
from malha.bench.private_server import Running, private_server
from malha.bench.spoken import spoken
from malha.bench.websocket import Target
from malha.runtime.errors import Unavailable
from malha.runtime.standby import STANDBY_SECONDS

SAMPLES = 120
"""Of memory over a run, at most about."""
SLACK_SECONDS = 120.0
"""For opening, references and closing, beside the streaming itself."""


SETTLE_SECONDS, LOOK_SECONDS, AT_REST_SHARE = 90.0, 2.0, 0.04
"""How long a server may take to come to rest, between two looks, and the share of a CPU that is rest."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    sessions: int
    seconds: float
    engine: str = "null"
    chunk_ms: int = 100
    stereo: bool = False
    pace: float = 1.0
    url: str = ""
    """Of a server that runs already, ``ws://...``; empty: one is started for the run."""
    token: str = ""
    settle: bool = True
    """Whether a server that is started for the run is at rest before it: its standbys load for some seconds."""
    pids: Mapping[str, int] = field(default_factory=dict)
    """Of that server's processes, ``edge`` and ``live``, to measure them."""


def run_live(options: Options, on_phase: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Run one load and report it. Raises Unavailable if the server does not start or refuses the sessions."""
    with ExitStack() as stack:
        on_phase("starting the server")
        server = stack.enter_context(_server(options))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="malha-bench-")))
        settled_seconds = _settled(server, on_phase) if options.settle and not options.url else None
        on_phase("making the audio")
        loop = audio_loop(server, stereo=options.stereo)
        audio = directory / "loop.pcm"
        audio.write_bytes(b"".join(loop.chunks(options.chunk_ms)))
        load = Load(
            server.websocket, server.token, options.sessions, options.seconds, str(audio), loop.channels, options.chunk_ms, options.pace
        )
        watch = Watch(server.pids, every_seconds=max(1.0, options.seconds / SAMPLES))
        generator = stack.enter_context(generator_process(load))
        result = watch.follow(generator, on_phase, options.seconds + SLACK_SECONDS)
        return _report(options, loop, server, watch, result) | {"settled_seconds": settled_seconds}


@contextmanager
def _server(options: Options) -> Iterator[Running]:
    if options.url:
        target = Target.parse(options.url)
        yield Running(
            url=f"http://{target.host}:{target.port}",
            websocket=options.url,
            grpc="",
            token=options.token,
            pids=options.pids,
            start_seconds=0.0,
        )
        return
    limit = max(4000, 4 * options.sessions)  # a call is a stream to Audio and one for each channel to Transcribe
    limits = {
        "MALHA_MAX_STREAMS": limit,
        "MALHA_EDGE_MAX_SOCKETS": limit,
        "MALHA_EDGE_REQUESTS_PER_MINUTE": 10 * limit,
        "MALHA_QUOTAS": "false",
    }
    settings = {"MALHA_TRANSCRIBE_ENGINE": options.engine, "MALHA_LOG_LEVEL": "WARNING"}
    raise_file_limit()  # the servers inherit it
    with private_server(settings | {name: str(value) for name, value in limits.items()}) as server:
        yield server


def _settled(server: Running, on_phase: Callable[[str], None]) -> float:
    """Wait until all of a server that was started just now is at rest: its standbys load for some seconds. How long that took."""
    on_phase("waiting until the server is at rest")
    began, family = time.monotonic(), {"server": server.supervisor}
    time.sleep(STANDBY_SECONDS)
    used = -math.inf
    while time.monotonic() - began < SETTLE_SECONDS:
        before, used = used, sum(usage.sample(family).cpu_seconds.values())
        if used - before < AT_REST_SHARE * LOOK_SECONDS:
            break
        time.sleep(LOOK_SECONDS)
    return round(time.monotonic() - began, 1)


def audio_loop(server: Running, *, stereo: bool) -> speech.Loop:
    """What calls play: recordings where there are any, else a dialogue the server speaks."""
    directory = speech.data_directory()
    if directory is not None:
        return speech.join(speech.recordings(directory), "recordings", stereo=stereo)
    return speech.join(spoken(server.url, server.token), "espeak-ng", stereo=stereo)


@contextmanager
def generator_process(load: Load) -> Iterator[subprocess.Popen[bytes]]:
    """The load generator, killed at the end. It tells its phases on standard output."""
    with subprocess.Popen(
        [sys.executable, "-m", "malha.bench.generator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(orjson.dumps(asdict(load)))
            process.stdin.close()
            yield process
        finally:
            process.kill()


class Watch:
    """Measures the servers at each phase of the generator, and their memory between the phases."""

    def __init__(self, pids: Mapping[str, int], every_seconds: float) -> None:
        self._pids = pids
        self._every = every_seconds
        self.at: dict[str, usage.Usage] = {}
        """By phase."""
        self.told: dict[str, dict[str, Any]] = {}
        """By phase: what the generator said."""
        self.memory: list[dict[str, float]] = []
        """``{"at_s", "<process>_mb", ...}`` over the run."""

    def follow(self, generator: subprocess.Popen[bytes], on_phase: Callable[[str], None], limit_seconds: float) -> dict[str, Any]:
        """Read the generator's phases until its result. Raises Unavailable with its last line if there is none."""
        assert generator.stdout is not None
        assert generator.stderr is not None
        overdue, over = threading.Timer(limit_seconds, generator.kill), threading.Event()
        sampler = threading.Thread(target=self._sample_memory, args=(over,), name="memory", daemon=True)
        overdue.start()
        sampler.start()
        try:
            for line in _lines(generator.stdout):
                phase = line["phase"]
                if phase == "result":
                    return line
                self.at[phase] = usage.sample(self._pids)
                self.told[phase] = line
                on_phase(phase)
        finally:
            overdue.cancel()
            over.set()
            sampler.join()
        last = generator.stderr.read().decode(errors="replace").strip().splitlines()
        raise Unavailable(last[-1].removeprefix("malha bench: ") if last else "the load generator took too long", reason="GENERATOR_FAILED")

    def _sample_memory(self, over: threading.Event) -> None:
        begin = time.monotonic()
        while not over.wait(self._every):
            rss = usage.sample(self._pids).rss_mb
            self.memory.append(
                {"at_s": round(time.monotonic() - begin, 1)} | {f"{name}_mb": round(value, 1) for name, value in rss.items()}
            )

    def cpu_ms_per_audio_second(self) -> dict[str, float | None]:
        """CPU milliseconds for each second of audio over the steady part, by process."""
        begin, end = self.at["steady"], self.at["stopping"]
        audio = self.told["stopping"]["audio_seconds"] - self.told["steady"]["audio_seconds"]
        used = {name: round((end.cpu_seconds[name] - begin.cpu_seconds.get(name, 0.0)) * 1e3 / audio, 3) for name in end.cpu_seconds}
        return {"edge": None, "live": None} | used

    def generator_cpu_share(self) -> float:
        """Of one core, over the steady part."""
        begin, end = self.told["steady"], self.told["stopping"]
        share: float = (end["cpu_seconds"] - begin["cpu_seconds"]) / (end["at"] - begin["at"])
        return round(share, 3)


def _lines(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    for line in stream:
        yield dict(orjson.loads(line))


def _report(options: Options, loop: speech.Loop, server: Running, watch: Watch, result: dict[str, Any]) -> dict[str, Any]:
    idle, end = watch.at["idle"].rss_mb, watch.at["stopping"].rss_mb
    per_session = {name: round((end[name] - idle.get(name, 0.0)) / options.sessions, 4) for name in end}
    return {
        "sessions": options.sessions,
        "seconds": options.seconds,
        "lost": result.pop("lost"),
        "duplicated": result.pop("duplicated"),
        "added_ms": result.pop("added_ms"),
        "cpu_ms_per_audio_s": watch.cpu_ms_per_audio_second(),
        "rss_mb": {"edge": None, "live": None} | {name: round(value, 1) for name, value in end.items()},
        "rss_idle_mb": {name: round(value, 1) for name, value in idle.items()},
        "rss_mb_per_session": per_session,
        "rss_over_time": watch.memory,
        "chunk_ms": options.chunk_ms,
        "channels": loop.channels,
        "pace": options.pace,
        "audio": {"source": loop.source, "loop_seconds": round(loop.seconds, 1)},
        "server": {"started_here": not options.url, "start_seconds": round(server.start_seconds, 2)},
        "generator_cpu_share": watch.generator_cpu_share(),
        **{key: value for key, value in result.items() if key != "phase"},
        **about_run(),
    }


def about_run() -> dict[str, Any]:
    """When, where and how: what makes a figure comparable later."""
    return {
        "machine": usage.machine(),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["malha", *_without_secrets(sys.argv[1:])]),
    }


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    return ["***" if before == "--token" else argument for before, argument in zip(["", *arguments], arguments, strict=False)]
