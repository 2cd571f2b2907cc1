"""The standbys of ``malha up``: they hold nothing while they wait, and the servers they replace are back on their ports."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import httpx
import psutil
import pytest

from malha.bench.chaos import find
from malha.bench.private_server import Running, private_server

ENDS = {"live": ["serve", "live"], "edge": ["-m", "malha.edge"]}
DEADLINE_SECONDS = 60

Value = TypeVar("Value")


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with private_server({"MALHA_TRANSCRIBE_ENGINE": "null", "MALHA_DRAIN_SECONDS": "2"}) as running:
        yield running


def _until(get: Callable[[], Value]) -> Value:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (value := get()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def _processes(server: Running, name: str) -> list[psutil.Process]:
    """The one that serves, then its standby."""
    found = []
    for child in psutil.Process(server.supervisor).children():
        with suppress(psutil.Error):  # it has just died
            if child.cmdline()[-2:] == ENDS[name]:
                found.append(child)
    return sorted(found, key=psutil.Process.create_time)


def _waiting(server: Running, name: str) -> psutil.Process:
    """A standby that has nothing more to do: its CPU time stands still."""

    def idle() -> psutil.Process | None:
        found = _processes(server, name)
        if len(found) < 2:
            return None
        standby, before = found[1], sum(found[1].cpu_times()[:2])
        time.sleep(0.5)
        return standby if before and sum(standby.cpu_times()[:2]) - before <= 0.02 else None

    return _until(idle)


def _healthy(server: Running) -> bool:
    try:
        answer = httpx.get(f"{server.url}/api/v1/health", headers={"Authorization": f"Bearer {server.token}"}, timeout=10, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200


@pytest.mark.parametrize("name", ["edge", "live"])
def test_a_standby_holds_nothing_and_takes_over_on_the_same_ports(server: Running, name: str) -> None:
    standby = _waiting(server, name)
    assert standby.pid not in server.pids.values()
    assert standby.net_connections() == []
    assert standby.children() == []
    serving = _processes(server, name)[0]
    ports = {connection.laddr.port for connection in serving.net_connections() if connection.status == psutil.CONN_LISTEN}
    assert ports
    assert find(server.supervisor, name) == serving.pid

    os.kill(serving.pid, signal.SIGKILL)
    _until(lambda: _processes(server, name)[:1] == [standby])
    _until(lambda: ports <= {connection.laddr.port for connection in standby.net_connections() if connection.status == psutil.CONN_LISTEN})
    _until(lambda: _healthy(server))
    assert find(server.supervisor, name) == standby.pid


def test_standbys_end_with_the_servers() -> None:
    with private_server({"MALHA_TRANSCRIBE_ENGINE": "null", "MALHA_DRAIN_SECONDS": "2"}) as server:
        standbys = [_until(lambda name=name: _processes(server, name)[1:])[0] for name in ENDS]
        assert all(standby.is_running() for standby in standbys)
    assert all(map(_ended, standbys))


def _ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
