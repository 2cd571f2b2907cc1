"""``malha up``: the servers of this machine as supervised processes. ``live`` holds the capabilities, ``edge`` speaks WebSocket and REST."""

import asyncio
import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from malha.cli.log_file import LogFile, standard_error_to
from malha.cli.output import note, print_json_line
from malha.runtime import logs
from malha.runtime.auth import ensure_token
from malha.runtime.errors import FailedPrecondition
from malha.runtime.logs import Event
from malha.runtime.process import run
from malha.runtime.settings import RuntimeSettings, is_loopback
from malha.runtime.supervisor import Change, ChildEvent, ChildSpec, Infos, Supervisor
from malha.runtime.version import VERSION

LIVE, EDGE = "live", "edge"
STOP_SLACK_SECONDS = 10.0
"""A child has this long beside its own draining before it is killed."""

log = logs.get("cli.up")


@dataclass(frozen=True, slots=True)
class Addresses:
    """What the command line says; None: as the settings say."""

    host: str | None
    edge_port: int
    grpc_port: int | None
    admin_port: int | None
    insecure: bool

    def settings(self) -> RuntimeSettings:
        """The settings in force. Raises FailedPrecondition for an address that is not allowed."""
        given = {"host": self.host, "grpc_port": self.grpc_port, "admin_port": self.admin_port, "insecure": self.insecure or None}
        settings = RuntimeSettings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # pydantic checks them
        if not (is_loopback(settings.host) or settings.insecure):
            raise FailedPrecondition(
                f"{settings.host} can be reached from other machines, and the edge speaks no TLS: put a proxy with TLS before it, or pass --insecure",
                reason="INSECURE_ADDRESS",
            )
        return settings


def run_up(addresses: Addresses, *, logs: bool, json: bool, until_eof: bool) -> int:
    """Serve until Ctrl-C, SIGTERM or (``until_eof``) the end of standard input. Returns the exit status."""
    if importlib.util.find_spec("malha.edge") is None:
        raise FailedPrecondition("the edge is not installed: pip install 'malha-services[local]'", reason="MISSING_EXTRA")
    settings = addresses.settings()
    token_file = ensure_token(settings.data_dir)
    begin = time.monotonic()
    with contextlib.nullcontext() if logs else standard_error_to(settings.data_dir / "logs" / "up.log") as log_file:
        terminal = _Terminal(settings, token_file, log_file, begin, json=json)
        code = run("up", lambda stop: _supervise(settings, addresses.edge_port, terminal.show, stop, until_eof=until_eof), settings)
    if code and log_file is not None:
        note(f"malha: {log_file.failure or f'a server could not be started: see {log_file.path}'}")
    return code


async def _supervise(settings: RuntimeSettings, edge_port: int, on_event: Callable[[ChildEvent, Infos], None], stop: asyncio.Event, *, until_eof: bool) -> None:
    """Keep the children alive until ``stop``. Raises FailedPrecondition if one says that its configuration is wrong."""

    def show(event: ChildEvent) -> None:
        _log(event)
        on_event(event, supervisor.infos)

    supervisor = Supervisor(_children(settings, edge_port), show)
    with _stop_at_eof(stop) if until_eof else contextlib.nullcontext():
        code = await supervisor.run(stop)
    if code:
        raise SystemExit(code)


def _children(settings: RuntimeSettings, edge_port: int) -> list[ChildSpec]:
    """What to run. A child that is started again keeps the port it was given first; the edge is told where live listens."""
    seconds = settings.drain_notice_seconds + settings.drain_seconds + STOP_SLACK_SECONDS
    common = {"MALHA_HOST": settings.host, "MALHA_INSECURE": str(settings.insecure).lower(), "MALHA_DATA_DIR": str(settings.data_dir)}

    def live(infos: Infos) -> dict[str, str]:
        port = infos.get(LIVE, {}).get("grpc_port", str(settings.grpc_port))
        return {**common, "MALHA_GRPC_PORT": port, "MALHA_ADMIN_PORT": infos.get(LIVE, {}).get("admin_port", str(settings.admin_port))}

    def edge(infos: Infos) -> dict[str, str]:
        return {**common, "MALHA_GRPC_PORT": infos[LIVE]["grpc_port"], "MALHA_EDGE_PORT": infos.get(EDGE, {}).get("port", str(edge_port))}

    return [
        ChildSpec(LIVE, (sys.executable, "-m", "malha.cli.main", "serve", LIVE), live, stop_seconds=seconds),
        ChildSpec(EDGE, (sys.executable, "-m", "malha.edge"), edge, stop_seconds=seconds),
    ]


@contextlib.contextmanager
def _stop_at_eof(stop: asyncio.Event) -> Iterator[None]:
    """Whoever started this program holds the other end of its standard input."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, read)
    try:
        yield
    finally:
        loop.remove_reader(0)


def _log(event: ChildEvent) -> None:
    names = {Change.STARTED: Event.CHILD_STARTED, Change.READY: Event.CHILD_READY, Change.EXITED: Event.CHILD_LOST, Change.STOPPED: Event.CHILD_STOPPED}
    log.info(names[event.change], child=event.name, pid=event.pid, code=event.returncode)


class _Terminal:
    """What the person, or the program, that started the servers is told."""

    def __init__(self, settings: RuntimeSettings, token_file: Path, log_file: LogFile | None, begin: float, *, json: bool) -> None:
        self._settings = settings
        self._token_file = token_file
        self._log_file = log_file
        self._begin = begin
        self._json = json
        self._pids: dict[str, int] = {}
        self._serving = False

    def show(self, event: ChildEvent, infos: Infos) -> None:
        """Tell that all serve, once; then what happens to single children."""
        self._pids[event.name] = event.pid
        if event.change is Change.READY and not self._serving and event.name == EDGE:
            self._serving = True
            self._tell_serving(infos)
        elif event.change is Change.READY and self._serving:
            self._say(f"{event.name} serves again")
        elif event.change is Change.EXITED and self._serving:
            self._say(f"{event.name} ended ({event.returncode}): starting it again")

    def _tell_serving(self, infos: Infos) -> None:
        host = self._settings.host
        address = f"{f'[{host}]' if ':' in host else host}:{infos[EDGE]['port']}"
        url, grpc = f"http://{address}", f"{host}:{infos[LIVE]['grpc_port']}"
        if self._json:
            websocket = f"ws://{address}/api/v1/asr/stream"
            print_json_line({"url": url, "websocket": websocket, "grpc": grpc, "token_file": str(self._token_file), "pids": self._pids})
            return
        print(f"Malha {VERSION} serves after {time.monotonic() - self._begin:.1f} s")
        print(f"  edge   {url}")
        print(f"  gRPC   {grpc}")
        print(f"  token  {self._token_file}")
        if self._log_file is not None:
            print(f"  logs   {self._log_file.path}")
        print("Try it:")
        body = """'{"text": "Hello, this is Malha.", "language": "en"}'"""
        print(f'  curl -H "Authorization: Bearer $(cat {self._token_file})" -H "Content-Type: application/json" -d {body} -o hello.wav {url}/api/v1/tts')
        print("Ctrl-C lets open calls end, then stops.", flush=True)

    def _say(self, text: str) -> None:
        if not self._json:
            print(text, flush=True)
