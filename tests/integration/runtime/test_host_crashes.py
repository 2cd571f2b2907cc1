"""The engine host when workers crash, get stuck, do not load, or lose their parent."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from integration.runtime.hosting import LIMIT, alive, children, collect, hosting, items, until
from prometheus_client import REGISTRY

from fakes import workers
from malha.runtime.errors import DeadlineExceeded, EngineCrashed, FailedPrecondition, Internal, Unavailable
from malha.runtime.host import Output


async def test_a_crash_mid_item_is_not_noticed(tmp_path):
    async with hosting() as engine, engine.stream(None) as neighbour:
        await neighbour.send("before")
        async with engine.stream("count") as stream:
            for item in ("one", ("die", str(tmp_path / "died"), 3), "two"):
                await stream.send(item)
            await stream.finish()
            outputs = await collect(stream)
        await neighbour.send("after")
        assert [(await anext(neighbour)).item for _ in range(2)] == ["before", "after"]
    assert [output.item for output in outputs if not output.interim] == ["one", 0, 1, 2, "alive", "two", 3]
    assert [output.item for output in outputs if output.interim][:3] == ["interim 0", "interim 1", "interim 2"]


async def test_interim_outputs_of_finished_inputs_are_not_repeated(tmp_path):
    async with hosting() as engine, engine.stream(None) as stream:
        await stream.send(("interim", "a", "b"))
        await stream.send("done")
        assert [(await anext(stream)).item for _ in range(4)] == ["a", "b", 2, "done"]
        await until(lambda: stream.waiting_inputs == 0)
        os.kill(engine.worker_pids[0], signal.SIGKILL)
        await stream.send("next")
        await stream.finish()
        assert await collect(stream) == [Output("next", interim=False)]


@pytest.mark.parametrize("number_of_workers", [1, 2])
async def test_a_worker_killed_from_outside_mid_item(number_of_workers):
    async with hosting(workers=number_of_workers) as engine, engine.stream(None) as stream:
        await stream.send(("pid",))
        pid = (await anext(stream)).item
        await stream.send(("sleep", 0.3))
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        assert (await anext(stream)).item == "slept"
        await until(lambda: len(engine.worker_pids) == number_of_workers)


async def test_what_kills_two_workers_fails_and_its_neighbours_live():
    async with hosting() as engine, contextlib.AsyncExitStack() as stack:
        neighbours = [await stack.enter_async_context(engine.stream("count")) for _ in range(3)]
        for number, neighbour in enumerate(neighbours):
            await neighbour.send(number)
        tasks = [asyncio.create_task(items(engine, "first", ("die",))) for _ in range(3)]
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, EngineCrashed)
        for neighbour in neighbours:
            await neighbour.send("after")
            await neighbour.finish()
        assert [[output.item for output in await collect(neighbour)] for neighbour in neighbours] == [[n, "after", 2] for n in range(3)]
        assert engine.healthy
    assert REGISTRY.get_sample_value("malha_engine_restarts_total", {"engine": "bench"}) >= 2


async def test_an_idle_worker_is_replaced_at_once(caplog):
    caplog.set_level(logging.INFO)
    async with hosting() as engine:
        spent = []
        for _ in range(5):
            assert await engine.call(None, 1, timeout_seconds=LIMIT) == 1
            await until(lambda: engine._standby is not None)
            await asyncio.sleep(0.2)
            (pid,) = engine.worker_pids
            died = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            await until(lambda: engine.worker_pids not in ((), (pid,)))  # noqa: B023 - used in this turn
            spent.append(time.monotonic() - died)
    started = [record.malha_fields["seconds"] for record in caplog.records if record.getMessage() == "engine_worker_started"]
    assert min(whole - load for whole, load in zip(spent, started[1:], strict=True)) < 0.1


async def test_a_spare_has_the_engine_loaded():
    loading = 3.0
    async with hosting("slow", loading, spare=True) as engine:
        for _ in range(2):
            standby = await until(lambda: engine._standby)
            died = time.monotonic()
            os.kill(engine.worker_pids[0], signal.SIGKILL)
            assert await engine.call(None, 1, timeout_seconds=LIMIT) == 1
            assert time.monotonic() - died < loading
            assert engine.worker_pids == (standby.worker.pid,)
            assert engine._standby is None, "the next one loads, and nobody waits for it"


async def test_a_dead_standby_is_not_used():
    async with hosting() as engine:
        standby = (await until(lambda: engine._standby)).worker
        await asyncio.sleep(0.1)
        os.kill(standby.pid, signal.SIGKILL)
        os.kill(engine.worker_pids[0], signal.SIGKILL)
        assert await engine.call(None, 1, timeout_seconds=LIMIT) == 1
        assert engine.worker_pids != (standby.pid,)
        await until(lambda: not psutil.pid_exists(standby.pid))


async def test_a_stuck_item_is_ended_and_its_neighbour_lives():
    async with hosting(item_seconds=0.4) as engine, engine.stream(None) as neighbour:
        with pytest.raises(EngineCrashed):
            await items(engine, ("lock_gil", 600))
        await neighbour.send("unharmed")
        assert (await anext(neighbour)).item == "unharmed"


async def test_a_stuck_item_that_was_cancelled_is_ended_too(tmp_path):
    began = tmp_path / "began"
    async with hosting(item_seconds=2.0) as engine:
        (worker,) = engine._workers
        async with engine.stream(None) as stream:
            await stream.send(("sleep", 600, str(began)))
            await until(began.exists)
        await until(worker.reaped)
        assert worker._process.returncode == -signal.SIGKILL, "the worker's own alarm comes after 5 s"
        assert await engine.call(None, 1, timeout_seconds=LIMIT) == 1


async def test_a_long_item_that_makes_progress_is_left_alone():
    async with hosting(item_seconds=0.8) as engine:
        (pid,) = engine.worker_pids
        assert await items(engine, ("steps", 30, 0.05)) == list(range(30))
        await asyncio.sleep(1.2)  # time without work is not counted
        assert await engine.call(None, ("sleep", 0.4), timeout_seconds=LIMIT) == "slept"
        assert engine.worker_pids == (pid,)


async def test_a_stream_too_long_to_be_repeated_does_not_survive_a_crash():
    async with hosting(replay_bytes=10_000) as engine, engine.stream(None) as long, engine.stream(None) as short:
        for stream, size in ((long, 6000), (short, 600)):
            for _ in range(3):
                await stream.send(b"x" * size)
                await anext(stream)
        await until(lambda: long.waiting_inputs == 0)
        assert long._log_bytes < 7000
        os.kill(engine.worker_pids[0], signal.SIGKILL)
        with pytest.raises(EngineCrashed):
            await anext(long)
        await short.send("still here")
        assert (await anext(short)).item == "still here"


async def test_a_crash_loop_makes_the_host_unhealthy_until_it_ends(tmp_path):
    starts = tmp_path / "starts"
    starts.write_bytes(b"x")
    async with hosting("dying_after", str(starts)) as engine:
        assert engine.healthy
        async with engine.stream(None) as stream:
            os.kill(engine.worker_pids[0], signal.SIGKILL)
            with pytest.raises(Unavailable):
                await anext(stream)
        assert not engine.healthy
        with pytest.raises(Unavailable) as raised:
            await engine.call(None, 1, timeout_seconds=LIMIT)
        assert raised.value.retry_seconds
        starts.write_bytes(b"x" * 10)
        await until(lambda: engine.healthy)
        assert await engine.call(None, 1, timeout_seconds=LIMIT) == 1


async def test_a_worker_that_dies_while_it_loads_is_tried_three_times(tmp_path):
    starts = tmp_path / "starts"
    starts.write_bytes(b"")
    with pytest.raises(EngineCrashed):
        async with hosting("dying_after", str(starts)):
            pass


async def test_a_factory_that_fails_says_why():
    before = children()
    with pytest.raises(FailedPrecondition, match="pip install"):
        async with hosting("failing", FailedPrecondition("pip install it")):
            pass
    with pytest.raises(Internal) as raised:
        async with hosting("failing", OSError("/secret/path")):
            pass
    assert "secret" not in str(raised.value)
    with pytest.raises(Internal, match="AttributeError"):
        async with hosting("nothing_of_this_name"):
            pass
    assert children() == before


async def test_loading_has_a_deadline():
    before = children()
    with pytest.raises(DeadlineExceeded):
        async with hosting("slow", 30, start_seconds=0.3):
            pass
    assert children() == before


async def test_closing_ends_streams_under_way():
    async with hosting() as engine, engine.stream(None) as stream:
        await stream.send(("sleep", 60))
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.1)
        await engine.close()
        with pytest.raises(Unavailable):
            await reading


async def test_ctrl_c_does_not_end_a_worker_and_sigterm_does():
    async with hosting() as engine:
        pid = await engine.call(None, ("pid",), timeout_seconds=LIMIT)
        os.kill(pid, signal.SIGINT)
        assert await engine.call(None, ("pid",), timeout_seconds=LIMIT) == pid
        os.kill(pid, signal.SIGTERM)
        await until(lambda: engine.worker_pids not in ((), (pid,)))


PARENT = """
import asyncio, json, sys
from pathlib import Path
from fakes import workers
from malha.runtime.host import EngineHost, HostOptions

async def main():
    host = EngineHost("orphan", "fakes.workers:Workbench", None, host=HostOptions(workers=2, item_seconds=2, environment=workers.ENVIRONMENT))
    await host.start()
    while host._standby is None:
        await asyncio.sleep(0.01)
    async with host.stream(None) as busy:
        await busy.send((*json.loads(sys.argv[1]), sys.argv[2]))
        while not Path(sys.argv[2]).exists():
            await asyncio.sleep(0.01)
        print(json.dumps([*host.worker_pids, host._standby.worker.pid]), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("item", [["sleep", 600], ["lock_gil", 600]], ids=["busy", "stuck with the GIL"])
async def test_no_worker_outlives_a_killed_parent(item, tmp_path):
    command = [sys.executable, "-c", PARENT, json.dumps(item), str(tmp_path / "began")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **workers.ENVIRONMENT}) as parent:
        try:
            pids = json.loads(await asyncio.to_thread(parent.stdout.readline))
            assert len(pids) == 3
            assert all(map(alive, pids))
        finally:
            parent.kill()
    await until(lambda: not any(map(alive, pids)))
