"""What is asked of Insight beside calls: what was shown, rules and configuration."""

import uuid
from collections.abc import Mapping
from typing import Final

from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import rules_pb2
from malha.insight.backtest import backtest
from malha.insight.builtin_rules import builtin_rules
from malha.insight.checks import check_configuration, check_rule
from malha.insight.messages import insight_message, rule_message
from malha.insight.store import InsightStore
from malha.insight.tenancy import TenantSetups
from malha.runtime.auth import Principal
from malha.runtime.errors import FailedPrecondition, NotFound
from malha.runtime.pages import make_token, micros, moment_of, read_token
from malha.runtime.rpc import UnaryMethod
from malha.store.database import Database

PAGE: Final = 100


class Administration:
    """The unary methods. Without a database nothing is kept, and tenants have Malha's own rules."""

    def __init__(self, database: Database | None, setups: TenantSetups) -> None:
        self._database = database
        self._setups = setups

    def methods(self) -> Mapping[str, UnaryMethod]:
        """By their names in the contract."""
        return {
            "ListInsights": UnaryMethod(self.list_insights),
            "SaveRule": UnaryMethod(self.save_rule),
            "GetRule": UnaryMethod(self.get_rule),
            "ListRules": UnaryMethod(self.list_rules),
            "DeleteRule": UnaryMethod(self.delete_rule),
            "BacktestRule": UnaryMethod(self.backtest_rule),
            "GetConfiguration": UnaryMethod(self.get_configuration),
            "UpdateConfiguration": UnaryMethod(self.update_configuration),
        }

    async def list_insights(self, request: api.ListInsightsRequest, principal: Principal) -> api.ListInsightsResponse:
        """The insights of a conversation that were shown."""
        database, tenant_id = self._kept(principal)
        most = request.page_size or PAGE
        asked, after = ("ListInsights", request.conversation_id), None
        if request.page_token:
            at, last = read_token(principal, asked, request.page_token)
            after = moment_of(at), uuid.UUID(last)
        found = await InsightStore(database, tenant_id).newest(request.conversation_id, after, most + 1)
        page, token = found[:most], ""
        if len(found) > most and page[-1].created_at is not None:
            token = make_token(principal, asked, (micros(page[-1].created_at), str(page[-1].id)))
        return api.ListInsightsResponse(insights=[insight_message(each) for each in page], next_page_token=token)

    async def save_rule(self, request: api.SaveRuleRequest, principal: Principal) -> api.SaveRuleResponse:
        """Check a rule and keep it."""
        _, tenant_id = self._kept(principal)
        assert self._setups.rules is not None
        check_rule(request.rule)
        kept = await self._setups.rules.save(tenant_id, request.rule, principal.token_id)
        self._setups.forget(tenant_id)
        return api.SaveRuleResponse(rule=kept)

    async def get_rule(self, request: api.GetRuleRequest, principal: Principal) -> api.GetRuleResponse:
        """The tenant's rule, or Malha's own."""
        builtin = next((spec for spec in builtin_rules() if spec.id == request.rule_id), None)
        try:
            _, tenant_id = self._kept(principal)
            assert self._setups.rules is not None
            return api.GetRuleResponse(rule=await self._setups.rules.get(tenant_id, request.rule_id, request.version))
        except (NotFound, FailedPrecondition):
            if builtin is None or request.version not in (0, builtin.version):
                raise
            return api.GetRuleResponse(rule=rule_message(builtin))

    async def list_rules(self, request: api.ListRulesRequest, principal: Principal) -> api.ListRulesResponse:
        """The tenant's rules, and Malha's own where they are wanted and not replaced."""
        own: list[rules_pb2.Rule] = []
        if self._setups.rules is not None and principal.tenant_id is not None:
            own = await self._setups.rules.newest(principal.tenant_id)
        replaced = {rule.id for rule in own}
        builtin = [rule_message(spec) for spec in builtin_rules() if spec.id not in replaced] if request.builtin else []
        return api.ListRulesResponse(rules=sorted([*own, *builtin], key=lambda rule: rule.id))

    async def delete_rule(self, request: api.DeleteRuleRequest, principal: Principal) -> api.DeleteRuleResponse:
        """End a rule."""
        _, tenant_id = self._kept(principal)
        assert self._setups.rules is not None
        await self._setups.rules.delete(tenant_id, request.rule_id, principal.token_id)
        self._setups.forget(tenant_id)
        return api.DeleteRuleResponse()

    async def backtest_rule(self, request: api.BacktestRuleRequest, principal: Principal) -> api.BacktestRuleResponse:
        """Replay a draft over stored calls."""
        database, tenant_id = self._kept(principal)
        check_rule(request.rule)
        return await backtest(database, tenant_id, request)

    async def get_configuration(self, request: api.GetConfigurationRequest, principal: Principal) -> api.GetConfigurationResponse:
        """What the tenant has set."""
        del request
        _, tenant_id = self._kept(principal)
        assert self._setups.configurations is not None
        return api.GetConfigurationResponse(configuration=await self._setups.configurations.newest(tenant_id))

    async def update_configuration(self, request: api.UpdateConfigurationRequest, principal: Principal) -> api.UpdateConfigurationResponse:
        """Check what the tenant sets and keep it."""
        _, tenant_id = self._kept(principal)
        assert self._setups.configurations is not None
        check_configuration(request.configuration)
        kept = await self._setups.configurations.replace(tenant_id, request.configuration, principal.token_id)
        self._setups.forget(tenant_id)
        return api.UpdateConfigurationResponse(configuration=kept)

    def _kept(self, principal: Principal) -> tuple[Database, uuid.UUID]:
        if self._database is None or principal.tenant_id is None:
            raise FailedPrecondition("nothing is kept without a database: set MALHA_DATABASE_URL", reason="STORE_NOT_CONFIGURED")
        return self._database, principal.tenant_id
