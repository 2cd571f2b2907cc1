"""The fake that other tests rely on: it speaks the protocol, each fault is what it says, and what came is kept."""

import asyncio
import base64
import json
import struct
import time
from collections.abc import Callable

import httpx
import pytest

from fakes import openai_server_faults as faults
from fakes.openai_server import FakeOpenAI
from fakes.openai_server_answers import GOING_ON, SENTENCE
from fakes.openai_server_faults import Fault

INSIGHT = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["risk_alert", "next_step"]},
        "message": {"type": "string", "maxLength": 60},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "evidence": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "insight", "schema": INSIGHT}}


def question(text: str = "Bom dia.", **fields: object) -> dict[str, object]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **fields}


async def ask(server: FakeOpenAI, path: str = "/chat/completions", **fields: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=30) as client:
        body = {"model": "tiny", "input": "x"} if path == "/embeddings" else question()
        return await client.post(path, json=body | fields, headers={"authorization": "Bearer secret"})


async def stream(
    server: FakeOpenAI, events: list[dict[str, object]] | None = None, **fields: object
) -> tuple[list[dict[str, object]], bool, list[float]]:
    """The events of a stream, also into ``events`` as they come; whether ``[DONE]`` ended it, and how many seconds after its begin each came."""
    events, done, times, began = [] if events is None else events, False, [], time.monotonic()
    async with (
        httpx.AsyncClient(base_url=server.base_url, timeout=30) as client,
        client.stream("POST", "/chat/completions", json=question(stream=True, **fields)) as response,
    ):
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                done = True
            elif line:
                events.append(json.loads(line.removeprefix("data: ")))
                times.append(time.monotonic() - began)
    return events, done, times


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


def said(events: list[dict[str, object]]) -> str:
    return "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])


async def test_it_answers_as_json_and_keeps_what_it_was_asked() -> None:
    async with FakeOpenAI(lambda request: f"Ouvi: {request.prompt}") as server:
        answer = (await ask(server, cache_salt="tenant")).json()
        assert answer["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "Ouvi: Bom dia."}, "finish_reason": "stop"}]
        assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
        assert (server.last.key, server.last.cache_salt, server.last.prompt, server.last.path) == (
            "secret",
            "tenant",
            "Bom dia.",
            "/v1/chat/completions",
        )
        assert not server.last.left


async def test_it_streams_with_usage_and_done() -> None:
    async with FakeOpenAI() as server:
        events, done, _ = await stream(server, stream_options={"include_usage": True})
        assert said(events) == SENTENCE
        assert done
        assert events[-2]["choices"][0]["finish_reason"] == "stop"
        assert events[-1]["usage"]["completion_tokens"] == len(SENTENCE.split())
        assert "".join(server.last.told) == SENTENCE
        assert not server.last.left


async def test_a_schema_is_obeyed_and_a_limit_of_tokens_ends_the_answer() -> None:
    async with FakeOpenAI() as server:
        answer = (await ask(server, response_format=SCHEMA)).json()["choices"][0]
        assert json.loads(answer["message"]["content"]) == {
            "type": "risk_alert",
            "message": SENTENCE,
            "confidence": 0,
            "evidence": [SENTENCE],
        }
        short = (await ask(server, max_tokens=2)).json()["choices"][0]
        assert (short["message"]["content"], short["finish_reason"]) == ("Certo. Vou", "length")


async def test_models_keys_and_embeddings() -> None:
    async with FakeOpenAI(models=("tiny", "other"), key="secret") as server:
        async with httpx.AsyncClient(base_url=server.base_url) as client:
            assert (await client.post("/chat/completions", json=question())).status_code == 401
            listed = await client.get("/models", headers={"authorization": "Bearer secret"})
            assert [model["id"] for model in listed.json()["data"]] == ["tiny", "other"]
        assert (await ask(server, model="none")).status_code == 404
        plain = (await ask(server, "/embeddings", input=["a fatura veio errada", "errada veio a fatura", "bom dia"])).json()["data"]
        first, same, other = (item["embedding"] for item in plain)
        assert first == same != other
        packed = (await ask(server, "/embeddings", input="a fatura veio errada", encoding_format="base64")).json()["data"][0]["embedding"]
        assert struct.unpack(f"<{len(first)}f", base64.b64decode(packed)) == pytest.approx(first)


async def test_the_script_is_one_fault_a_request_and_then_otherwise() -> None:
    async with FakeOpenAI() as server:
        server.faults += [faults.TOO_MANY, faults.OVERLOADED]
        first, second, third = [await ask(server) for _ in range(3)]
        assert (first.status_code, first.headers["retry-after"], first.json()["error"]["type"]) == (429, "1", "rate_limit_error")
        assert (second.status_code, third.status_code) == (503, 200)
        server.otherwise = faults.BROKEN
        assert [(await ask(server)).status_code for _ in range(2)] == [500, 500]


async def test_answers_that_are_wrong_in_what_they_say() -> None:
    def insight(_: object) -> str:
        return json.dumps({"type": "risk_alert", "message": "Quer cancelar.", "confidence": 0.9, "evidence": ["s1"]})

    async with FakeOpenAI(insight) as server:

        async def choice(fault: Fault) -> tuple[str, str]:
            server.faults.append(fault)
            answered = (await ask(server)).json()["choices"][0]
            return answered["message"]["content"], answered["finish_reason"]

        assert await choice(faults.EMPTY) == ("", "stop")
        assert json.loads((await choice(faults.WRONG_IDS))[0])["evidence"] == ["00000000-0000-7000-8000-000000000000"]
        english = json.loads((await choice(faults.WRONG_LANGUAGE))[0])
        assert (english["message"].split()[0], english["evidence"], english["type"]) == ("The", ["s1"], "risk_alert")
        for fault, reason in ((faults.CUT_TEXT, "stop"), (faults.OUT_OF_TOKENS, "length"), (faults.PROSE, "stop")):
            text, told = await choice(fault)
            assert told == reason
            with pytest.raises(ValueError, match=r"."):
                json.loads(text)
        assert len((await choice(faults.HUGE))[0]) > 1_000_000


async def test_answers_that_are_no_json() -> None:
    async with FakeOpenAI() as server:
        server.faults += [faults.JUNK, faults.CUT_BODY, faults.JUNK]
        for _ in range(2):
            answer = await ask(server)
            assert answer.status_code == 200
            with pytest.raises(ValueError, match=r"."):
                answer.json()
        with pytest.raises(ValueError, match=r"."):
            await stream(server)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("after", [0, 2])
async def test_a_connection_is_reset(streaming: bool, after: int) -> None:
    async with FakeOpenAI() as server:
        server.faults.append(Fault(reset_after=after))
        with pytest.raises(httpx.ReadError):
            await (stream(server) if streaming else ask(server))
        assert (await ask(server)).status_code == 200


async def test_a_stream_ends_without_done() -> None:
    async with FakeOpenAI() as server:
        server.faults.append(faults.CUT_STREAM)
        events, done, _ = await stream(server)
        assert said(events) == "Certo. Vou"
        assert not done


@pytest.mark.parametrize(
    ("wait", "before"), [("before_headers_seconds", 0), ("before_first_token_seconds", 1), ("between_tokens_seconds", 2)]
)
async def test_latency_lies_where_it_was_put(wait: str, before: int) -> None:
    """So many events come before it."""
    came: list[dict[str, object]] = []
    async with FakeOpenAI(lambda _: "um dois três") as server:
        server.faults.append(Fault(**{wait: 600.0}))
        streaming = asyncio.create_task(stream(server, came))
        await until(lambda: server.requests and len(came) >= before)
        await asyncio.sleep(0.1)
        assert len(came) == before
        streaming.cancel()
        await asyncio.wait({streaming})


async def test_latency_lasts_as_long_as_it_was_to() -> None:
    """Counted from the begin: where an event comes late, as on a busy machine, the next comes the sooner after it."""
    async with FakeOpenAI(lambda _: "um dois três") as server:
        server.faults += [
            Fault(before_headers_seconds=0.3),
            Fault(before_first_token_seconds=0.3),
            Fault(between_tokens_seconds=0.3),
        ]
        _, _, (role, *_) = await stream(server)
        assert role >= 0.3
        _, _, (_, first, *_) = await stream(server)
        assert first >= 0.3
        _, _, (_, _, second, third, _) = await stream(server)
        assert second >= 0.3
        assert third >= 0.6


async def test_who_leaves_is_noticed() -> None:
    async with FakeOpenAI() as server:
        server.faults += [faults.NEVER, Fault(before_headers_seconds=600), Fault(between_tokens_seconds=600)]
        for number, (fields, told) in enumerate((({}, 0), ({}, 0), ({"stream": True}, 1)), start=1):
            asking = asyncio.create_task(ask(server, **fields))
            await until(lambda number=number, told=told: len(server.requests) == number and len(server.last.told) == told)
            assert not server.last.left
            asking.cancel()
            await until(lambda: server.last.left)
        assert server.last.told == ["Certo."]


async def test_it_stops_with_an_answer_under_way() -> None:
    async with FakeOpenAI() as server:
        server.faults.append(faults.NEVER)
        asking = asyncio.create_task(ask(server))
        await until(lambda: server.requests)
    with pytest.raises(httpx.HTTPError):
        await asyncio.wait_for(asking, 30)


async def test_it_goes_on_from_a_beginning_as_vllm_does_where_it_is_to() -> None:
    begun = question(continue_final_message=True, add_generation_prompt=False)
    for said, continues, told in (
        ("Certo. Vou", True, SENTENCE.removeprefix("Certo. Vou")),
        ("Outra coisa.", True, GOING_ON),
        ("Certo. Vou", False, SENTENCE),
    ):
        begun["messages"] = [{"role": "user", "content": "Bom dia."}, {"role": "assistant", "content": said}]
        async with FakeOpenAI(continues=continues) as server:
            assert (await ask(server, **begun)).json()["choices"][0]["message"]["content"] == told
            assert server.last.begun == said
            await ask(server, messages=begun["messages"])
            assert server.last.begun is None
