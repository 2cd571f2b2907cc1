"""Going on with kept conversations over REST: a real edge, a real ChatService, jobs, a real database, and a model that obeys the tests."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from integration.edge.chat_places import ChatEdge, chat_edge

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_answers import SENTENCE
from fakes.openai_server_faults import OVERLOADED, RESET, Fault
from malha.store.database import Database
from malha.store.settings import StoreSettings

HERE = "/api/v1/conversations/c1"


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def chat(tmp_path: Path, model: FakeOpenAI, database: Database, store: StoreSettings) -> AsyncIterator[ChatEdge]:
    async with chat_edge(tmp_path, model, store=(database, store)) as running:
        await running.client.put(HERE, json={})
        yield running


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["reason"]


async def status(chat: ChatEdge) -> dict[str, Any]:
    return dict((await chat.client.get(f"{HERE}/status")).json())


async def until(chat: ChatEdge, wanted: str, seconds: float = 60) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while (now := await status(chat))["status"] != wanted:
            await asyncio.sleep(0.05)
    return now


async def messages(chat: ChatEdge) -> list[tuple[str, str]]:
    entries = (await chat.client.get(HERE)).json()["entries"]
    return [(entry["message"]["sender_type"].removeprefix("SENDER_TYPE_"), entry["message"]["text"]) for entry in entries]


async def test_a_conversation_goes_on_and_is_kept(chat: ChatEdge, model: FakeOpenAI) -> None:
    assert (await status(chat))["status"] == "idle"
    first = (await chat.client.post(f"{HERE}/continue", json={"message": "Bom dia", "alias": "main"})).json()
    assert (first["answer"], first["finish_reason"], first["model"]) == (SENTENCE, "stop", "tiny")
    assert first["usage"]["total_tokens"] > 0
    await chat.client.post(f"{HERE}/continue", json={"message": "E o prazo?"})
    assert await messages(chat) == [("CUSTOMER", "Bom dia"), ("BOT", SENTENCE), ("CUSTOMER", "E o prazo?"), ("BOT", SENTENCE)]
    assert [message["content"] for message in model.last.body["messages"]][1:] == ["Bom dia", SENTENCE, "E o prazo?"]
    now = await status(chat)
    assert (now["status"], now["last_message"]["text"], now["last_message"]["author"]) == ("done", SENTENCE, "AUTHOR_ASSISTANT")
    assert (await chat.client.get(HERE)).json()["entries"][1]["message"]["id"] == first["message_id"]


async def test_it_survives_a_restart(tmp_path: Path, model: FakeOpenAI, database: Database, store: StoreSettings) -> None:
    async with chat_edge(tmp_path, model, store=(database, store)) as chat:
        await chat.client.put(HERE, json={})
        await chat.client.post(f"{HERE}/continue", json={"message": "Bom dia"})
    async with chat_edge(tmp_path, model, store=(database, store)) as chat:
        assert (await status(chat))["last_message"]["text"] == SENTENCE
        await chat.client.post(f"{HERE}/continue", json={"message": "E o prazo?"})
    assert [message["content"] for message in model.last.body["messages"]][1:] == ["Bom dia", SENTENCE, "E o prazo?"]


async def test_a_stream(chat: ChatEdge, model: FakeOpenAI) -> None:
    model.otherwise = Fault(between_tokens_seconds=0.5)
    began, first = time.monotonic(), 0.0
    lines: list[str] = []
    async with chat.client.stream("POST", f"{HERE}/continue-stream", json={"message": "Bom dia"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and not first:
                first = time.monotonic() - began
                assert (await status(chat))["status"] == "running"
                assert len(model.last.told) < len(SENTENCE.split())
            lines.append(line)
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    told_data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert set(names[:-1]) == {"delta"}
    assert names[-1] == "end"
    assert "".join(json.loads(data)["text"] for data in told_data[:-2]) == SENTENCE
    assert json.loads(told_data[-2])["message_id"]
    assert told_data[-1] == "[DONE]"
    assert first < 5, "on an idle machine it is well below half a second"
    assert (await status(chat))["status"] == "done"


async def test_a_stream_that_breaks_for_good_ends_in_order(chat: ChatEdge, model: FakeOpenAI) -> None:
    model.otherwise = RESET.also(between_tokens_seconds=0.05)
    text = (await chat.client.post(f"{HERE}/continue-stream", json={"message": "Bom dia"})).text
    assert '"reason":"STREAM_BROKEN"' in text
    assert text.endswith("data: [DONE]\n\n")


async def test_a_client_that_leaves_stops_the_model_and_what_was_said_is_kept(chat: ChatEdge, model: FakeOpenAI) -> None:
    model.otherwise = Fault(between_tokens_seconds=0.5)
    asking = asyncio.create_task(chat.client.post(f"{HERE}/continue", json={"message": "Bom dia"}))
    async with asyncio.timeout(60):
        while not (model.requests and model.last.told):
            assert not asking.done(), asking
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    async with asyncio.timeout(5):
        while not model.last.left:
            await asyncio.sleep(0.01)
    await until(chat, "partial")
    kept = await messages(chat)
    assert kept[0] == ("CUSTOMER", "Bom dia")
    assert SENTENCE.startswith(kept[1][1])


@pytest.mark.parametrize("body", [{"message": "Bom dia, meu CPF é 529.982.247-25", "complex": True}, {"message": "muito " * 3000}])
async def test_what_is_complex_is_a_job(chat: ChatEdge, model: FakeOpenAI, body: dict[str, Any]) -> None:
    model.otherwise = Fault(before_first_token_seconds=2.0)
    answer = await chat.client.post(f"{HERE}/continue", json=body)
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["job_id"]
    assert answer.headers["location"] == f"/api/v1/jobs/{job_id}"
    running = await status(chat)
    assert (running["status"], running["job_id"]) == ("running", job_id)
    now = await until(chat, "done")
    assert now["last_message"]["text"] == SENTENCE
    job = (await chat.client.get(f"/api/v1/jobs/{job_id}")).json()["job"]
    assert (job["kind"], job["status"], job["attempts"]) == ("JOB_KIND_CHAT", "JOB_STATUS_DONE", 1)
    kept = await messages(chat)
    assert [sender for sender, _ in kept] == ["CUSTOMER", "BOT"]
    assert "529.982.247-25" not in kept[0][1] + model.last.prompt


async def test_a_job_of_a_server_that_stopped_is_done_by_the_next(
    tmp_path: Path, model: FakeOpenAI, database: Database, store: StoreSettings
) -> None:
    model.otherwise = Fault(between_tokens_seconds=5)
    async with chat_edge(tmp_path, model, store=(database, store)) as chat:
        await chat.client.put(HERE, json={})
        answer = await chat.client.post(f"{HERE}/continue", json={"message": "Bom dia", "complex": True})
        assert answer.status_code == 202
        async with asyncio.timeout(30):
            while not model.requests:
                await asyncio.sleep(0.02)
    model.otherwise = Fault()
    async with chat_edge(tmp_path, model, store=(database, store)) as chat:
        now = await until(chat, "done", 90)
        job = (await chat.client.get(f"/api/v1/jobs/{now['job_id']}")).json()["job"]
        assert job["status"] == "JOB_STATUS_DONE"
        assert (await status(chat))["last_message"]["text"] == SENTENCE


async def test_a_job_whose_process_died_after_the_answer_does_not_answer_again(
    chat: ChatEdge, model: FakeOpenAI, database: Database
) -> None:
    job_id = (await chat.client.post(f"{HERE}/continue", json={"message": "Bom dia", "complex": True})).json()["job_id"]
    await until(chat, "done")
    async with database.app_tx() as connection:
        tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
    async with asyncio.timeout(60):
        while (await chat.client.get(f"/api/v1/jobs/{job_id}")).json()["job"]["status"] != "JOB_STATUS_DONE":
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)  # the queue lets go of it
    await chat.client.post(f"{HERE}/messages", json={"sender_type": "SENDER_TYPE_AGENT", "text": "Já lhe ligo."})
    async with database.tenant_tx(tenant) as connection:
        await connection.execute("UPDATE job SET status = 'running', ended_at = NULL WHERE id = $1", uuid.UUID(job_id))
        await connection.execute("SELECT malha_enqueue('chat', $1)", uuid.UUID(job_id))
    async with asyncio.timeout(60):
        while (job := (await chat.client.get(f"/api/v1/jobs/{job_id}")).json()["job"])["status"] != "JOB_STATUS_DONE":
            await asyncio.sleep(0.05)
    assert job["attempts"] == 2
    assert len(model.requests) == 1
    assert await messages(chat) == [("CUSTOMER", "Bom dia"), ("BOT", SENTENCE), ("AGENT", "Já lhe ligo.")]


async def test_a_job_that_no_model_answers_has_failed(chat: ChatEdge, model: FakeOpenAI) -> None:
    model.otherwise = OVERLOADED
    await chat.client.post(f"{HERE}/continue", json={"message": "Bom dia", "complex": True})
    now = await until(chat, "failed")
    assert now["reason"].startswith("MODEL_")
    assert now["last_message"]["text"] == "Bom dia"
    assert await messages(chat) == [("CUSTOMER", "Bom dia")], "two attempts asked once"


async def test_another_tenant_s_conversation_and_none_are_the_same(chat: ChatEdge) -> None:
    for client, name in ((chat.theirs, "c1"), (chat.client, "none")):
        address = f"/api/v1/conversations/{name}"
        for door, body in (
            ("continue", {"message": "x"}),
            ("continue-stream", {"message": "x"}),
            ("continue", {"message": "x", "complex": True}),
        ):
            assert told(await client.post(f"{address}/{door}", json=body)) == (404, "CONVERSATION_NOT_FOUND"), door
        assert told(await client.get(f"{address}/status")) == (404, "CONVERSATION_NOT_FOUND")
    assert not chat.model.requests


async def test_bad_requests(chat: ChatEdge) -> None:
    for body, field in (
        ({}, "message"),
        ({"message": "  "}, "message"),
        ({"message": 7}, "message"),
        ({"message": "x" * 200_001}, "message"),
        ({"message": "x", "unknown": 1}, "unknown"),
        ({"message": "x", "complex": "yes"}, "complex"),
    ):
        for door in ("continue", "continue-stream"):
            answer = await chat.client.post(f"{HERE}/{door}", json=body)
            assert told(answer) == (400, "INVALID_FIELD"), body
            assert list(answer.json()["error"]["violations"]) == [field]
    assert told(await chat.client.post(f"{HERE}/continue-stream", json={"message": "x", "complex": True})) == (400, "INVALID_FIELD")
    assert told(await chat.client.post(f"{HERE}/continue", json={"message": "x", "alias": "none"})) == (404, "MODEL_NOT_FOUND")
    async with chat.edge.client(token="wrong") as stranger:
        assert told(await stranger.post(f"{HERE}/continue", json={"message": "x"})) == (401, "TOKEN_UNKNOWN")
