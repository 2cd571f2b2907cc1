"""OpenAI's doors: its own client, curl and plain HTTP through a real edge and a real ChatService to a model that obeys the tests."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import TOKEN
from integration.edge.chat_places import ChatEdge, chat_edge
from openai import APIError, AsyncOpenAI, AuthenticationError, BadRequestError, NotFoundError, RateLimitError

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_answers import SENTENCE
from fakes.openai_server_faults import OUT_OF_TOKENS, OVERLOADED, RESET, TOO_MANY, Fault
from malha.edge import chat_stream

QUESTION = [{"role": "system", "content": "Responda em português."}, {"role": "user", "content": "Qual é o prazo?"}]
DOORS = ("/v1/chat/completions", "/api/v1/chat/completions")


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def chat(tmp_path: Path, model: FakeOpenAI) -> AsyncIterator[ChatEdge]:
    async with chat_edge(tmp_path, model) as running:
        yield running


@pytest.fixture
async def openai(chat: ChatEdge) -> AsyncIterator[AsyncOpenAI]:
    async with client_of(chat) as client:
        yield client


def client_of(chat: ChatEdge, token: str = TOKEN) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=chat.openai_url, api_key=token, max_retries=0, http_client=httpx.AsyncClient(trust_env=False, timeout=60))


def events_of(text: str) -> list[Any]:
    """The data of server-sent events, ``[DONE]`` as it is."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def until(holds: Any, seconds: float = 30) -> float:
    """How long it took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)
    return time.monotonic() - began


async def test_the_openai_client_has_a_whole_answer(openai: AsyncOpenAI, model: FakeOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model="main",
        messages=[*QUESTION[:1], {"role": "user", "content": "Oi"}, {"role": "assistant", "content": "Olá!"}, *QUESTION[1:]],
        temperature=0.2,
        max_tokens=400,
        stop=["###"],
        seed=7,
        user="somebody",
    )
    assert answer.choices[0].message.content == SENTENCE
    assert (answer.choices[0].finish_reason, answer.model, answer.object) == ("stop", "main", "chat.completion")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    told = (answer.model_extra or {})["malha"]
    assert (told["model"], told["engine"], told["degraded"]) == ("tiny", "openai", False)
    body = model.last.body
    assert (body["temperature"], body["seed"], body["stop"]) == (0.2, 7, ["###"])
    assert model.last.most_tokens == 400
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][0]["content"] == "Responda em português."
    assert body["messages"][-1]["content"] == "Qual é o prazo?"


async def test_an_answer_is_as_it_is_described(chat: ChatEdge) -> None:
    answer = (await chat.client.post("/v1/chat/completions", json={"messages": QUESTION})).json()
    path = (await chat.client.get("/api/v1/openapi.json")).json()["paths"]["/v1/chat/completions"]
    schema = path["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    choice = schema["properties"]["choices"]["items"]
    message = choice["properties"]["message"]
    for told, described in ((answer, schema), (answer["choices"][0], choice), (answer["choices"][0]["message"], message)):
        assert told.keys() == described["properties"].keys()


async def test_the_openai_client_has_a_stream(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(model="main", messages=QUESTION, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == SENTENCE
    assert len([text for text in texts if text]) > 1, "the answer came in one piece"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


async def test_an_answer_to_a_schema(openai: AsyncOpenAI, model: FakeOpenAI) -> None:
    schema = {"type": "object", "properties": {"message": {"type": "string", "maxLength": 80}}, "required": ["message"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    answer = await openai.chat.completions.create(model="main", messages=QUESTION, response_format=wanted)  # type: ignore[call-overload]  # a dict
    assert set(json.loads(answer.choices[0].message.content)) == {"message"}
    assert model.last.schema == schema


@pytest.mark.parametrize("door", DOORS)
async def test_a_stream_ends_with_done(chat: ChatEdge, door: str) -> None:
    answer = await chat.client.post(door, json={"model": "main", "messages": QUESTION, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, end = events_of(answer.text)
    assert end == "[DONE]"
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["malha"]["model"] == "tiny"
    assert not any("usage" in event for event in events)


async def test_curl_has_a_stream(chat: ChatEdge) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl on PATH")
    body = json.dumps({"model": "main", "messages": QUESTION, "stream": True})
    address = f"{chat.edge.url}/api/v1/chat/completions"
    process = await asyncio.create_subprocess_exec(
        curl, "-sN", "--noproxy", "*", address, "-H", f"Authorization: Bearer {TOKEN}", "-d", body, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    events = events_of(out.decode())
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events[:-1]) == SENTENCE
    assert events[-1] == "[DONE]"


async def test_the_models(openai: AsyncOpenAI, chat: ChatEdge) -> None:
    aliases = [model.id async for model in openai.models.list()]
    assert "main" in aliases
    for alias in ("main", "maker/small"):
        assert (await openai.models.retrieve(alias)).id == alias
    with pytest.raises(NotFoundError):
        await openai.models.retrieve("none")
    listed = (await chat.client.get("/api/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == aliases


async def test_errors_are_in_openai_s_form(openai: AsyncOpenAI, chat: ChatEdge) -> None:
    with pytest.raises(NotFoundError) as unknown:
        await openai.chat.completions.create(model="gpt-99", messages=QUESTION)
    assert unknown.value.type == "not_found_error"
    assert unknown.value.code == "MODEL_NOT_FOUND"
    with pytest.raises(BadRequestError) as wrong:
        await openai.chat.completions.create(model="main", messages=QUESTION, temperature=9)
    assert (wrong.value.type, wrong.value.code, wrong.value.param) == ("invalid_request_error", "INVALID_FIELD", "temperature")
    async with client_of(chat, "wrong") as stranger:
        with pytest.raises(AuthenticationError) as refused:
            await stranger.chat.completions.create(model="main", messages=QUESTION)
    assert refused.value.code == "TOKEN_UNKNOWN"
    async with chat.edge.client(token="") as nobody:
        answer = await nobody.post("/v1/chat/completions", json={"messages": QUESTION})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "TOKEN_MISSING")


WRONG = (
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "Oi"}, "messages"),
    ({"messages": [7]}, "messages.0"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "x" * 200_001}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "Oi"}, {"role": "assistant", "content": "Olá"}]}, "messages.1.role"),
    ({"messages": QUESTION * 101}, "messages"),
    ({"messages": QUESTION, "n": 2}, "n"),
    ({"messages": QUESTION, "tools": [{"type": "function"}]}, "tools"),
    ({"messages": QUESTION, "logit_bias": {"1": 1}}, "logit_bias"),
    ({"messages": QUESTION, "max_tokens": 0}, "max_tokens"),
    ({"messages": QUESTION, "top_p": 1.5}, "top_p"),
    ({"messages": QUESTION, "stream": "yes"}, "stream"),
    ({"messages": QUESTION, "stream_options": {"unknown": 1}}, "stream_options.unknown"),
    ({"messages": QUESTION, "response_format": {"type": "xml"}}, "response_format.type"),
    ({"messages": QUESTION, "response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
)


async def test_what_is_wrong_is_named(chat: ChatEdge) -> None:
    for body, param in WRONG:
        answer = await chat.client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400, answer.text
        told = answer.json()["error"]
        assert (told["type"], told["param"]) == ("invalid_request_error", param)
    assert not chat.model.requests


async def test_a_body_that_is_too_large_and_one_that_is_no_json(chat: ChatEdge) -> None:
    large = await chat.client.post("/v1/chat/completions", content=b'{"messages": "' + b"x" * 2_000_000)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "BODY_TOO_LARGE")
    junk = await chat.client.post("/v1/chat/completions", content=b"{")
    assert (junk.status_code, junk.json()["error"]["code"]) == (400, "NOT_JSON")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_model_that_has_enough_is_429_with_retry_after(openai: AsyncOpenAI, model: FakeOpenAI, stream: bool) -> None:
    model.otherwise = TOO_MANY
    with pytest.raises(RateLimitError) as limited:
        await openai.chat.completions.create(model="main", messages=QUESTION, stream=stream)
    assert int(limited.value.response.headers["retry-after"]) >= 1
    assert limited.value.type == "rate_limit_error"


async def test_retry_after_is_the_model_s_own_also_where_the_answer_had_begun(chat: ChatEdge, model: FakeOpenAI) -> None:
    later = TOO_MANY.also(retry_after="17")
    model.faults += [RESET.also(between_tokens_seconds=0.05), later]
    answer = await chat.client.post("/v1/chat/completions", json={"messages": QUESTION, "stream": True})
    *_, error, end = events_of(answer.text)
    assert (answer.status_code, error["error"]["code"], error["error"]["retry_after_ms"], end) == (200, "STREAM_BROKEN", 17_000, "[DONE]")


async def test_retry_after_of_a_whole_answer_is_the_model_s_own(chat: ChatEdge, model: FakeOpenAI) -> None:
    model.otherwise = TOO_MANY.also(retry_after="17")
    answer = await chat.client.post("/v1/chat/completions", json={"messages": QUESTION})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "17")


async def test_too_many_requests_are_told_in_openai_s_form(tmp_path: Path, model: FakeOpenAI) -> None:
    async with chat_edge(tmp_path, model, requests_per_minute=2) as chat:
        answers = [await chat.client.get("/v1/models") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["code"] == "RATE_LIMITED"
    assert int(answers[2].headers["retry-after"]) >= 1


async def test_a_model_that_is_away_is_503_before_the_first_token(chat: ChatEdge, model: FakeOpenAI) -> None:
    model.otherwise = OVERLOADED
    for stream in (False, True):
        answer = await chat.client.post("/v1/chat/completions", json={"messages": QUESTION, "stream": stream})
        assert answer.status_code == 503, answer.text
        assert answer.json()["error"]["type"] == "server_error"


async def test_a_stand_in_is_told(tmp_path: Path, model: FakeOpenAI) -> None:
    model.otherwise = OVERLOADED
    async with chat_edge(tmp_path, model, last_resort=True) as chat:
        answer = (await chat.client.post("/v1/chat/completions", json={"messages": QUESTION})).json()
    assert answer["malha"]["degraded"]
    assert answer["malha"]["engine"] == "extractive"
    assert answer["choices"][0]["message"]["content"]


async def test_a_stream_that_breaks_is_completed(chat: ChatEdge, model: FakeOpenAI) -> None:
    model.faults += [RESET.also(between_tokens_seconds=0.05)]
    answer = await chat.client.post("/v1/chat/completions", json={"messages": QUESTION, "stream": True})
    *events, end = events_of(answer.text)
    assert end == "[DONE]"
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == SENTENCE
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_stream_that_stays_broken_ends_with_an_error_and_done(openai: AsyncOpenAI, chat: ChatEdge, model: FakeOpenAI) -> None:
    model.otherwise = RESET.also(between_tokens_seconds=0.05)
    answer = await chat.client.post("/v1/chat/completions", json={"messages": QUESTION, "stream": True})
    *events, error, end = events_of(answer.text)
    assert end == "[DONE]"
    assert error["error"]["code"] == "STREAM_BROKEN"
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    with pytest.raises(APIError) as broken:
        async for _ in await openai.chat.completions.create(model="main", messages=QUESTION, stream=True):
            pass
    assert broken.value.code == "STREAM_BROKEN"


async def test_an_answer_at_its_limit(openai: AsyncOpenAI, model: FakeOpenAI) -> None:
    model.otherwise = OUT_OF_TOKENS
    answer = await openai.chat.completions.create(model="main", messages=QUESTION)
    assert answer.choices[0].finish_reason == "length"


async def test_the_first_token_comes_before_the_second_is_made(chat: ChatEdge, model: FakeOpenAI) -> None:
    model.otherwise = Fault(between_tokens_seconds=1.0)
    body = {"messages": QUESTION, "stream": True}
    async with chat.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                assert len(model.last.told) <= 1
                break


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_stops_the_model(chat: ChatEdge, model: FakeOpenAI, stream: bool) -> None:
    model.otherwise = Fault(between_tokens_seconds=0.5) if stream else Fault(before_headers_seconds=30)
    body = {"messages": QUESTION, "stream": stream}
    asking = asyncio.create_task(chat.client.post("/v1/chat/completions", json=body))
    await until(lambda: model.requests and (model.last.told or not stream))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await until(lambda: model.last.left) < 10, "on an idle machine it is a few milliseconds"


async def test_a_client_that_leaves_before_the_first_token_stops_the_model(chat: ChatEdge, model: FakeOpenAI) -> None:
    model.otherwise = Fault(before_first_token_seconds=30)
    asking = asyncio.create_task(chat.client.post("/v1/chat/completions", json={"messages": QUESTION, "stream": True}))
    await until(lambda: bool(model.requests))
    await asyncio.sleep(0.1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await until(lambda: model.last.left) < 10


async def test_a_silent_stream_is_kept_alive(chat: ChatEdge, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_stream, "KEEP_ALIVE_SECONDS", 0.1)
    model.otherwise = Fault(before_first_token_seconds=2.0)
    answer = await chat.client.post("/v1/chat/completions", json={"messages": QUESTION, "stream": True})
    assert answer.text.count(": keep-alive\n\n") >= 2
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events_of(answer.text)[:-1]) == SENTENCE


async def test_without_a_chat_service_it_is_said(tmp_path: Path) -> None:
    from integration.edge.conftest import running_edge

    async with running_edge(tmp_path, "127.0.0.1:1", TOKEN) as edge, edge.client() as client:
        answer = await client.post("/v1/chat/completions", json={"messages": QUESTION})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_AWAY")
