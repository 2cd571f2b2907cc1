"""Token buckets."""

import pytest

from malha.edge.errors import RateLimited
from malha.edge.limits import FAILURE_COST, TOKENS_AN_ADDRESS, RateLimit
from malha.edge.session import Progress
from malha.edge.sockets import origin_allowed


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(limit: RateLimit, token: str = "t", address: str = "a", most: int = 10_000) -> int:
    """How many come through in a row."""
    for count in range(most):
        try:
            limit.take(token, address)
        except RateLimited:
            return count
    return most


def test_a_burst_and_then_as_time_goes() -> None:
    clock = Clock()
    limit = RateLimit(60, clock=clock)
    assert taken(limit) == 60
    clock.now += 2.5
    assert taken(limit) == 2
    with pytest.raises(RateLimited) as refused:
        limit.take("t", "a")
    assert refused.value.retry_seconds == pytest.approx(0.5)
    clock.now += 3600
    assert taken(limit) == 60


def test_tokens_are_limited_apart_and_so_are_addresses_without_one() -> None:
    limit = RateLimit(10, clock=Clock())
    assert taken(limit, "one") == 10
    assert taken(limit, "two") == 10
    assert taken(limit, "", "here") == 10
    assert taken(limit, "", "there") == 10


def test_made_up_tokens_do_not_pass_without_end() -> None:
    limit, passed = RateLimit(10, clock=Clock()), 0
    for number in range(1000):
        passed += taken(limit, f"made up {number}", most=1)
    assert passed == 10 * TOKENS_AN_ADDRESS


def test_who_guesses_is_slowed_and_one_forgotten_tab_is_not() -> None:
    clock = Clock()
    limit = RateLimit(600, clock=clock)
    for _ in range(30):
        limit.take("stale", "office")
        limit.fail("office")
    assert taken(limit, "good", "office") == 600
    tried = 0
    while taken(limit, f"guess {tried}", "there", most=1):
        limit.fail("there")
        tried += 1
    assert 50 < tried <= 6000 / FAILURE_COST
    with pytest.raises(RateLimited) as refused:
        limit.take("another", "there")
    assert refused.value.retry_seconds
    for _ in range(1000):  # an hour of trying, each time as soon as it may
        clock.now += 3.6
        if taken(limit, f"guess {tried}", "there", most=1):
            limit.fail("there")
            tried += 1
    assert tried <= 61 * 6000 / FAILURE_COST
    clock.now += 60
    limit.take("another", "there")


def test_all_addresses_of_one_ipv6_network_are_one_caller() -> None:
    limit = RateLimit(10, clock=Clock())
    assert sum(taken(limit, "", f"2001:db8::{number}", most=1) for number in range(50)) == 10
    assert taken(limit, "", "2001:db8:1::1") == 10


def test_memory_is_bounded() -> None:
    limit = RateLimit(10, most=100, clock=Clock())
    for number in range(5000):
        limit.take("", str(number))
    assert len(limit._buckets) == 100


def test_progress_sees_a_message_that_stays_in_hand() -> None:
    progress = Progress()
    assert progress.stalled_seconds(1.0) == 0
    progress.busy = True
    assert progress.stalled_seconds(5.0) <= 4, "it may have been in hand since the look before"
    assert progress.stalled_seconds(11.0) >= 6
    progress.messages += 1
    assert progress.stalled_seconds(12.0) == 0, "another message"
    assert progress.stalled_seconds(15.0) == 3
    progress.busy = False
    assert progress.stalled_seconds(60.0) == 0


def test_progress_counts_once() -> None:
    progress = Progress()
    progress.messages, progress.bytes = 3, 70
    assert progress.uncounted() == (3, 70)
    assert progress.uncounted() == (0, 0)
    progress.messages += 1
    assert progress.uncounted() == (1, 0)


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "edge:8000", True),
        ("http://edge:8000", "edge:8000", True),
        ("https://EDGE:8000", "edge:8000", True),
        ("https://desk.example", "edge:8000", True),
        ("https://desk.example.evil", "edge:8000", False),
        ("http://edge", "edge:8000", False),
        ("null", "edge:8000", False),
        ("", "", False),
    ],
)
def test_origins(origin: str | None, host: str, *, allowed: bool) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    assert origin_allowed(headers, ("https://desk.example",)) is allowed
