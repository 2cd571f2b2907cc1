"""What a tenant has set, ready to be used: rules compiled, policies and thresholds resolved. Kept for a few seconds."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from malha.api.insight.v1 import rules_pb2
from malha.insight.builtin_rules import with_builtin
from malha.insight.domain import InsightType, Offer
from malha.insight.keywords import Keywords
from malha.insight.messages import TYPE_OF, offer_of, policy_of, rule_spec
from malha.insight.policy import CALL_CENTER, COUNTER, PolicySettings
from malha.insight.rule_store import RuleStore
from malha.insight.rules import Rules
from malha.runtime.errors import InvalidArgument
from malha.store.configuration import KEEP_SECONDS, Configurations
from malha.store.database import Database

POLICIES: Final = {policy.name: policy for policy in (CALL_CENTER, COUNTER)}
_MOST_KEPT: Final = 1_000


@dataclass(frozen=True, slots=True)
class TenantSetup:
    """A tenant's configuration, compiled."""

    configuration: rules_pb2.Configuration
    rules: Rules
    keywords: Keywords
    offers: tuple[Offer, ...]
    thresholds: Mapping[InsightType, float]
    version: str
    """Of configuration and rules."""

    def policy(self, name: str) -> PolicySettings:
        """The tenant's policy of that name, or Malha's own; empty: ``call_center``. Raises InvalidArgument (UNKNOWN_POLICY)."""
        wanted = name or "call_center"
        for policy in self.configuration.policies:
            if policy.name == wanted:
                return policy_of(policy)
        if wanted not in POLICIES:
            known = ", ".join(sorted({*POLICIES, *(policy.name for policy in self.configuration.policies)}))
            raise InvalidArgument(
                f"there is no such policy: there are {known}", reason="UNKNOWN_POLICY", violations={"open.policy": "unknown"}
            )
        return POLICIES[wanted]


class TenantSetups:
    """The setups of tenants; without a database everybody has Malha's own."""

    def __init__(self, database: Database | None, min_confidence: float) -> None:
        self.configurations = Configurations(database) if database is not None else None
        self.rules = RuleStore(database) if database is not None else None
        self._min_confidence = min_confidence
        self._kept: dict[uuid.UUID | None, tuple[float, TenantSetup]] = {}

    async def of(self, tenant_id: uuid.UUID | None) -> TenantSetup:
        """A tenant's setup, at most some seconds old."""
        now = time.monotonic()
        known = self._kept.get(tenant_id)
        if known is not None and now - known[0] < KEEP_SECONDS:
            return known[1]
        setup = await self._make(tenant_id)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[tenant_id] = now, setup
        return setup

    def forget(self, tenant_id: uuid.UUID) -> None:
        """Something was changed."""
        self._kept.pop(tenant_id, None)

    async def _make(self, tenant_id: uuid.UUID | None) -> TenantSetup:
        own: list[rules_pb2.Rule] = []
        configuration = rules_pb2.Configuration()
        if tenant_id is not None and self.configurations is not None and self.rules is not None:
            configuration, own = await self.configurations.newest(tenant_id), await self.rules.newest(tenant_id)
        specs = with_builtin([rule_spec(rule) for rule in own])
        thresholds = dict.fromkeys(InsightType, self._min_confidence)
        thresholds |= {TYPE_OF[each.type]: each.confidence for each in configuration.thresholds}
        version = f"{configuration.revision}+{sum(rule.version for rule in own)}"
        offers = tuple(offer_of(offer) for offer in configuration.catalogue)
        keywords = Keywords(tuple(configuration.keywords), offers)
        return TenantSetup(configuration, Rules.compile(specs), keywords, offers, thresholds, version)
