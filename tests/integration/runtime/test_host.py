"""The engine host with real worker processes: what goes in comes out, streams that fail, and what it tells of itself."""

import asyncio
import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest
import uvloop
from integration.runtime.hosting import LIMIT, children, collect, hosting, items, open_descriptors, until
from prometheus_client import REGISTRY

from fakes import workers
from malha.runtime import wire
from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, Unavailable
from malha.runtime.host import EngineHost, HostOptions, Output


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
    ours = os.nice(0)
    async with hosting(nice=HostOptions().nice) as engine:
        nice = min(ours + 10, 19)
        assert await engine.call(None, ("environment", "OMP_WAIT_POLICY"), timeout_seconds=LIMIT) == ("PASSIVE", nice, Path.cwd())
        assert (await engine.call(None, ("environment", "OMP_NUM_THREADS"), timeout_seconds=LIMIT))[0] == "1"
    async with hosting(environment={**workers.ENVIRONMENT, "OMP_NUM_THREADS": "3"}) as engine:
        assert (await engine.call(None, ("environment", "OMP_NUM_THREADS"), timeout_seconds=LIMIT))[:2] == ("3", ours)


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


async def test_metrics(tmp_path):
    labels = {"engine": "measured"}
    async with hosting(name="measured", max_open=1) as engine:
        async with engine.stream(None) as stream:
            waiting = asyncio.create_task(items(engine, 1))
            await stream.send(("hold", str(tmp_path / "go")))
            await stream.send("second")
            await until(lambda: REGISTRY.get_sample_value("malha_engine_queue_depth", labels) == 3)
            await until(lambda: REGISTRY.get_sample_value("malha_engine_busy_workers", labels) == 1)
            await asyncio.sleep(0.2)  # which the second item waits at least
            (tmp_path / "go").touch()
            assert (await anext(stream)).item == "held"
            assert (await anext(stream)).item == "second"
            await until(lambda: REGISTRY.get_sample_value("malha_engine_busy_workers", labels) == 0)
        await waiting
        assert REGISTRY.get_sample_value("malha_engine_wait_seconds_count", labels) == 3 + 1 + 3  # frames, and one wait for a place
        assert REGISTRY.get_sample_value("malha_engine_wait_seconds_sum", labels) > 0.1
    assert REGISTRY.get_sample_value("malha_engine_queue_depth", labels) is None
