"""Limits of tenants and of addresses."""

import uuid
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from malha.runtime.addresses import AddressLimits
from malha.runtime.auth import Principal
from malha.runtime.buckets import Buckets
from malha.runtime.errors import ResourceExhausted, Unavailable
from malha.runtime.quotas import FRESH_SECONDS, STALE_SECONDS, UNLIMITED, Quotas, QuotaSettings

ACME, OTHER = Principal("acme", "t", uuid.UUID(int=1)), Principal("other", "u", uuid.UUID(int=2))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Directory:
    """A store's tenants, which can be away."""

    def __init__(self, **settings: Any) -> None:
        self.found: dict[uuid.UUID, Mapping[str, Any]] = {ACME.tenant_id: settings}
        self.queries = 0
        self.away = False

    async def settings(self, ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, Mapping[str, Any]]:
        self.queries += 1
        if self.away:
            raise Unavailable("away")
        return {tenant: self.found[tenant] for tenant in ids if tenant in self.found}


def made(directory: Directory | None = None, clock: Clock | None = None, **given: Any) -> Quotas:
    return Quotas(QuotaSettings(_env_file=None, **given), directory, clock or Clock())


async def entered(quotas: Quotas, principal: Principal, most: int = 100) -> int:
    """How many streams come in."""
    for count in range(most):
        try:
            await quotas.enter(principal)
        except ResourceExhausted:
            return count
    return most


async def test_streams_at_once_are_limited_for_each_tenant() -> None:
    quotas = made(quota_streams=3)
    slots = [await quotas.enter(ACME) for _ in range(3)]
    with pytest.raises(ResourceExhausted) as refused:
        await quotas.enter(ACME)
    assert (refused.value.quota, refused.value.reason) == ("tenant_streams", "QUOTA_EXCEEDED")
    assert refused.value.retry_seconds == 1.0
    assert await entered(quotas, OTHER) == 3
    slots[0].release()
    slots[0].release()
    assert await entered(quotas, ACME) == 1, "a place is given back once"


async def test_a_reserved_place_is_never_refused_and_counts() -> None:
    quotas = made(quota_streams=2)
    first, _ = await quotas.enter(ACME), await quotas.enter(ACME)
    first.release()
    detached = quotas.reserve(ACME.tenant_key)
    with pytest.raises(ResourceExhausted):
        await quotas.enter(ACME)
    resumed = quotas.reserve(ACME.tenant_key)
    assert quotas.streams(ACME.tenant_key) == 3
    detached.release()
    assert quotas.streams(ACME.tenant_key) == 2
    resumed.release()
    assert await entered(quotas, ACME) == 1


async def test_nothing_is_kept_of_tenants_that_are_gone() -> None:
    quotas = made()
    slots = [await quotas.enter(Principal(f"tenant {number}", "t")) for number in range(50)]
    for slot in slots:
        slot.release()
    assert not quotas._streams


async def test_calls_a_minute_are_limited_unary_ones_and_streams_alike() -> None:
    clock = Clock()
    quotas = made(clock=clock, quota_calls_per_minute=60)
    for _ in range(30):
        await quotas.count(ACME)
    assert await entered(quotas, ACME) == 30
    with pytest.raises(ResourceExhausted) as refused:
        await quotas.count(ACME)
    assert refused.value.quota == "tenant_calls_per_minute"
    assert refused.value.retry_seconds == pytest.approx(1.0)
    await quotas.count(OTHER)
    clock.now += 5
    assert await entered(quotas, ACME) == 5


async def test_a_tenant_s_own_limits_hold_and_change_while_it_calls() -> None:
    clock, directory = Clock(), Directory(quota={"streams": 2, "calls_per_minute": 5})
    quotas = made(directory, clock, quota_streams=7)
    assert await entered(quotas, ACME) == 2
    assert await entered(quotas, OTHER) == 7, "it has none of its own"
    asked = directory.queries
    await entered(quotas, ACME)
    assert directory.queries == asked
    directory.found[ACME.tenant_id] = {"quota": {"streams": 4}}
    clock.now += FRESH_SECONDS + 1
    assert await entered(quotas, ACME) == 2


@pytest.mark.parametrize("own", [None, [], "many", {"streams": "9"}, {"streams": -1}, {"streams": True}, {"streams": None}, {}])
async def test_settings_that_make_no_sense_leave_the_default(own: object) -> None:
    assert await entered(made(Directory(quota=own), quota_streams=3), ACME) == 3


async def test_zero_is_no_limit() -> None:
    quotas = made(Directory(quota={"streams": 0, "calls_per_minute": 0}), quota_streams=3, quota_calls_per_minute=3)
    assert await entered(quotas, ACME, most=500) == 500


async def test_while_the_store_is_away_the_limits_last_seen_hold() -> None:
    clock, directory = Clock(), Directory(quota={"streams": 2})
    quotas = made(directory, clock, quota_streams=5)
    slot = await quotas.enter(ACME)
    slot.release()
    directory.away = True
    clock.now += FRESH_SECONDS + 1
    assert await entered(quotas, ACME) == 2
    assert await entered(quotas, OTHER) == 5
    clock.now += STALE_SECONDS
    assert await entered(quotas, ACME) == 3, "five, of which two are open"


async def test_where_quotas_do_not_hold_all_is_counted_and_nobody_refused() -> None:
    quotas = made(quotas=False, quota_streams=1, quota_calls_per_minute=1)
    assert await entered(quotas, ACME, most=5) == 5
    await quotas.count(ACME)
    assert quotas.streams(ACME.tenant_key) == 5
    assert await entered(Quotas(UNLIMITED), ACME, most=500) == 500


def taken(limits: AddressLimits, address: str, most: int = 1000) -> int:
    for count in range(most):
        try:
            limits.take(address)
        except ResourceExhausted:
            return count
    return most


def test_addresses_are_limited_each() -> None:
    clock = Clock()
    limits = AddressLimits(10, 5, "", clock)
    one, two = limits.limited("ipv4:10.0.0.1:5000"), limits.limited("ipv4:10.0.0.2:5000")
    assert (one, two) == ("10.0.0.1", "10.0.0.2")
    assert (taken(limits, one), taken(limits, two)) == (10, 10)
    with pytest.raises(ResourceExhausted) as refused:
        limits.take(one)
    assert (refused.value.quota, refused.value.reason) == ("address_calls_per_minute", "TOO_MANY_CALLS")
    assert refused.value.retry_seconds == pytest.approx(6)
    clock.now += 60
    assert taken(limits, one) == 10


@pytest.mark.parametrize(
    ("peer", "limited"),
    [
        ("ipv4:192.0.2.7:50312", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:443", "2001:db8::/64"),
        ("ipv6:[2001:db8::ffff:1]:443", "2001:db8::/64"),
        ("ipv6:[fe80::1%25eth0]:443", "fe80::/64"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:443", "192.0.2.7"),
        ("ipv4:127.0.0.1:50312", ""),
        ("ipv6:[::1]:50312", ""),
        ("ipv6:%5B::ffff:127.0.0.1%5D:443", ""),
        ("ipv4:10.1.2.3:50312", ""),
        ("unix:/run/malha.sock", ""),
        ("unix:", ""),
        ("", ""),
        ("ipv4:nonsense:1", ""),
    ],
)
def test_whom_a_peer_counts_for(peer: str, limited: str) -> None:
    assert AddressLimits(10, 5, "127.0.0.0/8, ::1/128,10.1.0.0/16").limited(peer) == limited


def test_failures_slow_an_address_down() -> None:
    clock = Clock()
    limits = AddressLimits(0, 3, "", clock)
    for _ in range(3):
        limits.check_failures("a")
        limits.fail("a")
    with pytest.raises(ResourceExhausted) as refused:
        limits.check_failures("a")
    assert refused.value.quota == "address_failures_per_minute"
    assert refused.value.retry_seconds == pytest.approx(20)
    limits.check_failures("b")
    clock.now += 20
    limits.check_failures("a")
    assert taken(limits, "a") == 1000, "no limit"


def test_nobody_s_address_is_not_limited() -> None:
    limits = AddressLimits(1, 1, "")
    assert taken(limits, "") == 1000
    for _ in range(5):
        limits.fail("")
        limits.check_failures("")


def test_wrong_networks_are_refused_at_start() -> None:
    with pytest.raises(ValidationError):
        QuotaSettings(_env_file=None, trusted_addresses="127.0.0.1/8")
    assert QuotaSettings(_env_file=None, trusted_addresses="").trusted_addresses == ""


def test_buckets_are_bounded_in_number() -> None:
    buckets = Buckets(most=100, clock=Clock())
    for number in range(5000):
        buckets.take(number, 10)
    assert len(buckets) == 100


def test_a_bucket_fills_as_time_goes_and_no_further() -> None:
    clock = Clock()
    buckets = Buckets(clock=clock)
    assert sum(not buckets.take("a", 60) for _ in range(100)) == 60
    assert buckets.take("a", 60) == pytest.approx(1.0)
    clock.now += 0.5
    assert buckets.wait("a", 60) == pytest.approx(0.5)
    clock.now += 3600
    assert buckets.take("a", 60, cost=59.5) == 0
    assert buckets.take("a", 60) == pytest.approx(0.5)
    clock.now += 0.5
    assert buckets.take("a", 60, cost=20) == 0
    assert buckets.take("a", 60) == pytest.approx(20), "it owes 19"
