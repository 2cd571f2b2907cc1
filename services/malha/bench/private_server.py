"""A Malha of one's own for a measurement or a demo: ``malha up`` on free ports with a data directory that is thrown away."""

import contextlib
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from malha.runtime.errors import Unavailable

START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOG_TAIL_BYTES = 4_000
PLACE = re.compile(r"(MALHA_)?API_TOKENS|MALHA_(EDGE_)?(HOST|INSECURE|DATA_DIR|TLS_.*|TRUSTED_PROXIES|(.*_)?PORT|.*_TARGET)")
"""Settings that say where a server is and who may use it: a private one has its own. What is set for its engines holds for it too."""


@dataclass(frozen=True, slots=True)
class Running:
    """A started server, as ``malha up --json`` tells it."""

    url: str
    """Of the edge: ``http://host:port``."""
    websocket: str
    grpc: str
    """``host:port``."""
    token: str
    pids: Mapping[str, int]
    """Process ids by child's name: ``edge``, ``live``."""
    start_seconds: float
    supervisor: int = 0
    """Process id of ``malha up`` itself."""


@contextlib.contextmanager
def private_server(settings: Mapping[str, str], *, data_dir: Path | None = None) -> Iterator[Running]:
    """Start a server with these ``MALHA_*`` settings, stop it at the end. Raises Unavailable with the server's own last line.

    The server holds the other end of a pipe to this process: it stops by itself if this process is killed.
    """
    with contextlib.ExitStack() as stack:
        directory = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="malha-")))
        log = stack.enter_context((directory / "up.log").open("w+b"))
        begin = time.monotonic()
        process = stack.enter_context(_started(settings, directory, log))
        told = _serving(process, log)
        token = Path(told["token_file"]).read_text().strip()
        yield Running(told["url"], told["websocket"], told["grpc"], token, told["pids"], time.monotonic() - begin, process.pid)


@contextlib.contextmanager
def _started(settings: Mapping[str, str], directory: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    inherited = {key: value for key, value in os.environ.items() if not PLACE.fullmatch(key)}
    environment = {**inherited, "MALHA_DATA_DIR": str(directory), **settings}
    command = [
        sys.executable,
        "-m",
        "malha.cli.main",
        "up",
        "--port",
        "0",
        "--grpc-port",
        "0",
        "--admin-port",
        "0",
        "--json",
        "--until-eof",
    ]
    # a working directory of its own keeps a project's .env out; a session of its own keeps the terminal's Ctrl-C from it
    with subprocess.Popen(
        command, env=environment, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
                process.kill()


def _serving(process: subprocess.Popen[bytes], log: IO[bytes]) -> dict[str, Any]:
    """What the server tells once it serves. Raises Unavailable if it ends before, or takes too long."""
    assert process.stdout is not None
    line = first_line(process.stdout, START_SECONDS)
    if line:
        return dict(orjson.loads(line))
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
    last = next((text for text in reversed(log.read().decode(errors="replace").splitlines()) if text.startswith("malha: ")), "")
    raise Unavailable(
        last.removeprefix("malha: ") or "the server did not start; run `malha up --logs` to see why", reason="SERVER_NOT_STARTED"
    )


def first_line(stream: IO[bytes], seconds: float) -> bytes:
    """The first line of a pipe; empty at its end or after ``seconds``."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(seconds) else b""
