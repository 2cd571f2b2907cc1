"""How much a tenant may use of one process: streams at once, and calls a minute."""

import asyncio
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol

from pydantic import Field, field_validator

from malha.runtime.addresses import AddressLimits, networks
from malha.runtime.auth import Principal
from malha.runtime.buckets import Buckets
from malha.runtime.errors import MalhaError, ResourceExhausted
from malha.runtime.lookup import Lookup
from malha.runtime.settings import MalhaSettings

FRESH_SECONDS: Final = 10.0
"""How long a tenant's settings are not looked for again."""
STALE_SECONDS: Final = 86_400.0
"""How long they hold while the store is away."""
FIRST_SECONDS: Final = 1.0
"""How long a tenant's first call waits for them."""
RETRY_SECONDS: Final = 1.0


class QuotaSettings(MalhaSettings):
    """Limits where a tenant has none of its own. 0: no limit."""

    quotas: bool = Field(
        default=True,
        description="Whether quotas of tenants hold here. False in a server that only Malha's own processes call: they have counted already.",
    )
    quota_streams: int = Field(2000, ge=0, description="Streams a tenant may have open at once, in each process; 0: no limit.")
    quota_calls_per_minute: int = Field(
        12_000, ge=0, description="Streams and unary calls a tenant may start in a minute, in each process; 0: no limit."
    )
    address_calls_per_minute: int = Field(6000, ge=0, description="Calls an address may start in a minute; 0: no limit.")
    address_failures_per_minute: int = Field(
        30, ge=0, description="Unknown tokens an address may try in a minute before further ones are not looked at; 0: no limit."
    )
    trusted_addresses: str = Field(
        "127.0.0.0/8,::1/128", description="Networks of edges and proxies, comma separated: addresses there are not limited."
    )

    @field_validator("trusted_addresses")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        networks(value)
        return value


UNLIMITED: Final = QuotaSettings.model_construct(
    quotas=False, quota_streams=0, quota_calls_per_minute=0, address_calls_per_minute=0, address_failures_per_minute=0, trusted_addresses=""
)


@dataclass(frozen=True, slots=True)
class Quota:
    """One tenant's limits; 0: no limit."""

    streams: int
    calls_per_minute: int


class TenantDirectory(Protocol):
    """The tenants of a store."""

    async def settings(self, ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, Mapping[str, Any]]:
        """The settings of tenants; those it does not know are left out. Raises Unavailable."""


class Slot:
    """A place among its tenant's streams, until `release`."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Give the place back. A second time does nothing."""
        if self._release is not None:
            self._release()
            self._release = None


class Quotas:
    """Counts what tenants use of this process.

    A tenant's own limits are in its settings: ``{"quota": {"streams": 50, "calls_per_minute": 600}}``.
    """

    def __init__(self, settings: QuotaSettings, tenants: TenantDirectory | None = None, clock: Callable[[], float] = monotonic) -> None:
        self.addresses = AddressLimits(
            settings.address_calls_per_minute, settings.address_failures_per_minute, settings.trusted_addresses, clock
        )
        self._enforced = settings.quotas
        self._default = Quota(settings.quota_streams, settings.quota_calls_per_minute)
        self._streams: dict[uuid.UUID | str, int] = {}
        self._calls = Buckets(clock=clock)
        self._lookup = None if tenants is None else Lookup(tenants.settings, lambda _: FRESH_SECONDS, lambda _: STALE_SECONDS, clock=clock)

    def streams(self, tenant: uuid.UUID | str) -> int:
        """How many places a tenant has taken (`Principal.tenant_key`)."""
        return self._streams.get(tenant, 0)

    async def count(self, principal: Principal) -> None:
        """Count a unary call. Raises ResourceExhausted."""
        if self._enforced:
            self._take_call(principal, await self._quota(principal))

    async def enter(self, principal: Principal) -> Slot:
        """A place for a new stream. Raises ResourceExhausted."""
        if self._enforced:
            quota = await self._quota(principal)
            if quota.streams and self.streams(principal.tenant_key) >= quota.streams:
                raise ResourceExhausted(
                    f"the tenant has all the {quota.streams} streams it may have at once",
                    reason="QUOTA_EXCEEDED",
                    retry_seconds=RETRY_SECONDS,
                    quota="tenant_streams",
                )
            self._take_call(principal, quota)
        return self.reserve(principal.tenant_key)

    def reserve(self, tenant: uuid.UUID | str) -> Slot:
        """A place that is never refused: of a stream that goes on with a session, and of a session that waits for one."""
        self._streams[tenant] = self.streams(tenant) + 1
        return Slot(lambda: self._release(tenant))

    async def close(self) -> None:
        """Ask the store no more."""
        if self._lookup is not None:
            await self._lookup.close()

    def _release(self, tenant: uuid.UUID | str) -> None:
        left = self._streams[tenant] - 1
        if left:
            self._streams[tenant] = left
        else:
            del self._streams[tenant]

    def _take_call(self, principal: Principal, quota: Quota) -> None:
        wait = self._calls.take(principal.tenant_key, quota.calls_per_minute) if quota.calls_per_minute else 0.0
        if wait:
            raise ResourceExhausted(
                f"the tenant has started all the {quota.calls_per_minute} calls it may start in a minute",
                reason="QUOTA_EXCEEDED",
                retry_seconds=wait,
                quota="tenant_calls_per_minute",
            )

    async def _quota(self, principal: Principal) -> Quota:
        """A tenant's limits. While the store is away: those last seen, else the defaults."""
        if self._lookup is None or principal.tenant_id is None:
            return self._default
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                settings = await self._lookup.get(principal.tenant_id)
        except (MalhaError, TimeoutError):
            return self._default
        return self._default if settings is None else self._own(settings)

    def _own(self, settings: Mapping[str, Any]) -> Quota:
        own = settings.get("quota")
        if not isinstance(own, Mapping):
            return self._default
        return Quota(_limit(own, "streams", self._default.streams), _limit(own, "calls_per_minute", self._default.calls_per_minute))


def _limit(own: Mapping[str, Any], name: str, default: int) -> int:
    value = own.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
