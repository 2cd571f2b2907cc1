"""The supervisor with real child processes: order, readiness, restarts, stopping, orphans."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import uvloop

from fakes.bars import reach
from malha.runtime.supervisor import Change, ChildEvent, ChildSpec, Supervisor, exit_with_parent, notify_ready

PRELUDE = """
import os, signal, subprocess, sys, time
from malha.runtime.supervisor import exit_with_parent, notify_ready
"""
SERVING = "notify_ready({'pid': str(os.getpid())}); time.sleep(600)"


def child(name: str, code: str = SERVING, *arguments: object, **options) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", PRELUDE + textwrap.dedent(code), *map(str, arguments)), **options)


class Running:
    """A supervisor at work, and what it told."""

    def __init__(self, specs: list[ChildSpec]) -> None:
        self.events: list[ChildEvent] = []
        self.times: list[float] = []
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(Supervisor(specs, self._take).run(self.stop))

    def _take(self, event: ChildEvent) -> None:
        self.events.append(event)
        self.times.append(time.monotonic())

    def told(self, change: Change, name: str | None = None) -> list[ChildEvent]:
        return [event for event in self.events if event.change is change and name in (None, event.name)]

    async def wait(self, change: Change, name: str, count: int = 1) -> ChildEvent:
        async with asyncio.timeout(30):
            while len(self.told(change, name)) < count:
                assert not self.task.done(), self.task.result()
                await asyncio.sleep(0.002)
        return self.told(change, name)[count - 1]

    async def end(self) -> int:
        self.stop.set()
        return await asyncio.wait_for(self.task, 30)


@contextlib.asynccontextmanager
async def supervising(*specs: ChildSpec) -> AsyncIterator[Running]:
    running = Running(list(specs))
    try:
        yield running
    finally:
        running.stop.set()
        await asyncio.wait([running.task], timeout=30)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition):
    async with asyncio.timeout(30):
        while not (value := condition()):
            await asyncio.sleep(0.005)
        return value


async def test_children_start_in_order_and_stop_in_reverse():
    slow = "time.sleep(0.3); notify_ready({}); time.sleep(600)"
    async with supervising(child("first", slow), child("second"), child("third")) as running:
        await running.wait(Change.READY, "third")
        assert [(event.change, event.name) for event in running.events] == [
            (change, name) for name in ("first", "second", "third") for change in (Change.STARTED, Change.READY)
        ]
        assert await running.end() == 0
    assert [event.name for event in running.told(Change.STOPPED)] == ["third", "second", "first"]
    assert {event.returncode for event in running.told(Change.STOPPED)} == {-signal.SIGTERM}
    assert not any(alive(event.pid) for event in running.events)


async def test_later_children_learn_what_earlier_ones_told():
    first = child("first", "notify_ready({'port': '1234'}); time.sleep(600)")
    second = child(
        "second", "notify_ready({'seen': os.environ['PORT']}); time.sleep(600)", environment=lambda infos: {"PORT": infos["first"]["port"]}
    )
    async with supervising(first, second) as running:
        assert (await running.wait(Change.READY, "second")).info == {"seen": "1234"}


async def test_a_restarted_child_can_be_given_what_it_had():
    code = "notify_ready({'port': os.environ['PORT'] + '!'}); time.sleep(600)"
    spec = child("one", code, environment=lambda infos: {"PORT": infos.get("one", {}).get("port", "new")})
    async with supervising(spec) as running:
        os.kill((await running.wait(Change.READY, "one")).pid, signal.SIGKILL)
        assert (await running.wait(Change.READY, "one", 2)).info == {"port": "new!!"}


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_killed_child_is_back_at_once_and_alone(loop_factory):
    async def once():
        async with supervising(child("one"), child("two")) as running:
            one = await running.wait(Change.READY, "one")
            await running.wait(Change.READY, "two")
            os.kill(one.pid, signal.SIGKILL)
            died = time.monotonic()
            again = await running.wait(Change.STARTED, "one", 2)
            back = time.monotonic()
            assert again.pid != one.pid
            (exited,) = running.told(Change.EXITED)
            assert (exited.name, exited.returncode, exited.failures) == ("one", -signal.SIGKILL, 1)
            assert (await running.wait(Change.READY, "one", 2)).info == {"pid": str(again.pid)}
            assert len(running.told(Change.STARTED, "two")) == 1
            assert await running.end() == 0
            return back - died

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(reach(0.5, once))  # 0.1 s on a quiet machine


async def test_a_crash_loop_slows_down():
    async with supervising(ChildSpec("loops", ("false",))) as running:
        await running.wait(Change.STARTED, "loops", 5)
        exits = [at for at, event in zip(running.times, running.events, strict=True) if event.change is Change.EXITED]
        starts = [at for at, event in zip(running.times, running.events, strict=True) if event.change is Change.STARTED]
        pauses = [start - end for start, end in zip(starts[1:], exits, strict=False)]
        assert pauses[1] >= 0.05
        assert pauses[3] >= 0.25
        assert [event.failures for event in running.told(Change.EXITED)][:4] == [1, 2, 3, 4]
        assert await running.end() == 0


@pytest.mark.parametrize("code", [2, os.EX_CONFIG])
async def test_a_configuration_error_stops_all(code):
    async with supervising(child("fine"), child("wrong", f"sys.exit({code})"), child("never")) as running:
        assert await asyncio.wait_for(running.task, 30) == code
    assert [event.name for event in running.told(Change.STOPPED)] == ["fine"]
    assert [event.returncode for event in running.told(Change.EXITED)] == [code]
    assert not running.told(Change.STARTED, "never")


async def test_a_configuration_error_at_a_restart_stops_all(tmp_path):
    code = "p = sys.argv[1]\nif os.path.exists(p): sys.exit(78)\nopen(p, 'w').close(); notify_ready({}); time.sleep(600)"
    async with supervising(child("one", code, tmp_path / "once"), child("two")) as running:
        await running.wait(Change.READY, "two")
        os.kill(running.told(Change.READY, "one")[0].pid, signal.SIGKILL)
        assert await asyncio.wait_for(running.task, 30) == os.EX_CONFIG
    assert not any(alive(event.pid) for event in running.events)


async def test_a_command_that_does_not_exist_stops_all():
    async with supervising(child("fine"), ChildSpec("missing", ("/nonexistent/program",))) as running:
        with pytest.raises(FileNotFoundError):
            await asyncio.wait_for(running.task, 30)
    assert [event.name for event in running.told(Change.STOPPED)] == ["fine"]


async def test_a_child_that_ignores_the_signal_is_killed():
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN); notify_ready({}); time.sleep(600)"
    async with supervising(child("deaf", code, stop_seconds=0.3)) as running:
        await running.wait(Change.READY, "deaf")
        assert await running.end() == 0
    assert running.told(Change.STOPPED)[0].returncode == -signal.SIGKILL


async def test_a_child_gets_its_own_stop_signal_and_its_time():
    code = """
        def stop(*_):
            time.sleep(0.3)
            sys.exit(7)
        signal.signal(signal.SIGINT, stop)
        notify_ready({})
        time.sleep(600)
    """
    async with supervising(child("slow", code, stop_signal=signal.SIGINT)) as running:
        await running.wait(Change.READY, "slow")
        assert await running.end() == 0
    assert running.told(Change.STOPPED)[0].returncode == 7


async def test_what_a_dead_child_left_behind_is_ended():
    code = "p = subprocess.Popen(['sleep', '600']); notify_ready({'left': str(p.pid)}); time.sleep(600)"
    async with supervising(child("parent", code)) as running:
        ready = await running.wait(Change.READY, "parent")
        os.kill(ready.pid, signal.SIGKILL)
        await until(lambda: not alive(int(ready.info["left"])))


async def test_stopping_while_a_child_is_not_ready():
    async with supervising(child("never ready", "time.sleep(600)"), child("waits")) as running:
        await running.wait(Change.STARTED, "never ready")
        assert await running.end() == 0
    assert len(running.told(Change.STOPPED)) == 1
    assert not running.told(Change.STARTED, "waits")


async def test_a_child_that_is_not_ready_in_time_is_started_again():
    async with supervising(child("slow", "time.sleep(600)", ready_seconds=0.3)) as running:
        await running.wait(Change.STARTED, "slow", 2)
        assert [event.change for event in running.events] == [Change.STARTED, Change.EXITED, Change.STARTED]


async def test_a_child_of_another_kind_is_asked_whether_it_is_ready(tmp_path):
    async def ready():
        while not (tmp_path / "ready").exists():
            await asyncio.sleep(0.01)
        return {"asked": "yes"}

    spec = ChildSpec("other", ("sh", "-c", f"sleep 0.2; touch {tmp_path / 'ready'}; sleep 600"), ready=ready)
    async with supervising(spec) as running:
        assert (await running.wait(Change.READY, "other")).info == {"asked": "yes"}


async def test_children_have_sessions_of_their_own():
    async with supervising(child("one")) as running:
        pid = (await running.wait(Change.READY, "one")).pid
        assert os.getsid(pid) == pid == os.getpgid(pid)


async def test_cancelling_the_supervisor_stops_the_children():
    async with supervising(child("one")) as running:
        pid = (await running.wait(Change.READY, "one")).pid
        running.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running.task
        assert not alive(pid)


SUPERVISOR = """
import asyncio, sys
from malha.runtime.supervisor import ChildSpec, Supervisor

async def main():
    specs = [ChildSpec(str(n), (sys.executable, *sys.argv[1:])) for n in range(2)]
    await Supervisor(specs, lambda event: print(event.change, event.pid, flush=True)).run(asyncio.Event())

asyncio.run(main())
"""


@pytest.mark.parametrize("deaf", [False, True], ids=["", "deaf to SIGTERM"])
async def test_children_end_when_the_supervisor_is_killed(deaf, tmp_path):
    code = f"""
if {deaf}: signal.signal(signal.SIGTERM, signal.SIG_IGN)
exit_with_parent(grace_seconds=0.3)
notify_ready({{}})
time.sleep(600)
"""
    command = [sys.executable, "-c", SUPERVISOR, "-c", PRELUDE + code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        try:
            lines = [await asyncio.to_thread(supervisor.stdout.readline) for _ in range(4)]
            pids = [int(line.split()[1]) for line in lines if line.startswith("ready")]
            assert len(pids) == 2
            assert all(map(alive, pids))
        finally:
            supervisor.kill()
    await until(lambda: not any(map(alive, pids)))


def test_the_helpers_do_nothing_without_a_supervisor(monkeypatch):
    monkeypatch.delenv("MALHA_READY_FD", raising=False)
    monkeypatch.delenv("MALHA_PARENT_FD", raising=False)
    before = open_descriptors()
    notify_ready({"port": "1"})
    exit_with_parent()
    assert open_descriptors() == before


async def test_nothing_is_left_open():
    before = open_descriptors()
    async with supervising(child("one"), child("two", "sys.exit(3)")) as running:
        await running.wait(Change.EXITED, "two", 3)
        assert await running.end() == 0
    assert open_descriptors() == before
