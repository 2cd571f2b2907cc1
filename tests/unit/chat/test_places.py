"""Places at a deployment: bounded, in turns, without holes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.chat.errors import ModelBusy
from malha.chat.places import Places


class Calls:
    """Calls of tenants at one deployment; each holds its place until it is let go."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.began: list[str] = []
        self.refused: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._held: list[asyncio.Event] = []

    async def come(self, tenant: str) -> asyncio.Task[None]:
        """One more call; it has a place, waits, or was refused."""
        task = asyncio.create_task(self._use(tenant))
        self._tasks.append(task)
        await settle()
        return task

    async def let_go(self) -> None:
        """The call that has had its place longest ends."""
        if self._held:
            self._held.pop(0).set()
            await settle()

    async def end(self) -> None:
        while not all(task.done() for task in self._tasks):
            await self.let_go()
        await asyncio.wait_for(self.places.wait_idle(), 5)

    async def _use(self, tenant: str) -> None:
        try:
            async with self.places.place(tenant, asyncio.get_running_loop().time() + 60):
                self.began.append(tenant)
                held = asyncio.Event()
                self._held.append(held)
                await held.wait()
        except ModelBusy:
            self.refused[tenant] += 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def calls(at_once: int, waiting: int) -> AsyncIterator[Calls]:
    made = Calls(Places(at_once, waiting))
    yield made
    await made.end()


async def test_one_tenants_calls_come_in_their_order_and_are_bounded() -> None:
    places, order, now = Places(1, 1), list[int](), asyncio.get_running_loop().time()
    release = asyncio.Event()

    async def use(number: int) -> None:
        async with places.place("a", now + 60):
            order.append(number)
            await release.wait()

    tasks = [asyncio.create_task(use(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(ModelBusy):
        await use(3)
    release.set()
    await asyncio.gather(*tasks)
    assert order == [1, 2]
    await asyncio.wait_for(places.wait_idle(), 5)


async def test_a_flood_of_one_tenant_leaves_the_others_their_turns() -> None:
    async with calls(at_once=1, waiting=8) as made:
        for _ in range(20):
            await made.come("flood")
        assert made.refused == {"flood": 11}
        for tenant in ("b", "c", "b"):
            await made.come(tenant)
        assert made.refused == {"flood": 14}, "the newest of the flood make room; nobody else is refused"
        await made.end()
        assert made.began == ["flood", "flood", "b", "c", "flood", "b", "flood", "flood", "flood"]


async def test_a_full_queue_is_shared_equally_and_no_further() -> None:
    async with calls(at_once=1, waiting=4) as made:
        for _ in range(6):
            await made.come("a")
        for _ in range(6):
            await made.come("b")
        await made.end()
        assert Counter(made.began) == {"a": 3, "b": 2}


async def test_who_waits_too_long_or_gives_up_leaves_no_hole() -> None:
    places = Places(1, 2)
    now = asyncio.get_running_loop().time()
    async with places.place("a", now + 60):
        with pytest.raises(ModelBusy):
            async with places.place("b", asyncio.get_running_loop().time() + 0.01):
                pass
        waiting = asyncio.create_task(places.place("b", now + 60).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with places.place("a", asyncio.get_running_loop().time() + 5):
        pass


async def test_a_place_given_to_a_call_that_ends_just_then_goes_on() -> None:
    async with calls(at_once=1, waiting=2) as made:
        await made.come("a")
        left, stays = [await made.come(tenant) for tenant in ("b", "c")]
        made._held.pop(0).set()
        await asyncio.sleep(0)  # "a" ends and gives its place to "b", which has not run yet
        left.cancel()
        await settle()
        assert left.cancelled()
        assert made.began == ["a", "c"]
        assert not stays.done()


@given(st.integers(1, 3), st.integers(0, 4), st.lists(st.sampled_from(["a", "b", "c", "go", "cancel"]), max_size=40))
async def test_no_place_is_lost_and_none_is_given_twice(at_once: int, waiting: int, steps: list[str]) -> None:
    async with calls(at_once, waiting) as made:
        tasks = list[asyncio.Task[None]]()
        for step in steps:
            if step == "go":
                await made.let_go()
            elif step == "cancel":
                if open_tasks := [task for task in tasks if not task.done()]:
                    open_tasks[len(open_tasks) // 2].cancel()
                    await settle()
            else:
                tasks.append(await made.come(step))
            inside = sum(not task.done() for task in tasks)
            assert inside <= at_once + waiting
    for _ in range(at_once):  # all places are there again
        await asyncio.wait_for(made.places.place("z", asyncio.get_running_loop().time() + 5).__aenter__(), 5)
