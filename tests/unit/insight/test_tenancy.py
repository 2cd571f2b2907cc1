"""What a tenant has set, ready to be used; without a database everybody has Malha's own."""

import uuid

import pytest

from malha.api.insight.v1 import rules_pb2
from malha.insight.domain import InsightType
from malha.insight.keywords import Keywords
from malha.insight.policy import CALL_CENTER, COUNTER
from malha.insight.rules import Rules
from malha.insight.tenancy import TenantSetup, TenantSetups
from malha.runtime.errors import InvalidArgument


def setup(**fields: object) -> TenantSetup:
    configuration = rules_pb2.Configuration(**fields)  # type: ignore[arg-type]  # as a client without types
    return TenantSetup(configuration, Rules.compile([]), Keywords(()), (), {}, "0+0")


def test_policies_are_the_tenant_s_own_then_malha_s() -> None:
    assert setup().policy("") == CALL_CENTER
    assert setup().policy("counter") == COUNTER
    own = setup(policies=[{"name": "counter", "kind": "counter", "min_words": 3}, {"name": "noite", "kind": "call_center"}])
    assert own.policy("counter").min_words == 3
    assert own.policy("noite").kind == "call_center"
    assert own.policy("") == CALL_CENTER
    with pytest.raises(InvalidArgument, match="call_center, counter, noite") as raised:
        own.policy("dia")
    assert (raised.value.reason, set(raised.value.violations)) == ("UNKNOWN_POLICY", {"open.policy"})


async def test_without_a_database_everybody_has_malha_s_own() -> None:
    setups = TenantSetups(None, 0.7)
    nobody, somebody = await setups.of(None), await setups.of(uuid.uuid4())
    assert nobody.version == somebody.version == "0+0"
    assert nobody.thresholds == dict.fromkeys(InsightType, 0.7)
    assert await setups.of(None) is nobody, "it is made once"
