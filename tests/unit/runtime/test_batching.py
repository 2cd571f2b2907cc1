"""The batcher: what shares a batch, when it starts, who is served first, what a failure costs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from malha.runtime import batching as batching_module
from malha.runtime.batching import Batcher
from malha.runtime.errors import EngineBusy, EngineCrashed, Unavailable
from malha.runtime.precedence import LIVE_TURNS


class Engine:
    """Answers each item with itself, once it is let go; remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def run(self, items: Sequence[object]) -> list[object | Exception]:
        self.batches.append(list(items))
        await self.free.wait()
        if "crash" in items:
            raise EngineCrashed("died")
        if "busy" in items:
            raise EngineBusy("full", retry_seconds=1)
        return [ValueError(item) if item == "wrong" else item for item in items]


@pytest.fixture
async def engine() -> Engine:
    return Engine()


@contextlib.asynccontextmanager
async def batching(engine: Engine, **options) -> AsyncIterator[Batcher]:
    batcher: Batcher = Batcher(engine.run, **{"max_batch": 4, "max_wait_seconds": 0.02, "max_queued": 10_000, "concurrency": 1, **options})
    try:
        yield batcher
    finally:
        engine.free.set()
        await batcher.close()


def submit(batcher: Batcher, items: Sequence[object], tenant: str = "a", *, background: bool = False) -> list[asyncio.Task]:
    return [asyncio.create_task(batcher.submit(item, tenant=tenant, background=background)) for item in items]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_items_of_concurrent_callers_share_a_batch(engine):
    async with batching(engine) as batcher:
        assert await asyncio.gather(*submit(batcher, [1, 2, 3])) == [1, 2, 3]
    assert engine.batches == [[1, 2, 3]]


async def test_a_full_batch_does_not_wait(engine):
    async with batching(engine, max_wait_seconds=60) as batcher:
        assert await asyncio.wait_for(asyncio.gather(*submit(batcher, range(4))), 5) == [0, 1, 2, 3]


async def test_an_item_waits_for_partners_no_longer_than_allowed(engine):
    async with batching(engine, max_wait_seconds=1.0) as batcher:
        first = submit(batcher, [1])
        await asyncio.sleep(0.01)
        assert engine.batches == []
        second = submit(batcher, [2])
        await asyncio.wait_for(asyncio.gather(*first, *second), 5)
    assert engine.batches == [[1, 2]]


async def test_items_gather_while_all_runners_are_busy(engine):
    engine.free.clear()
    async with batching(engine, max_wait_seconds=0) as batcher:
        tasks = submit(batcher, [0])
        await until(lambda: engine.batches)
        for item in range(1, 6):
            tasks += submit(batcher, [item])
            await asyncio.sleep(0.001)
        assert engine.batches == [[0]]
        engine.free.set()
        await asyncio.gather(*tasks)
    assert engine.batches == [[0], [1, 2, 3, 4], [5]]


async def test_concurrency_bounds_the_runs(engine):
    engine.free.clear()
    async with batching(engine, concurrency=2, max_batch=1) as batcher:
        tasks = submit(batcher, range(5))
        await until(lambda: len(engine.batches) == 2)
        await asyncio.sleep(0.05)
        assert len(engine.batches) == 2
        engine.free.set()
        await asyncio.gather(*tasks)
    assert len(engine.batches) == 5


async def test_only_compatible_items_share_a_batch(engine):
    async with batching(engine, compatible=lambda item: item % 2) as batcher:
        await asyncio.gather(*submit(batcher, range(8)))
    assert sorted(map(sorted, engine.batches)) == [[0, 2, 4, 6], [1, 3, 5, 7]]


@pytest.mark.parametrize("compatible", [lambda _: None, lambda item: item[0]], ids=["one-key", "key-per-tenant"])
async def test_a_flooding_tenant_delays_another_by_the_running_batch_only(engine, compatible):
    async with batching(engine, compatible=compatible) as batcher:
        engine.free.clear()
        flood = submit(batcher, [("a", n) for n in range(1000)])
        await until(lambda: engine.batches)
        ours = submit(batcher, [("b", 0)], tenant="b")
        await asyncio.sleep(0)
        engine.free.set()
        await asyncio.wait_for(ours[0], 5)
        assert ("b", 0) in engine.batches[1]
        await asyncio.gather(*flood)


async def test_a_tenant_that_asks_again_and_again_does_not_starve_the_others(engine):
    async with batching(engine, compatible=lambda item: item[0], max_batch=2) as batcher:
        flood = submit(batcher, [("a", n) for n in range(20)])
        for n in range(5):
            await batcher.submit(("b", n), tenant="b")
        assert sum(batch[0][0] == "a" for batch in engine.batches) >= 4
        await asyncio.gather(*flood)


async def test_places_in_a_batch_go_round_robin(engine):
    async with batching(engine, max_batch=6, max_wait_seconds=60) as batcher:
        engine.free.clear()
        tasks = submit(batcher, ["first"] * 6)
        await until(lambda: engine.batches)
        tasks += submit(batcher, ["a"] * 9) + submit(batcher, ["b"] * 2, "b") + submit(batcher, ["c"], "c")
        await asyncio.sleep(0)
        engine.free.set()
        await asyncio.gather(*tasks)
    assert sorted(engine.batches[1]) == ["a", "a", "a", "b", "b", "c"]


async def test_a_cancelled_item_leaves_the_queue(engine):
    async with batching(engine, max_wait_seconds=0.05) as batcher:
        kept, cancelled = submit(batcher, ["kept", "cancelled"])
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await kept == "kept"
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    assert engine.batches == [["kept"]]


async def test_cancelling_in_a_running_batch_disturbs_nobody(engine):
    engine.free.clear()
    async with batching(engine) as batcher:
        kept, cancelled = submit(batcher, ["kept", "cancelled"])
        await until(lambda: engine.batches)
        cancelled.cancel()
        engine.free.set()
        assert await kept == "kept"


async def test_the_queue_is_bounded(engine):
    engine.free.clear()
    async with batching(engine, max_batch=1, max_queued=2) as batcher:
        tasks = submit(batcher, [0])
        await until(lambda: engine.batches)
        tasks += submit(batcher, [1, 2])
        await asyncio.sleep(0)
        with pytest.raises(EngineBusy) as raised:
            await batcher.submit(3, tenant="a")
        assert raised.value.retry_seconds is not None
        assert raised.value.retry_seconds > 0
        engine.free.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2]


async def test_a_full_queue_still_lets_in_who_has_less_in_it(engine):
    engine.free.clear()
    async with batching(engine, max_batch=1, max_queued=3) as batcher:
        tasks = submit(batcher, ["running"])
        await until(lambda: engine.batches)
        oldest, middle, newest = submit(batcher, ["oldest", "middle", "newest"])
        await asyncio.sleep(0)
        (other,) = submit(batcher, ["other"], "b")
        with pytest.raises(EngineBusy):
            await newest
        engine.free.set()
        assert await asyncio.gather(*tasks, oldest, middle, other) == ["running", "oldest", "middle", "other"]


async def test_an_exception_for_one_item_is_its_own(engine):
    async with batching(engine) as batcher:
        good, wrong = submit(batcher, ["good", "wrong"])
        assert await good == "good"
        with pytest.raises(ValueError, match="wrong"):
            await wrong


async def test_an_item_that_breaks_its_batch_fails_alone(engine):
    async with batching(engine) as batcher:
        good, crash, fine = submit(batcher, ["good", "crash", "fine"])
        assert await asyncio.gather(good, fine) == ["good", "fine"]
        with pytest.raises(EngineCrashed):
            await crash
    assert engine.batches == [["good", "crash", "fine"], ["good"], ["crash"], ["fine"]]


async def test_an_overloaded_engine_is_not_asked_again(engine):
    async with batching(engine) as batcher:
        results = await asyncio.gather(*submit(batcher, ["good", "busy"]), return_exceptions=True)
    assert [type(result) for result in results] == [EngineBusy, EngineBusy]
    assert len(engine.batches) == 1


async def test_too_few_results_fail_the_batch():
    async def run(items):
        return items[:1]

    batcher: Batcher = Batcher(run, max_batch=2, max_queued=10, concurrency=1)
    results = await asyncio.gather(*submit(batcher, [1, 2]), return_exceptions=True)
    assert [str(result) for result in results] == ["the engine gave 1 results for 2 items"] * 2
    await batcher.close()


# Live before background


async def test_a_live_item_waits_for_no_background_one(engine):
    engine.free.clear()
    async with batching(engine) as batcher:
        tasks = submit(batcher, ["b1", "b2"], background=True)
        await until(lambda: engine.batches)
        tasks += submit(batcher, ["b3"], background=True)
        await asyncio.sleep(0.05)
        tasks += submit(batcher, ["l1"])
        await until(lambda: len(engine.batches) == 2)
        assert engine.batches == [["b1", "b2"], ["l1"]]
        engine.free.set()
        await asyncio.gather(*tasks)
    assert engine.batches[2:] == [["b3"]]


async def test_background_items_start_when_no_live_one_waits_and_one_at_a_time(engine, monkeypatch):
    engine.free.clear()
    async with batching(engine) as batcher:
        tasks = submit(batcher, ["l1"])
        await until(lambda: engine.batches)
        tasks += [*submit(batcher, ["b1", "b2", "b3"], background=True), *submit(batcher, ["l2", "l3"])]
        await asyncio.sleep(0.05)
        assert engine.batches == [["l1"]]
        engine.free.set()
        await asyncio.gather(*tasks)
        assert engine.batches == [["l1"], ["l2", "l3"], ["b1"], ["b2"], ["b3"]]
        monkeypatch.setattr(batching_module, "LIVELY_SECONDS", -1.0)
        await asyncio.gather(*submit(batcher, ["l4"]))
        await asyncio.gather(*submit(batcher, ["b4", "b5"], background=True))
    assert engine.batches[5:] == [["l4"], ["b4", "b5"]]


async def test_one_of_several_runners_is_kept_free_of_background_items(engine):
    engine.free.clear()
    async with batching(engine, max_batch=1, max_wait_seconds=0, concurrency=3) as batcher:
        tasks = submit(batcher, ["b1", "b2", "b3"], background=True)
        await until(lambda: len(engine.batches) == 2)
        await asyncio.sleep(0.01)
        assert engine.batches == [["b1"], ["b2"]]
        tasks += submit(batcher, ["l1", "l2", "l3", "l4"])
        await asyncio.sleep(0.01)
        assert engine.batches[2:] == [["l1"], ["l2"], ["l3"]]
        engine.free.set()
        await asyncio.gather(*tasks)


async def test_a_flood_of_live_items_leaves_background_ones_a_share(engine):
    async with batching(engine, max_batch=1, max_wait_seconds=0) as batcher:
        engine.free.clear()
        tasks = submit(batcher, ["l"])
        await until(lambda: engine.batches)
        tasks += [*submit(batcher, ["b1", "b2"], background=True), *submit(batcher, range(10 * LIVE_TURNS))]
        await asyncio.sleep(0)
        engine.free.set()
        await asyncio.gather(*tasks)
    places = [engine.batches.index([name]) for name in ("b1", "b2")]
    assert LIVE_TURNS <= places[0] < places[1] <= 2 * LIVE_TURNS + 4


async def test_a_full_queue_lets_live_items_in_for_background_ones(engine):
    engine.free.clear()
    async with batching(engine, max_batch=1, max_wait_seconds=0, max_queued=2) as batcher:
        tasks = submit(batcher, ["running"])
        await until(lambda: engine.batches)
        oldest, newest = submit(batcher, ["b1", "b2"], "b", background=True)
        await asyncio.sleep(0)
        tasks += submit(batcher, ["l1"])
        with pytest.raises(EngineBusy):
            await newest
        (more,) = submit(batcher, ["b3"], "b", background=True)
        with pytest.raises(EngineBusy):
            await more
        engine.free.set()
        assert await asyncio.gather(*tasks, oldest) == ["running", "l1", "b1"]


async def test_closing_refuses_who_waits_and_who_comes(engine):
    engine.free.clear()
    async with batching(engine, max_batch=1) as batcher:
        tasks = [*submit(batcher, [1]), *submit(batcher, [2], background=True)]
        await until(lambda: engine.batches)
        closing = asyncio.create_task(batcher.close())
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert [type(result) for result in results] == [Unavailable, Unavailable]
        await closing
        with pytest.raises(Unavailable):
            await batcher.submit(3, tenant="a")


async def test_metrics_count_sizes_and_waits(engine):
    async with batching(engine, name="metrics-test") as batcher:
        await asyncio.gather(*submit(batcher, [1, 2, 3]))
    labels = {"batcher": "metrics-test"}
    assert REGISTRY.get_sample_value("malha_batch_items_sum", labels) == 3
    assert REGISTRY.get_sample_value("malha_batch_wait_seconds_count", labels) == 3


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.booleans(), st.booleans()), max_size=40),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_every_item_gets_its_own_result_once(items, max_batch, concurrency):
    """Whatever is submitted and cancelled: one result each, batches of one key and bounded size, nothing left behind."""
    engine_batches = []

    async def run(batch):
        engine_batches.append(batch)
        await asyncio.sleep(0)
        return [("done", item) for item in batch]

    async def main():
        batcher: Batcher = Batcher(
            run, max_batch=max_batch, max_wait_seconds=0.001, max_queued=100, concurrency=concurrency, compatible=lambda item: item[1]
        )
        tasks = [
            asyncio.create_task(batcher.submit((n, key), tenant=tenant, background=background))
            for n, (tenant, key, _, background) in enumerate(items)
        ]
        await asyncio.sleep(0)
        for task, (_, _, cancel, _) in zip(tasks, items, strict=True):
            if cancel:
                task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        await batcher.close()
        return results

    results = asyncio.run(main())
    for n, (result, (_, key, cancel, _)) in enumerate(zip(results, items, strict=True)):
        assert result == ("done", (n, key)) or (cancel and isinstance(result, asyncio.CancelledError))
    ran = [item for batch in engine_batches for item in batch]
    assert len(ran) == len(set(ran))
    assert all(len(batch) <= max_batch and len({(key, items[n][3]) for n, key in batch}) == 1 for batch in engine_batches)
