"""Rules, configuration and insights over REST: a real edge before a real server and a real database."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from conftest import OTHER_TOKEN, TOKEN
from integration.edge.conftest import running_edge
from integration.insight.analysing import THREAT, Talk

from fakes.serving import served
from malha.insight.builtin_rules import builtin_rules
from malha.insight.service import InsightService
from malha.insight.settings import InsightSettings
from malha.runtime.contracts import SERVICES
from malha.runtime.scopes import ALL_SCOPES
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.tokens import Tokens

RULES, CONFIGURATION = "/api/v1/rules", "/api/v1/insights/configuration"
RULE = {"id": "refund", "type": "INSIGHT_TYPE_RISK_ALERT", "message": "Ofereça {quote}", "condition": {"any_of": ["reembolso"]}}


@dataclass
class Rest:
    """Callers of one edge: an administrator, one who may not set anything, another tenant."""

    channel: grpc.aio.Channel
    admin: httpx.AsyncClient
    mine: httpx.AsyncClient
    theirs: httpx.AsyncClient


@pytest.fixture
async def rest(database: Database, settings: RuntimeSettings, tmp_path: Path) -> AsyncIterator[Rest]:
    tokens = Tokens(database)
    service = InsightService(database, lambda: grpc.aio.insecure_channel("127.0.0.1:1"), InsightSettings(_env_file=None))
    secret, _ = await tokens.create("default", actor="test", scopes=ALL_SCOPES)
    async with (
        served([service], settings, tokens, absent=[name for name in SERVICES if name != service.name]) as server,
        grpc.aio.insecure_channel(server.target) as channel,
        running_edge(tmp_path, server.target, TOKEN, grpc_port=server.port) as edge,
        edge.client(token=secret) as admin,
        edge.client() as mine,
        edge.client(token=OTHER_TOKEN) as theirs,
    ):
        yield Rest(channel, admin, mine, theirs)


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["reason"]


async def test_a_rule_is_the_body_and_comes_back_as_it_is_kept(rest: Rest) -> None:
    made = await rest.mine.post(RULES, json=RULE)
    assert made.status_code == 200, made.text
    kept = made.json()["rule"]
    assert (kept["version"], kept["type"], kept["message"], kept["condition"]["any_of"]) == (
        1,
        RULE["type"],
        RULE["message"],
        ["reembolso"],
    )
    assert (await rest.mine.get(f"{RULES}/refund")).json() == made.json()
    changed = await rest.mine.post(RULES, json={**made.json()["rule"], "confidence": 0.5})
    assert (changed.json()["rule"]["version"], changed.json()["rule"]["confidence"]) == (2, 0.5)
    assert (await rest.mine.get(f"{RULES}/refund", params={"version": 1})).json() == made.json()
    assert told(await rest.mine.post(RULES, json=made.json()["rule"])) == (409, "REVISION_STALE")
    assert [each["id"] for each in (await rest.mine.get(RULES)).json()["rules"]] == ["refund"]
    both = (await rest.mine.get(RULES, params={"builtin": "true"})).json()["rules"]
    assert [each["id"] for each in both] == sorted(["refund", *(spec.id for spec in builtin_rules())])
    assert (await rest.mine.delete(f"{RULES}/refund")).status_code == 200
    assert told(await rest.mine.get(f"{RULES}/refund")) == (404, "RULE_NOT_FOUND")
    assert told(await rest.mine.delete(f"{RULES}/refund")) == (404, "RULE_NOT_FOUND")


async def test_a_wrong_rule_is_400_and_its_field_named(rest: Rest) -> None:
    for wrong, field in (
        ({"id": "Com Espaço"}, "rule.id"),
        ({"type": "INSIGHT_TYPE_UNSPECIFIED"}, "rule.type"),
        ({"message": "  "}, "rule.message"),
        ({"condition": {"any_of": ["?"]}}, "rule.condition.any_of[0]"),
        ({"condition": {"all_of": ["cancelar"], "none_of": ["cancelar"]}}, "rule.condition.none_of"),
        ({"cooldown": "7200s"}, "rule.cooldown"),
    ):
        for address, body in ((RULES, {**RULE, **wrong}), (f"{RULES}:backtest", {"rule": {**RULE, **wrong}})):
            answer = await rest.mine.post(address, json=body)
            assert answer.status_code == 400, (address, answer.text)
            assert field in answer.text, (address, answer.text)
    for body in ({**RULE, "type": "NONSENSE"}, {**RULE, "condition": "x"}, {**RULE, "window": "soon"}, {"rule": RULE}, [RULE]):
        assert (await rest.mine.post(RULES, json=body)).status_code == 400, body
    assert (await rest.mine.get(RULES)).json().get("rules", []) == []


async def test_a_backtest_of_nothing_is_empty(rest: Rest) -> None:
    answer = await rest.mine.post(f"{RULES}:backtest", json={"rule": RULE, "since": "2026-01-01T00:00:00Z"})
    assert answer.status_code == 200, answer.text
    assert not answer.json().get("conversations")
    assert "precision" not in answer.json()
    wrong = {"rule": RULE, "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert told(await rest.mine.post(f"{RULES}:backtest", json=wrong)) == (400, "INVALID_TIME")


async def test_the_configuration_is_put_by_who_may(rest: Rest) -> None:
    wanted = {"glossary": {"melha": "Malha"}, "keywords": ["fidelização"], "keep_personal_data": True}
    put = await rest.admin.put(CONFIGURATION, json=wanted)
    assert put.status_code == 200, put.text
    assert put.json()["configuration"] == {**put.json()["configuration"], **wanted, "revision": 1}
    assert (await rest.mine.get(CONFIGURATION)).json() == put.json()
    assert told(await rest.admin.put(CONFIGURATION, json={"revision": 7})) == (409, "REVISION_STALE")
    wrong = await rest.admin.put(CONFIGURATION, json={"glossary": {"malha": "malha"}})
    assert told(wrong) == (400, "INVALID_GLOSSARY")
    assert "configuration.glossary" in wrong.text
    assert told(await rest.mine.put(CONFIGURATION, json=wanted)) == (403, "SCOPE_MISSING")
    assert (await rest.theirs.get(CONFIGURATION)).json()["configuration"].get("revision", 0) == 0


async def test_another_tenant_s_rules_are_not_there(rest: Rest) -> None:
    await rest.mine.post(RULES, json=RULE)
    assert told(await rest.theirs.get(f"{RULES}/refund")) == (404, "RULE_NOT_FOUND")
    assert told(await rest.theirs.delete(f"{RULES}/refund")) == (404, "RULE_NOT_FOUND")
    assert (await rest.theirs.get(RULES)).json().get("rules", []) == []


async def test_insights_are_listed_page_by_page(rest: Rest) -> None:
    name = f"c-{uuid.uuid4()}"
    for _ in range(3):
        talk = Talk(rest.channel)
        await talk.open(conversation_id=name)
        await talk.say(THREAT)
        await talk.insight()
        await talk.finish()
    address = f"/api/v1/conversations/{name}/insights"
    everything = (await rest.mine.get(address)).json()["insights"]
    assert len(everything) >= 3
    assert everything[0]["evidence"][0]["quote"] in THREAT
    paged, token = [], ""
    while True:
        page = (await rest.mine.get(address, params={"page_size": 2, "page_token": token})).json()
        assert len(page["insights"]) <= 2
        paged += page["insights"]
        token = page.get("next_page_token", "")
        if not token:
            break
        assert told(await rest.mine.get(f"/api/v1/conversations/other/insights?page_token={token}")) == (400, "INVALID_PAGE_TOKEN")
        assert told(await rest.theirs.get(address, params={"page_token": token})) == (400, "INVALID_PAGE_TOKEN")
    assert paged == everything
    assert told(await rest.mine.get(address, params={"page_token": "nonsense"})) == (400, "INVALID_PAGE_TOKEN")
    assert (await rest.mine.get(address, params={"page_size": 1001})).status_code == 400
    assert told(await rest.theirs.get(address)) == (404, "CONVERSATION_NOT_FOUND")
    assert told(await rest.mine.get("/api/v1/conversations/nowhere/insights")) == (404, "CONVERSATION_NOT_FOUND")
