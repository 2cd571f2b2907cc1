"""A tenant's rules and configuration, as its administrator has them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from conftest import OTHER_TOKEN, TOKEN

from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import insight_pb2_grpc, rules_pb2
from malha.runtime.errors import MalhaError
from malha.runtime.scopes import ALL_SCOPES
from malha.runtime.status import from_rpc_error
from malha.store.database import Database
from malha.store.tokens import Tokens

MINE, THEIRS = f"Bearer {TOKEN}", f"Bearer {OTHER_TOKEN}"


class Admin:
    """The unary methods of Insight for one tenant; what is refused is raised as MalhaError."""

    def __init__(self, channel: grpc.aio.Channel, authorization: str = MINE) -> None:
        self._stub = insight_pb2_grpc.InsightServiceStub(channel)
        self._metadata = (("authorization", authorization),)

    async def ask(self, method: str, request: Any) -> Any:
        try:
            return await getattr(self._stub, method)(request, metadata=self._metadata, timeout=60)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def save(self, rule: rules_pb2.Rule) -> rules_pb2.Rule:
        kept: rules_pb2.Rule = (await self.ask("SaveRule", api.SaveRuleRequest(rule=rule))).rule
        return kept

    async def rule(self, name: str, version: int = 0) -> rules_pb2.Rule:
        found: rules_pb2.Rule = (await self.ask("GetRule", api.GetRuleRequest(rule_id=name, version=version))).rule
        return found

    async def rules(self, *, builtin: bool = False) -> list[rules_pb2.Rule]:
        return list((await self.ask("ListRules", api.ListRulesRequest(builtin=builtin))).rules)

    async def delete(self, name: str) -> None:
        await self.ask("DeleteRule", api.DeleteRuleRequest(rule_id=name))

    async def configuration(self) -> rules_pb2.Configuration:
        found: rules_pb2.Configuration = (await self.ask("GetConfiguration", api.GetConfigurationRequest())).configuration
        return found

    async def configure(self, **fields: Any) -> rules_pb2.Configuration:
        request = api.UpdateConfigurationRequest(configuration=rules_pb2.Configuration(**fields))
        kept: rules_pb2.Configuration = (await self.ask("UpdateConfiguration", request)).configuration
        return kept

    async def insights(self, conversation: str, **fields: Any) -> api.ListInsightsResponse:
        found: api.ListInsightsResponse = await self.ask("ListInsights", api.ListInsightsRequest(conversation_id=conversation, **fields))
        return found

    async def backtest(self, rule: rules_pb2.Rule, **fields: Any) -> api.BacktestRuleResponse:
        found: api.BacktestRuleResponse = await self.ask("BacktestRule", api.BacktestRuleRequest(rule=rule, **fields))
        return found


async def administrator(channel: grpc.aio.Channel, database: Database, tenant: str = "default") -> Admin:
    """Of a tenant, with a token that may change its configuration."""
    secret, _ = await Tokens(database).create(tenant, actor="test", scopes=ALL_SCOPES)
    return Admin(channel, f"Bearer {secret}")


def rule(rule_id: str = "refund", /, *any_of: str, **fields: Any) -> rules_pb2.Rule:
    """A rule that is valid unless ``fields`` say otherwise."""
    condition = {"any_of": any_of or ("reembolso",)}
    given = {"type": rules_pb2.INSIGHT_TYPE_RISK_ALERT, "message": "Ofereça o reembolso: {quote}", "condition": condition, **fields}
    return rules_pb2.Rule(id=rule_id, **given)


@asynccontextmanager
async def refused(reason: str, *fields: str) -> AsyncIterator[None]:
    """What is done here is refused for that reason, violations naming the fields."""
    with pytest.raises(MalhaError) as raised:
        yield
    error = raised.value
    assert error.reason == reason, error
    assert all(any(field in place for place in error.violations) for field in fields), error.violations
