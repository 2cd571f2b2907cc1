"""Standbys with real processes: they take over, are replaced, stop first, and never outlive the supervisor."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import uvloop
from integration.runtime.test_supervisor import Running, alive, open_descriptors, supervising, until

from malha.runtime.supervisor import Change, ChildSpec, wait_for_turn

CHILD = """
import os, signal, sys, time
from pathlib import Path
from malha.runtime.supervisor import exit_with_parent, notify_ready, wait_for_turn

directory, seconds = Path(sys.argv[1]), {"quick": 0.0, "slow": 1.0, "stuck": 600.0}[sys.argv[2]]

def prepare():
    (directory / f"prepares-{os.getpid()}").touch()
    time.sleep(seconds)
    (directory / f"waits-{os.getpid()}").touch()

exit_with_parent(grace_seconds=0.3)
wait_for_turn(prepare)

def stop(*_):
    (directory / f"stopped-{os.getpid()}").touch()
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
notify_ready({"pid": str(os.getpid()), "seen": os.environ.get("SEEN", "")})
time.sleep(600)
"""


def child(directory: Path, speed: str = "quick", **options) -> ChildSpec:
    command = (sys.executable, "-c", CHILD, str(directory), speed)
    return ChildSpec("one", command, standby=True, standby_seconds=0.05, **options)


def marked(directory: Path, what: str) -> set[int]:
    return {int(file.name.partition("-")[2]) for file in directory.glob(f"{what}-*")}


async def standby(directory: Path, *others: int, what: str = "waits") -> int:
    """The process id of a standby that is none of ``others``."""
    return min(await until(lambda: {pid for pid in marked(directory, what) if alive(pid)} - set(others)))


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_the_standby_takes_over_and_has_a_standby_itself(loop_factory, tmp_path):
    async def main():
        async with supervising(child(tmp_path)) as running:
            first = (await running.wait(Change.READY, "one")).pid
            second = await standby(tmp_path)
            assert second != first
            kill(first)
            assert (await running.wait(Change.STARTED, "one", 2)).pid == second
            assert (await running.wait(Change.READY, "one", 2)).info["pid"] == str(second)
            third = await standby(tmp_path, second)
            kill(second)
            assert (await running.wait(Change.READY, "one", 3)).pid == third
            assert await running.end() == 0

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def test_a_child_may_load_while_those_before_it_become_ready(tmp_path):
    go = asyncio.Event()

    async def ready() -> dict[str, str]:
        await go.wait()
        return {}

    first = ChildSpec("zero", (sys.executable, "-c", "import time; time.sleep(600)"), ready=ready)
    async with supervising(first, child(tmp_path, early=True)) as running:
        loaded = await standby(tmp_path)
        assert {event.name for event in running.events} == {"zero"}
        go.set()
        assert (await running.wait(Change.READY, "one")).pid == loaded
        assert alive(await standby(tmp_path, loaded)), "and it has a standby from then on"
        assert await running.end() == 0


async def test_one_that_loads_early_is_gone_if_the_one_before_it_never_becomes_ready(tmp_path):
    before = open_descriptors()
    first = ChildSpec("zero", (sys.executable, "-c", "import time; time.sleep(600)"), ready=asyncio.Event().wait)
    async with supervising(first, child(tmp_path, early=True)) as running:
        loaded = await standby(tmp_path)
        assert await running.end() == 0
        assert not alive(loaded)
    assert open_descriptors() == before


async def test_one_that_cannot_load_early_is_started_in_its_turn(tmp_path):
    attempts = tmp_path / "attempts"
    code = f"import os, sys; open({str(attempts)!r}, 'a').write('x'); os.environ.get('MALHA_TURN_FD') and sys.exit(1)\n" + CHILD
    first = ChildSpec("zero", (sys.executable, "-c", "import time; time.sleep(600)"), ready=lambda: asyncio.sleep(1.0, {}))
    spec = ChildSpec("one", (sys.executable, "-c", code, str(tmp_path), "quick"), standby=True, early=True)
    async with supervising(first, spec) as running:
        assert alive((await running.wait(Change.READY, "one")).pid)
        assert attempts.read_text().startswith("xx"), "one that died, one in its turn"
        assert await running.end() == 0


async def test_nobody_hears_of_a_standby_and_it_uses_no_cpu(tmp_path):
    async with supervising(child(tmp_path)) as running:
        first = (await running.wait(Change.READY, "one")).pid
        process = psutil.Process(await standby(tmp_path))
        await until(lambda: process.status() == psutil.STATUS_SLEEPING)
        used = process.cpu_times().user
        await asyncio.sleep(0.5)
        assert process.cpu_times().user - used <= 0.02
        assert {event.pid for event in running.events} == {first}
        assert not marked(tmp_path, "stopped")


async def test_a_standby_that_is_killed_is_replaced(tmp_path):
    async with supervising(child(tmp_path)) as running:
        first = (await running.wait(Change.READY, "one")).pid
        second = await standby(tmp_path)
        kill(second)
        third = await standby(tmp_path, second)
        kill(first)
        assert (await running.wait(Change.READY, "one", 2)).pid == third
        assert [event.change for event in running.events] == [Change.STARTED, Change.READY, Change.EXITED, Change.STARTED, Change.READY]


async def test_a_child_killed_with_its_standby_is_started_afresh(tmp_path):
    async with supervising(child(tmp_path)) as running:
        first = (await running.wait(Change.READY, "one")).pid
        second = await standby(tmp_path)
        kill(second, first)
        third = int((await running.wait(Change.READY, "one", 2)).info["pid"])
        assert third not in (first, second)
        assert alive(third)
        kill(third)
        assert alive((await running.wait(Change.READY, "one", 3)).pid)


async def test_a_child_that_dies_early_is_replaced_by_the_standby_that_still_loads(tmp_path):
    async with supervising(child(tmp_path, "slow")) as running:
        first = (await running.wait(Change.READY, "one")).pid
        second = await standby(tmp_path, what="prepares")
        kill(first)
        assert (await running.wait(Change.READY, "one", 2)).pid == second


async def test_a_standby_for_another_environment_is_not_used(tmp_path):
    seen = {"SEEN": "old"}
    async with supervising(child(tmp_path, environment=lambda _: dict(seen))) as running:
        first = (await running.wait(Change.READY, "one")).pid
        second = await standby(tmp_path)
        seen["SEEN"] = "new"
        kill(first)
        again = await running.wait(Change.READY, "one", 2)
        assert (again.pid != second, again.info["seen"]) == (True, "new")
        await until(lambda: not alive(second))
        third = await standby(tmp_path, second)
        kill(again.pid)
        last = await running.wait(Change.READY, "one", 3)
        assert (last.pid, last.info["seen"]) == (third, "new")


async def test_the_standby_stops_before_the_child(tmp_path):
    gone: list[bool] = []

    class Watched(Running):
        def _take(self, event):
            if event.change is Change.STOPPED:
                gone.append(not alive(waiting))
            super()._take(event)

    running = Watched([child(tmp_path)])
    try:
        first = (await running.wait(Change.READY, "one")).pid
        waiting = await standby(tmp_path)
        assert await running.end() == 0
    finally:
        running.stop.set()
        await asyncio.wait([running.task], timeout=30)
    assert gone == [True]
    assert marked(tmp_path, "stopped") == {first}


async def test_stopping_while_the_standby_starts(tmp_path):
    before = open_descriptors()
    async with supervising(child(tmp_path, "stuck")) as running:
        first = (await running.wait(Change.READY, "one")).pid
        second = await standby(tmp_path, what="prepares")
        assert await running.end() == 0
        assert not alive(first)
        assert not alive(second)
    assert not marked(tmp_path, "waits")
    assert open_descriptors() == before


async def test_nothing_is_left_open_after_a_takeover(tmp_path):
    before = open_descriptors()
    async with supervising(child(tmp_path)) as running:
        first = (await running.wait(Change.READY, "one")).pid
        second = await standby(tmp_path)
        kill(first)
        await running.wait(Change.READY, "one", 2)
        kill(await standby(tmp_path, second))
        assert await running.end() == 0
    assert open_descriptors() == before


SUPERVISOR = """
import asyncio, sys
from malha.runtime.supervisor import ChildSpec, Supervisor

async def main():
    spec = ChildSpec("one", (sys.executable, *sys.argv[1:]), standby=True, standby_seconds=0.05)
    await Supervisor([spec], lambda event: print(event.change, event.pid, flush=True)).run(asyncio.Event())

asyncio.run(main())
"""


@pytest.mark.parametrize(("speed", "state"), [("quick", "waits"), ("slow", "prepares")])
async def test_no_standby_outlives_a_killed_supervisor(speed, state, tmp_path):
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR, "-c", CHILD, str(tmp_path), speed], stdout=subprocess.DEVNULL) as supervisor:
        try:
            pid = await standby(tmp_path, what=state)
        finally:
            supervisor.kill()
    try:
        await until(lambda: not alive(pid))
    finally:
        with contextlib.suppress(ProcessLookupError):
            kill(pid)


def test_waiting_does_nothing_without_a_supervisor(monkeypatch):
    monkeypatch.delenv("MALHA_TURN_FD", raising=False)
    prepared: list[Callable[[], None]] = []
    wait_for_turn(lambda: prepared.append(wait_for_turn))
    assert not prepared
