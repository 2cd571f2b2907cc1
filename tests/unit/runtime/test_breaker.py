"""The circuit breaker, against a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from malha.chat.models_file import BreakerLimits
from malha.runtime.breaker import MOST_OPEN_SECONDS, Breaker, State


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
    assert made.retry_seconds == 10
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
