"""The engine host's turns and flow: who goes first among streams, who waits for whom, and what a full queue says."""

import asyncio
import contextlib
import os
import signal
import time

import pytest
from integration.runtime.hosting import LIMIT, collect, hosting, items, until

from fakes.bars import reach
from malha.runtime.errors import EngineBusy, Internal
from malha.runtime.host import HostStream
from malha.runtime.precedence import LIVE_TURNS


async def test_a_long_stream_does_not_starve_another():
    async with hosting(outputs_ahead=1000) as engine, engine.stream(None) as long:
        await long.send(("turns", 500, 0.01))
        first = (await anext(long)).item
        turns = await items(engine, *[("turns", 1)] * 3)
        assert turns[-1] - first < 500, "before the long one's last"


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
        recording = asyncio.create_task(items(engine, ("pauses", 300, 0.01), background=True))
        await until(lambda: engine._workers[0].blamed)
        first = await items(engine, ("turns", 1))
        assert await recording == [first[0] + 1]  # it took 3 s
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


async def test_spare_capacity_is_gone_when_others_wait(tmp_path):
    began = tmp_path / "began"
    async with hosting() as engine, engine.stream(None) as first, engine.stream(None) as second:
        await first.send(("spare", LIMIT, str(began)))
        await until(began.exists)
        await second.send(("spare", 0.0))
        assert (await anext(first)).item == (True, False)
        await anext(second)
        await first.send(("spare", 0.0))
        assert (await anext(first)).item == (True, True)


async def test_a_sender_waits_for_the_worker(tmp_path):
    go = tmp_path / "go"
    async with hosting(inputs_ahead=4) as engine, engine.stream(None) as stream:
        sent = 0

        async def send():
            nonlocal sent
            for item in (("hold", str(go)), *range(50)):
                await stream.send(item)
                sent += 1
            await stream.finish()

        task = asyncio.create_task(send())
        await until(lambda: sent >= 4)
        await asyncio.sleep(0.1)
        assert sent == 4
        go.touch()
        assert [output.item for output in await collect(stream)] == ["held", *range(50)]
        await task


async def test_a_slow_consumer_stops_its_stream_and_no_other():
    async with hosting(outputs_ahead=8, item_seconds=0.4) as engine, engine.stream(None) as slow:
        (pid,) = engine.worker_pids
        await slow.send(("steps", 1000))
        await slow.finish()
        await until(lambda: len(slow._outbox) == 8)
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

        async def once() -> float:
            closed.unlink(missing_ok=True)
            async with engine.stream(("close", str(closed))) as stream:
                await stream.send(("mark", str(mark)))
                await anext(stream)
            left = time.monotonic()
            await until(closed.exists)
            return time.monotonic() - left

        await reach(1, once)  # 0.2 s on a quiet machine
        assert mark.read_text() == "left"
        assert await engine.call(None, "next", timeout_seconds=LIMIT) == "next"
        assert closed.read_text() == "closed\n"


async def test_a_cancelled_stream_goes_before_those_that_wait(tmp_path):
    closed = tmp_path / "closed"
    async with hosting(outputs_ahead=10_000) as engine, contextlib.AsyncExitStack() as others:
        for _ in range(10):
            stream = await others.enter_async_context(engine.stream(None))
            await stream.send(("steps", 100, 0.1))

        async def once() -> float:
            closed.unlink(missing_ok=True)
            async with engine.stream(("close", str(closed))) as stream:
                await stream.send(("steps", 100, 0.1))
                await anext(stream)
            left = time.monotonic()
            await until(closed.exists)
            return time.monotonic() - left

        await reach(0.6, once)  # a round of the others takes 1 s


async def test_streams_are_closed_once_also_when_they_end_or_fail(tmp_path):
    closed = tmp_path / "closed"
    async with hosting() as engine:
        await items(engine, 1, arguments=("close", str(closed)))
        assert closed.read_text() == "closed\n"
        with pytest.raises(Internal):
            await items(engine, ("raise", KeyError("x")), arguments=("close", str(closed)))
        assert closed.read_text() == "closed\n" * 2


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
