"""The circuit breaker, against a clock of the test's own."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.chat.breaker import MOST_OPEN_SECONDS, Breaker, State
from malha.chat.errors import ModelBusy
from malha.chat.models_file import BreakerLimits
from malha.chat.places import Places


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock, failures: int = 3) -> tuple[Breaker, list[State]]:
    states: list[State] = []
    return Breaker(BreakerLimits(failures=failures, open_seconds=10), states.append, clock), states


def test_it_opens_after_failures_in_a_row_and_closes_by_one_probe() -> None:
    clock = Clock()
    made, states = breaker(clock)
    for outcome in (made.failed, made.failed, made.succeeded, made.failed, made.failed, made.failed):
        assert made.enter()
        outcome()
    assert made.state is State.OPEN
    assert not made.enter()
    clock.now = 10
    assert made.state is State.HALF_OPEN
    assert made.enter()
    assert not made.enter()
    made.failed()
    clock.now = 19.9
    assert not made.enter()
    clock.now = 20
    assert made.enter()
    made.left()
    assert made.enter()
    made.succeeded()
    assert made.state is State.CLOSED
    assert states == [State.CLOSED, State.OPEN, State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.CLOSED]


def test_a_server_that_says_how_long_is_left_alone_so_long_and_no_longer_than_is_sane() -> None:
    clock = Clock()
    made, _ = breaker(clock)
    assert made.enter()
    made.failed(3)
    clock.now = 2.9
    assert not made.enter()
    clock.now = 3
    assert made.enter()
    made.failed(1e9)
    clock.now = 3 + MOST_OPEN_SECONDS
    assert made.enter()


@given(st.lists(st.tuples(st.sampled_from(["succeeded", "failed", "left"]), st.floats(0, 30)), max_size=60))
def test_whatever_happens_at_most_one_probes_and_it_can_always_close_again(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    made, _ = breaker(clock, failures=2)
    for step, seconds in steps:
        clock.now += seconds
        entered = made.enter()
        if made.state is not State.CLOSED:
            assert not made.enter()
        if entered:
            getattr(made, step)()
    clock.now += 1000
    assert made.enter()
    made.succeeded()
    assert made.state is State.CLOSED


async def test_places_are_given_in_order_and_bounded() -> None:
    places, order, now = Places(1, 1), list[int](), asyncio.get_running_loop().time()
    release = asyncio.Event()

    async def use(number: int) -> None:
        async with places.place(now + 60):
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


async def test_who_waits_too_long_or_gives_up_leaves_no_hole() -> None:
    places = Places(1, 2)
    now = asyncio.get_running_loop().time()
    async with places.place(now + 60):
        with pytest.raises(ModelBusy):
            async with places.place(asyncio.get_running_loop().time() + 0.01):
                pass
        waiting = asyncio.create_task(places.place(now + 60).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with places.place(asyncio.get_running_loop().time() + 5):
        pass
