"""Limits by the address a call comes from, before it is known who calls."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from urllib.parse import unquote

from malha.runtime.buckets import Buckets
from malha.runtime.errors import ResourceExhausted

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressLimits:
    """Calls and failed authentications an address may make in a minute; 0: no limit.

    ``trusted`` are networks, comma separated, of edges and proxies: they limit their own callers, who all seem to come from there.
    """

    def __init__(self, calls_per_minute: int, failures_per_minute: int, trusted: str, clock: Callable[[], float] = monotonic) -> None:
        self._calls_per_minute = calls_per_minute
        self._failures_per_minute = failures_per_minute
        self._trusted = networks(trusted)
        self._calls, self._failures = Buckets(clock=clock), Buckets(clock=clock)
        self._limited = lru_cache(4096)(self._find_limited)

    def limited(self, peer: str) -> str:
        """Whom a call from gRPC's ``peer`` counts for; empty: nobody."""
        return self._limited(_host(peer))

    def take(self, address: str) -> None:
        """Count a call. Raises ResourceExhausted."""
        if address and self._calls_per_minute:
            _refuse(self._calls.take(address, self._calls_per_minute), "calls", "address_calls_per_minute")

    def fail(self, address: str) -> None:
        """Count a failed authentication."""
        if address and self._failures_per_minute:
            self._failures.take(address, self._failures_per_minute)

    def check_failures(self, address: str) -> None:
        """Raise ResourceExhausted for an address where too many failed."""
        if address and self._failures_per_minute:
            _refuse(self._failures.wait(address, self._failures_per_minute), "unknown tokens", "address_failures_per_minute")

    def _find_limited(self, host: str) -> str:
        address = _parsed(host)
        if address is None or any(address in network for network in self._trusted):  # none: a Unix socket
            return ""
        return address_group(host)


@lru_cache(4096)
def address_group(host: str) -> str:
    """An address as it is limited: of IPv6 the /64, all of which one caller has. What is no address stays as it is."""
    address = _parsed(host)
    if address is None:
        return host
    return str(address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False))


def networks(text: str) -> tuple[Network, ...]:
    """Networks or addresses, comma separated. Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _host(peer: str) -> str:
    """The address in ``ipv4:10.0.0.1:50312`` or ``ipv6:%5B::1%5D:50312``; empty for other kinds."""
    kind, _, rest = peer.partition(":")
    return unquote(rest).rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else ""


def _refuse(seconds: float, what: str, quota: str) -> None:
    if seconds:
        raise ResourceExhausted(
            f"too many {what} from this address: try again later", reason="TOO_MANY_CALLS", retry_seconds=seconds, quota=quota
        )
