"""The engine host with real worker processes: streams, fairness, flow control, crashes, deadlines, orphans."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import uvloop
from prometheus_client import REGISTRY

from fakes import workers
from malha.runtime import wire
from malha.runtime.errors import DeadlineExceeded, EngineBusy, EngineCrashed, FailedPrecondition, Internal, InvalidArgument, Unavailable
from malha.runtime.host import EngineHost, HostOptions, HostStream, Output
from malha.runtime.precedence import LIVE_TURNS

LIMIT = 20.0


@contextlib.asynccontextmanager
async def hosting(factory: str = "Workbench", options: object = None, name: str = "bench", **host) -> AsyncIterator[EngineHost]:
    host = {"environment": workers.ENVIRONMENT, "nice": 0, **host}
    engine = EngineHost(name, f"fakes.workers:{factory}", options, host=HostOptions(**host))
    async with asyncio.timeout(60):
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


async def collect(stream: HostStream) -> list[Output]:
    return [output async for output in stream]


async def items(engine: EngineHost, *inputs: object, arguments: object = None, background: bool = False) -> list[object]:
    async def send() -> None:
        for item in inputs:
            await stream.send(item)
        await stream.finish()

    async with engine.stream(arguments, background=background) as stream:
        sending = asyncio.create_task(send())
        try:
            return [output.item for output in await collect(stream)]
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def until(condition, seconds: float = LIMIT):
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(0.005)
        return value


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# What it is for


async def test_start_tells_what_the_worker_tells_and_close_leaves_nothing():
    before, descriptors = children(), open_descriptors()
    engine = EngineHost("info", "fakes.workers:Workbench", {"version": "1"}, host=HostOptions(workers=2, environment=workers.ENVIRONMENT))
    assert not engine.healthy
    assert await engine.start() == {"version": "1"}
    assert engine.healthy
    assert len(set(engine.worker_pids)) == 2
    await engine.close()
    assert children() == before
    assert open_descriptors() == descriptors
    with pytest.raises(Unavailable):
        await engine.call(None, 1, timeout_seconds=1)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_on_both_event_loops_without_a_thread(loop_factory):
    async def main():
        threads = threading.active_count()
        async with hosting() as engine:
            pid = await engine.call(None, ("pid",), timeout_seconds=LIMIT)
            assert await items(engine, *range(100), arguments="count") == [*range(100), 100]
            os.kill(pid, signal.SIGKILL)
            assert await engine.call(None, b"x" * 1_000_000, timeout_seconds=LIMIT) == b"x" * 1_000_000
            assert engine.worker_pids != (pid,)
            assert threading.active_count() == threads

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def test_interim_outputs_are_told_apart():
    async with hosting() as engine, engine.stream(None) as stream:
        await stream.send(("interim", "he", "hello"))
        await stream.finish()
        assert await collect(stream) == [Output("he", interim=True), Output("hello", interim=True), Output(2, interim=False)]


async def test_a_call_wants_exactly_one_output():
    async with hosting() as engine:
        assert await engine.call(None, "once", timeout_seconds=LIMIT) == "once"
        with pytest.raises(Internal, match="2 outputs"):
            await engine.call(None, ("steps", 2), timeout_seconds=LIMIT)


async def test_a_call_has_a_deadline_and_leaves_the_worker_usable():
    async with hosting() as engine:
        with pytest.raises(DeadlineExceeded):
            await engine.call(None, ("sleep", 0.5), timeout_seconds=0.1)
        assert await engine.call(None, "next", timeout_seconds=LIMIT) == "next"


async def test_workers_are_nice_and_take_one_openmp_thread():
    async with hosting(nice=HostOptions().nice) as engine:
        assert await engine.call(None, ("environment", "OMP_WAIT_POLICY"), timeout_seconds=LIMIT) == ("PASSIVE", 10, Path.cwd())
        assert (await engine.call(None, ("environment", "OMP_NUM_THREADS"), timeout_seconds=LIMIT))[0] == "1"
    async with hosting(environment={**workers.ENVIRONMENT, "OMP_NUM_THREADS": "3"}) as engine:
        assert (await engine.call(None, ("environment", "OMP_NUM_THREADS"), timeout_seconds=LIMIT))[:2] == ("3", 0)


async def test_what_a_library_prints_does_not_reach_standard_output(capfd):
    async with hosting() as engine:
        await engine.call(None, ("print", "chatter"), timeout_seconds=LIMIT)
    out, err = capfd.readouterr()
    assert "chatter" not in out
    assert "chatter" in err


async def test_large_items_both_ways():
    large = os.urandom(10_000_000)
    async with hosting() as engine:
        assert await items(engine, large, ("big", 10_000_000), large) == [large, b"x" * 10_000_000, large]


async def test_an_item_over_the_limit_is_refused(monkeypatch):
    async with hosting() as engine, engine.stream(None) as stream:
        monkeypatch.setattr(wire, "MAX_BODY_BYTES", 1000)
        with pytest.raises(InvalidArgument) as raised:
            await stream.send(b"x" * 2000)
        assert raised.value.reason == "ITEM_TOO_LARGE"
        await stream.send("small")
        assert (await anext(stream)).item == "small"


async def test_streams_go_to_the_least_loaded_worker():
    async with hosting(workers=2) as engine, contextlib.AsyncExitStack() as stack:
        pids = []
        for _ in range(4):
            stream = await stack.enter_async_context(engine.stream(None))
            await stream.send(("pid",))
            pids.append((await anext(stream)).item)
        assert pids.count(pids[0]) == 2
        assert set(pids) == set(engine.worker_pids)


# Turns and flow


async def test_a_long_stream_does_not_starve_another():
    async with hosting(outputs_ahead=1000) as engine, engine.stream(None) as long:
        await long.send(("steps", 500, 0.01))
        await anext(long)
        began = time.monotonic()
        assert await items(engine, 1, 2, 3) == [1, 2, 3]
        assert time.monotonic() - began < 2  # the long one takes 5 s


async def test_a_live_stream_goes_before_the_background_ones_that_wait():
    async with hosting(outputs_ahead=1000) as engine, contextlib.AsyncExitStack() as others:
        recordings = [await others.enter_async_context(engine.stream(None, background=True)) for _ in range(8)]
        for recording in recordings:
            await recording.send(("turns", 500, 0.005))
        await anext(recordings[0])
        turns = await items(engine, ("turns", 200))
        assert len(turns) == 200
        assert 200 <= turns[-1] - turns[0] + 1 <= 200 + 200 // LIVE_TURNS + 1  # taking turns with all eight: 1,800


async def test_work_without_outputs_is_paused_for_live_streams_and_is_not_taken_for_stuck():
    async with hosting(item_seconds=0.4) as engine:
        (pid,) = engine.worker_pids
        recording = asyncio.create_task(items(engine, ("pauses", 150, 0.01), background=True))
        await asyncio.sleep(0.1)
        first = await items(engine, ("turns", 1))
        assert await recording == [first[0] + 1]  # it took 1.5 s
        assert engine.worker_pids == (pid,)


async def test_live_streams_go_where_the_fewest_are_live():
    async with hosting(workers=2) as engine, contextlib.AsyncExitStack() as stack:

        async def opened(*, background: bool) -> tuple[int, HostStream]:
            stream = await stack.enter_async_context(engine.stream(None, background=background))
            await stream.send(("pid",))
            return (await anext(stream)).item, stream

        first, second = (await opened(background=True))[0], (await opened(background=True))[0]
        assert first != second
        assert (await opened(background=True))[0] == first
        assert (await opened(background=False))[0] == second
        assert (await opened(background=False))[0] == first


async def test_a_background_stream_survives_its_worker_and_stays_behind_live_ones():
    async with hosting() as engine, engine.stream(None, background=True) as recording:
        await recording.send("before")
        assert (await anext(recording)).item == "before"
        (pid,) = engine.worker_pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: engine.worker_pids not in {(), (pid,)})
        await recording.send(("pauses", 100, 0.01))
        await recording.finish()
        (live,) = await items(engine, ("turns", 1))
        assert [output.item for output in await collect(recording)] == [live + 1]


async def test_spare_capacity_is_not_gone_for_background_streams():
    async with hosting() as engine, engine.stream(None) as live, engine.stream(None, background=True) as recording:
        await recording.send(("steps", 1000, 0.01))
        await live.send(("spare", 0.1))
        assert (await anext(live)).item == (True, True)


async def test_spare_capacity_is_gone_when_others_wait():
    async with hosting() as engine, engine.stream(None) as first, engine.stream(None) as second:
        await first.send(("spare", 0.3))
        await asyncio.sleep(0.1)
        await second.send(("spare", 0.0))
        assert (await anext(first)).item == (True, False)
        await anext(second)
        await first.send(("spare", 0.0))
        assert (await anext(first)).item == (True, True)


async def test_a_sender_waits_for_the_worker():
    async with hosting(inputs_ahead=4) as engine, engine.stream(None) as stream:
        sent = 0

        async def send():
            nonlocal sent
            for _ in range(50):
                await stream.send(("sleep", 0.02))
                sent += 1

        task = asyncio.create_task(send())
        received = 0
        async for _ in stream:
            received += 1
            assert sent - received <= 4 + 1
            if received == 50:
                break
        await task


async def test_a_slow_consumer_stops_its_stream_and_no_other():
    async with hosting(outputs_ahead=8, item_seconds=0.4) as engine, engine.stream(None) as slow:
        (pid,) = engine.worker_pids
        await slow.send(("steps", 1000))
        await slow.finish()
        await asyncio.sleep(1.2)  # not taken for stuck: it waits for its consumer
        assert len(slow._outbox) == 8
        assert await engine.call(None, "quick", timeout_seconds=LIMIT) == "quick"
        assert [output.item for output in await collect(slow)] == list(range(1000))
        assert engine.worker_pids == (pid,)


async def test_many_streams_at_once():
    async with hosting(workers=2, max_open=50) as engine:
        results = await asyncio.gather(*(items(engine, *range(n, n + 20), arguments="count") for n in range(100)))
    assert results == [[*range(n, n + 20), 20] for n in range(100)]


async def test_leaving_a_stream_cancels_it_in_the_worker(tmp_path):
    mark, closed = tmp_path / "mark", tmp_path / "closed"
    async with hosting(outputs_ahead=10_000) as engine:
        async with engine.stream(("close", str(closed))) as stream:
            await stream.send(("mark", str(mark)))
            await anext(stream)
        left = time.monotonic()
        await until(closed.exists)
        assert time.monotonic() - left < 1  # 0.2 s on a quiet machine
        assert mark.read_text() == "left"
        assert await engine.call(None, "next", timeout_seconds=LIMIT) == "next"
        assert closed.read_text() == "closed\n"


async def test_a_cancelled_stream_goes_before_those_that_wait(tmp_path):
    closed = tmp_path / "closed"
    async with hosting(outputs_ahead=10_000) as engine, contextlib.AsyncExitStack() as others:
        for _ in range(10):
            stream = await others.enter_async_context(engine.stream(None))
            await stream.send(("steps", 100, 0.1))
        async with engine.stream(("close", str(closed))) as stream:
            await stream.send(("steps", 100, 0.1))
            await anext(stream)
        left = time.monotonic()
        await until(closed.exists)
        assert time.monotonic() - left < 0.6  # a round of the others takes 1 s


async def test_streams_are_closed_once_also_when_they_end_or_fail(tmp_path):
    closed = tmp_path / "closed"
    async with hosting() as engine:
        await items(engine, 1, arguments=("close", str(closed)))
        assert closed.read_text() == "closed\n"
        with pytest.raises(Internal):
            await items(engine, ("raise", KeyError("x")), arguments=("close", str(closed)))
        assert closed.read_text() == "closed\n" * 2


# Places


async def test_a_full_queue_refuses_and_says_when_to_try_again():
    async with hosting(max_open=1, max_waiting=1) as engine:
        async with engine.stream(None):
            waiting = asyncio.create_task(items(engine, "waited"))
            await asyncio.sleep(0.05)
            with pytest.raises(EngineBusy) as raised:
                await items(engine, "refused")
            assert raised.value.retry_seconds is not None
            assert 0 < raised.value.retry_seconds <= 30
            assert not waiting.done()
        assert await waiting == ["waited"]
        assert await items(engine, "free again") == ["free again"]


async def test_who_gives_up_waiting_leaves_the_queue():
    async with hosting(max_open=1, max_waiting=1) as engine:
        async with engine.stream(None):
            waiting = asyncio.create_task(items(engine, "gave up"))
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.wait([waiting])
            other = asyncio.create_task(items(engine, "other"))
            await asyncio.sleep(0.05)
        assert await other == ["other"]


# Failures of a stream


async def test_an_error_of_malha_travels_as_it_is():
    error = InvalidArgument("no such", reason="NO_SUCH", metadata={"a": "b"}, retry_seconds=2, violations={"field": "wrong"}, quota="q")
    async with hosting() as engine, engine.stream(None) as neighbour:
        for attempt in (items(engine, "before", ("raise", error)), items(engine, 1, arguments=("fail", error))):
            with pytest.raises(InvalidArgument) as raised:
                await attempt
            assert vars(raised.value) == vars(error)
            assert str(raised.value) == "no such"
        await neighbour.send("unharmed")
        assert (await anext(neighbour)).item == "unharmed"


async def test_outputs_before_a_failure_are_handed_out():
    async with hosting() as engine, engine.stream(None) as stream:
        await stream.send("first")
        await stream.send(("raise", FailedPrecondition("no")))
        assert (await anext(stream)).item == "first"
        with pytest.raises(FailedPrecondition):
            await anext(stream)
        with pytest.raises(FailedPrecondition):
            await stream.send("more")


async def test_any_other_exception_tells_its_type_and_no_content(caplog):
    async with hosting() as engine:
        with pytest.raises(Internal) as raised:
            await items(engine, ("raise", ValueError("what the customer said")))
        assert raised.value.metadata == {"error": "ValueError"}
        assert "customer" not in str(raised.value)
    records = [record for record in caplog.records if record.getMessage() == "engine_item_failed"]
    assert [record.malha_fields["error"] for record in records] == ["ValueError"]
    assert "workers.py:" in records[0].malha_fields["at"]
    assert "customer" not in repr([vars(record) for record in records])


async def test_an_output_that_cannot_be_sent_fails_its_stream_only():
    async with hosting() as engine, engine.stream(None) as neighbour:
        with pytest.raises(Internal):
            await items(engine, ("unpicklable",))
        await neighbour.send("unharmed")
        assert (await anext(neighbour)).item == "unharmed"


# Crashes


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


async def test_a_stuck_item_that_was_cancelled_is_ended_too():
    async with hosting(item_seconds=0.4) as engine:
        async with engine.stream(None) as stream:
            await stream.send(("sleep", 600))
            await asyncio.sleep(0.2)
        (pid,) = engine.worker_pids
        left = time.monotonic()
        await until(lambda: not alive(pid))
        assert time.monotonic() - left < 1.4  # the worker's own alarm comes after 1.6
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


# Orphans

PARENT = """
import asyncio, json, sys
from fakes import workers
from malha.runtime.host import EngineHost, HostOptions

async def main():
    host = EngineHost("orphan", "fakes.workers:Workbench", None, host=HostOptions(workers=2, item_seconds=0.5, environment=workers.ENVIRONMENT))
    await host.start()
    async with host.stream(None) as busy:
        await busy.send(tuple(json.loads(sys.argv[1])))
        await asyncio.sleep(0.3)
        while host._standby is None:
            await asyncio.sleep(0.01)
        print(json.dumps([*host.worker_pids, host._standby.worker.pid]), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("item", [["sleep", 600], ["lock_gil", 600]], ids=["busy", "stuck with the GIL"])
async def test_no_worker_outlives_a_killed_parent(item):
    command = [sys.executable, "-c", PARENT, json.dumps(item)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **workers.ENVIRONMENT}) as parent:
        try:
            pids = json.loads(await asyncio.to_thread(parent.stdout.readline))
            assert len(pids) == 3
            assert all(map(alive, pids))
        finally:
            parent.kill()
    await until(lambda: not any(map(alive, pids)))


async def test_metrics():
    labels = {"engine": "measured"}
    async with hosting(name="measured", max_open=1) as engine:
        async with engine.stream(None) as stream:
            waiting = asyncio.create_task(items(engine, 1))
            await stream.send(("sleep", 0.2))
            await stream.send("second")
            await asyncio.sleep(0.05)
            assert REGISTRY.get_sample_value("malha_engine_queue_depth", labels) == 3
            assert REGISTRY.get_sample_value("malha_engine_busy_workers", labels) == 1
            assert (await anext(stream)).item == "slept"
            assert (await anext(stream)).item == "second"
            await until(lambda: REGISTRY.get_sample_value("malha_engine_busy_workers", labels) == 0)
        await waiting
        assert REGISTRY.get_sample_value("malha_engine_wait_seconds_count", labels) == 3 + 1 + 3  # frames, and one wait for a place
        assert REGISTRY.get_sample_value("malha_engine_wait_seconds_sum", labels) > 0.1
    assert REGISTRY.get_sample_value("malha_engine_queue_depth", labels) is None
