"""Conversations over REST: a real edge, a real server, a real database, two tenants."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from conftest import OTHER_TOKEN, TOKEN
from integration.edge.conftest import RunningEdge, running_edge

from fakes.serving import served
from malha.conversation.service import ConversationService
from malha.conversation.settings import ConversationSettings
from malha.runtime.contracts import SERVICES
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.tokens import Tokens


@dataclass
class Rest:
    """Two callers of one edge."""

    edge: RunningEdge
    mine: httpx.AsyncClient
    theirs: httpx.AsyncClient


@pytest.fixture
async def rest(database: Database, settings: RuntimeSettings, tmp_path: Path) -> AsyncIterator[Rest]:
    service = ConversationService(database, ConversationSettings(_env_file=None, conversation_state_bytes=1000))
    async with (
        served([service], settings, Tokens(database), absent=[name for name in SERVICES if name != service.name]) as server,
        running_edge(tmp_path, server.target, TOKEN, grpc_port=server.port) as edge,
        edge.client() as mine,
        edge.client(token=OTHER_TOKEN) as theirs,
    ):
        yield Rest(edge, mine, theirs)


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["reason"]


async def test_a_conversation_from_its_beginning_to_its_end(rest: Rest) -> None:
    client, address = rest.mine, "/api/v1/conversations/c%20ç-1"
    customer = (await client.post("/api/v1/customers", json={"external_id": "ana", "name": "Ana"})).json()["customer"]
    made = (await client.put(address, json={"channel": "CONVERSATION_CHANNEL_WHATSAPP", "customer_id": "ana"})).json()
    assert made["created"]
    assert made["conversation"]["external_id"] == "c ç-1"
    assert made["conversation"]["customer_id"] == customer["id"]
    answer = await client.post(f"{address}/messages", json={"sender_type": "SENDER_TYPE_CUSTOMER", "text": "Quero cancelar o plano"})
    assert answer.status_code == 200, answer.text
    found = (await client.get("/api/v1/conversations:search", params={"query": "cancel"})).json()["conversations"]
    assert [one["matches"][0]["snippet"] for one in found] == ["Quero cancelar o plano"]
    listed = (
        await client.get(
            "/api/v1/conversations",
            params={"customer_id": "ana", "status": "CONVERSATION_STATUS_OPEN", "start_time_from": "2026-01-01T00:00:00Z"},
        )
    ).json()
    assert [one["id"] for one in listed["conversations"]] == [made["conversation"]["id"]]
    changed = (await client.patch(address, json={"status": "CONVERSATION_STATUS_CLOSED"})).json()["conversation"]
    assert changed["end_time"] is not None
    opened = (await client.get(address)).json()
    assert opened["entries"][0]["message"]["text"] == "Quero cancelar o plano"
    assert (await client.delete(address)).json() == {}
    assert told(await client.get(address)) == (404, "CONVERSATION_NOT_FOUND")


async def test_state_over_rest(rest: Rest) -> None:
    await rest.mine.put("/api/v1/conversations/c", json={})
    address = "/api/v1/conversations/c/state/form"
    saved = (await rest.mine.put(address, json={"value": {"step": 3, "deep": {"a": [1.5, None]}}, "ttl": "3600s"})).json()["state"]
    told_state = (await rest.mine.get(address)).json()
    assert told_state["value"] == {"step": 3, "deep": {"a": [1.5, None]}}
    assert told_state["state"]["revision"] == saved["revision"]
    assert told(await rest.mine.put(address, json={"value": {}, "if_revision": "7"})) == (409, "STATE_CHANGED")
    assert told(await rest.mine.put(address, json={"value": {"x": "y" * 1000}})) == (413, "STATE_TOO_LARGE")
    assert told(await rest.mine.put(address, json={"ttl": "5s"})) == (400, "INVALID_FIELD")
    assert [one["key"] for one in (await rest.mine.get("/api/v1/conversations/c/state")).json()["states"]] == ["form"]
    assert (await rest.mine.delete(address)).status_code == 200
    assert told(await rest.mine.get(address)) == (404, "STATE_NOT_FOUND")


@pytest.mark.parametrize("address", ["/api/v1/feedback", "/api/feedback"])
async def test_feedback_at_both_addresses(rest: Rest, address: str) -> None:
    await rest.mine.put("/api/v1/conversations/c", json={})
    made = await rest.mine.post(address, json={"conversation_id": "c", "thumb_up": True, "stars": 4, "nps": 10, "comment": "ótimo"})
    assert made.json()["feedback_id"]
    listed = (await rest.mine.get(address, params={"conversation_id": "c"})).json()
    assert (listed["summary"]["mean_stars"], listed["summary"]["nps_score"], listed["feedback"][0]["comment"]) == (4, 100, "ótimo")
    assert told(await rest.mine.post(address, json={"conversation_id": "c", "stars": 9})) == (400, "INVALID_FIELD")
    assert told(await rest.theirs.post(address, json={"conversation_id": "c", "stars": 1})) == (404, "CONVERSATION_NOT_FOUND")


async def test_another_tenant_sees_nothing(rest: Rest) -> None:
    kept = (await rest.mine.put("/api/v1/conversations/c", json={"subject": "segredo"})).json()["conversation"]
    await rest.mine.post("/api/v1/conversations/c/messages", json={"sender_type": "SENDER_TYPE_AGENT", "text": "segredo"})
    await rest.mine.put("/api/v1/conversations/c/state/k", json={"value": {}})
    answers = [
        await rest.theirs.request(method, f"/api/v1/conversations/{name}{rest_of_path}", json=body)
        for name in ("c", kept["id"], "unknown")
        for method, rest_of_path, body in (
            ("GET", "", None),
            ("PATCH", "", {"subject": "x"}),
            ("DELETE", "", None),
            ("POST", "/messages", {"sender_type": "SENDER_TYPE_AGENT", "text": "x"}),
            ("GET", "/state", None),
            ("GET", "/state/k", None),
            ("PUT", "/state/k", {"value": {}}),
            ("DELETE", "/state/k", None),
        )
    ]
    assert {told(answer) for answer in answers} == {(404, "CONVERSATION_NOT_FOUND")}
    assert len({answer.json()["error"]["message"] for answer in answers}) == 1
    assert (await rest.theirs.get("/api/v1/conversations")).json()["conversations"] == []
    assert (await rest.theirs.get("/api/v1/conversations:search", params={"query": "segredo"})).json()["conversations"] == []


async def test_bad_requests(rest: Rest) -> None:
    client = rest.mine
    await client.put("/api/v1/conversations/c", json={})
    messages = "/api/v1/conversations/c/messages"
    assert told(await client.post(messages, content=b'{"sender_type": "SENDER_TYPE_AGENT", "text": "\\ud800"}')) == (400, "NOT_JSON")
    assert told(await client.post(messages, json={"sender_type": 0, "text": "x"})) == (400, "INVALID_FIELD")
    nul = await client.post(messages, content=b'{"sender_type": "SENDER_TYPE_AGENT", "text": "a\\u0000b"}')
    assert nul.json()["message"]["text"] == "ab"
    for params, field in (
        ({"page_token": "forged"}, "page_token"),
        ({"page_size": "1001"}, "page_size"),
        ({"status": "77"}, "status"),
        ({"start_time_from": "yesterday"}, ""),
    ):
        answer = await client.get("/api/v1/conversations", params=params)
        assert answer.status_code == 400, params
        assert not field or list(answer.json()["error"]["violations"]) == [field]
    assert (await client.get("/api/v1/conversations:search")).status_code == 400
    assert told(await client.get("/api/v1/conversations", headers={"Authorization": "Bearer wrong"})) == (401, "TOKEN_UNKNOWN")
