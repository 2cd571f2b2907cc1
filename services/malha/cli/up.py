"""``malha up``: the servers of this machine as supervised processes. ``live`` holds the capabilities, ``edge`` speaks WebSocket and REST."""

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from malha.cli.log_file import LogFile, standard_error_to
from malha.cli.output import note, print_json_line, silence_output
from malha.runtime import logs as logging
from malha.runtime.auth import ensure_token
from malha.runtime.errors import FailedPrecondition
from malha.runtime.logs import Event
from malha.runtime.process import run
from malha.runtime.settings import RuntimeSettings
from malha.runtime.supervisor import CONFIGURATION_ERRORS, Change, ChildEvent, ChildSpec, Infos, Supervisor
from malha.runtime.version import VERSION
from malha.store.embedded import EmbeddedPostgres
from malha.store.settings import StoreSettings

LIVE, EDGE = "live", "edge"
STOP_SLACK_SECONDS = 10.0
"""A child has this long beside its own draining before it is killed."""

EVENTS = {
    Change.STARTED: Event.CHILD_STARTED,
    Change.READY: Event.CHILD_READY,
    Change.EXITED: Event.CHILD_LOST,
    Change.STOPPED: Event.CHILD_STOPPED,
}

log = logging.get("cli.up")


@dataclass(frozen=True, slots=True)
class Addresses:
    """What the command line says; None: as the settings say. 0 takes a free port."""

    host: str | None
    edge_port: int | None
    grpc_port: int | None
    admin_port: int | None
    insecure: bool
    mode: str | None = None

    def environment(self) -> dict[str, str]:
        """As settings of the children, gRPC and edge on the same address."""
        ports = {"MALHA_EDGE_PORT": self.edge_port, "MALHA_GRPC_PORT": self.grpc_port, "MALHA_ADMIN_PORT": self.admin_port}
        if self.admin_port == 0:
            ports["MALHA_EDGE_ADMIN_PORT"] = 0
        given = {name: str(port) for name, port in ports.items() if port is not None}
        if self.mode is not None:
            given |= {"MALHA_MODE": self.mode}
        if self.host is not None:
            given |= {"MALHA_HOST": self.host, "MALHA_EDGE_HOST": self.host}
        return given | ({"MALHA_INSECURE": "true"} if self.insecure else {})


def run_up(addresses: Addresses, *, logs: bool, json: bool, until_eof: bool) -> int:
    """Serve until Ctrl-C, SIGTERM or (``until_eof``) the end of standard input. Returns the exit status."""
    if importlib.util.find_spec("malha.edge") is None:
        raise FailedPrecondition("the edge is not installed: pip install 'malha-services[local]'", reason="MISSING_EXTRA")
    settings = RuntimeSettings()
    token_file = ensure_token(settings.data_dir)
    with contextlib.ExitStack() as stack:
        postgres = None if StoreSettings().url else stack.enter_context(EmbeddedPostgres.take(settings.data_dir))
        log_file = stack.enter_context(contextlib.nullcontext() if logs else standard_error_to(settings.data_dir / "logs" / "up.log"))
        terminal = _Terminal(addresses.host or settings.host, token_file, log_file, json=json, embedded=postgres is not None)
        supervision = _Supervision(_children(settings, addresses.environment(), postgres), terminal.show, until_eof=until_eof)
        code = run("up", supervision.main, settings) or supervision.code
    if code and log_file is not None:
        note(f"malha: {log_file.failure or f'a server could not be started: see {log_file.path}'}")
    return code


class _Supervision:
    """Keeps the children alive until told to stop."""

    def __init__(self, children: Sequence[ChildSpec], show: Callable[[ChildEvent], None], *, until_eof: bool) -> None:
        self._supervisor = Supervisor(children, self._on_event)
        self._show = show
        self._until_eof = until_eof
        self._live: int | None = None
        """The process that serves, and reads its models file again at SIGHUP."""
        self.code = 0
        """Of a child that ended because its configuration is wrong."""

    async def main(self, stop: asyncio.Event) -> None:
        """What `run` runs."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        with _stop_at_eof(stop) if self._until_eof else contextlib.nullcontext():
            self.code = await self._supervisor.run(stop)

    def _reload(self) -> None:
        if self._live is not None:
            with contextlib.suppress(ProcessLookupError):  # it ends just now, and the next one reads the file at its start
                os.kill(self._live, signal.SIGHUP)

    def _on_event(self, event: ChildEvent) -> None:
        if event.name == LIVE:
            self._live = event.pid if event.change is Change.READY else None
        log.info(EVENTS[event.change], child=event.name, pid=event.pid, code=event.returncode)
        self._show(event)


def _children(settings: RuntimeSettings, given: Mapping[str, str], postgres: EmbeddedPostgres | None) -> list[ChildSpec]:
    """What to run. A child that is started again keeps the ports it had; the edge is told where live listens, live where PostgreSQL does."""
    store = postgres.environment if postgres is not None else {}
    seconds = settings.drain_notice_seconds + settings.drain_seconds + STOP_SLACK_SECONDS

    def live(infos: Infos) -> dict[str, str]:
        had = infos.get(LIVE, {})
        return {**given, **store, **_ports(had, grpc_port="MALHA_GRPC_PORT", admin_port="MALHA_ADMIN_PORT")}

    def edge(infos: Infos) -> dict[str, str]:
        had = infos.get(EDGE, {})
        known = _ports(infos[LIVE], grpc_port="MALHA_GRPC_PORT") | _ports(had, port="MALHA_EDGE_PORT", admin_port="MALHA_EDGE_ADMIN_PORT")
        return {**given, **known}

    return [
        *([postgres.spec()] if postgres is not None else []),
        ChildSpec(LIVE, (sys.executable, "-m", "malha.cli.main", "serve", LIVE), live, stop_seconds=seconds, standby=True, early=True),
        ChildSpec(EDGE, (sys.executable, "-m", "malha.edge"), edge, stop_seconds=seconds, standby=True),
    ]


def _ports(info: Mapping[str, str], **names: str) -> dict[str, str]:
    """What a child told, as settings."""
    return {setting: info[name] for name, setting in names.items() if name in info}


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


class _Terminal:
    """What the person, or the program, that started the servers is told."""

    def __init__(self, host: str, token_file: Path, log_file: LogFile | None, *, json: bool, embedded: bool) -> None:
        self._host = _reachable(host)
        self._token_file = token_file
        self._log_file = log_file
        self._json = json
        self._embedded = embedded
        self._begin = time.monotonic()
        self._pids: dict[str, int] = {}
        self._infos: dict[str, Mapping[str, str]] = {}

    def show(self, event: ChildEvent) -> None:
        """Tell that all serve, once; then what happens to single children."""
        try:
            self._tell(event)
        except OSError:  # whoever read left, or the terminal is gone: that ends no server
            silence_output()

    def _tell(self, event: ChildEvent) -> None:
        self._pids[event.name] = event.pid
        if event.change is Change.READY:
            again = event.name in self._infos
            self._infos[event.name] = event.info
            if again:
                self._say(f"{event.name} serves again")
            elif event.name == EDGE:
                self._tell_serving()
        elif event.change is Change.EXITED and event.returncode not in CONFIGURATION_ERRORS:
            self._say(f"{event.name} ended ({event.returncode}): starting it again")

    def _tell_serving(self) -> None:
        edge, grpc = f"{self._host}:{self._infos[EDGE]['port']}", f"{self._host}:{self._infos[LIVE]['grpc_port']}"
        scheme = self._infos[EDGE]["scheme"]
        url, websocket = f"{scheme}://{edge}", f"{scheme.replace('http', 'ws')}://{edge}/api/v1/asr/stream"
        if self._json:
            addresses = {"url": url, "websocket": websocket, "grpc": grpc}
            print_json_line({**addresses, "token_file": str(self._token_file), "pids": self._pids})
            return
        print(f"Malha {VERSION} serves after {time.monotonic() - self._begin:.1f} s")
        print(f"  edge   {url}")
        print(f"  gRPC   {grpc}")
        print(f"  token  {self._token_file}")
        if self._log_file is not None:
            print(f"  logs   {self._log_file.path}")
        if self._embedded:
            print("  data   embedded PostgreSQL, for one machine; in production set MALHA_DATABASE_URL")
        print("Try it:")
        body = """'{"text": "Hello, this is Malha.", "language": "en"}'"""
        print(
            f'  curl -H "Authorization: Bearer $(cat {self._token_file})" -H "Content-Type: application/json" -d {body} -o hello.wav {url}/api/v1/tts'
        )
        print("Ctrl-C lets open calls end, then stops.", flush=True)

    def _say(self, text: str) -> None:
        if not self._json:
            print(text, flush=True)


def _reachable(host: str) -> str:
    """Where this machine reaches a server that listens on ``host``, as a URL has it."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - asked, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
