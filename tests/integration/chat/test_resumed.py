"""Answers whose stream was lost: asked for again with what was received of them, by servers that never saw the first stream."""

import asyncio
import time
from typing import Any

import pytest
from integration.chat.chatting import MODELS, Place

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_answers import GOING_ON, SENTENCE
from fakes.openai_server_faults import BROKEN, CUT_STREAM, RESET, TOO_MANY, Fault
from malha.api.chat.v1 import chat_pb2
from malha.runtime.errors import InvalidArgument, ResourceExhausted

RECEIVED = "Certo. Vou"
REST = SENTENCE.removeprefix(RECEIVED)
CONTINUES = MODELS + "continues = true\n"
TWO = """
default = "main"
aliases.main.deployment = "one"
last_resort = false
[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
fallback = "two"
[deployments.two]
engine = "openai"
base_url = "{url}"
model = "large"
"""
EXTRACTIVE = 'default = "main"\n[aliases.main]\ndeployment = "extractive"\n'
KNOWN = "O prazo de entrega é de cinco dias úteis. O frete é grátis."
SCHEMA = '{"type":"object","properties":{"message":{"type":"string"}}}'


@pytest.fixture
async def model() -> Any:
    async with FakeOpenAI(models=("tiny", "large"), key="secret-key", continues=True) as server:
        yield server


async def resume(place: Place, received: str, text: str = "Qual é o prazo?", known: str = "", **fields: Any) -> tuple[str, Any]:
    talk = place.talk()
    await talk.open(**fields)
    if known:
        await talk.say(known, context=True)
    answer = await talk.ask(text, received=received)
    await talk.finish()
    return answer


async def test_a_model_that_continues_is_given_the_beginning(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, CONTINUES) as place:
        text, end = await resume(place, RECEIVED)
        assert text == REST
        assert (end.finish_reason, end.reason, end.degraded, end.completion_tokens) == ("stop", "", False, 4)
        body = model.last.body
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
        assert body["messages"][-1] == {"role": "assistant", "content": RECEIVED}


async def test_a_server_that_says_it_is_vllm_continues(serving: Any) -> None:
    async with FakeOpenAI(key="secret-key", owner="vllm", continues=True) as vllm, serving(vllm) as place:
        text, _ = await resume(place, RECEIVED)
        assert text == REST
        assert vllm.last.begun == RECEIVED
        await resume(place, "")
        assert vllm.last.begun is None


async def test_another_is_asked_for_the_whole_and_says_the_same_first(serving: Any, model: FakeOpenAI) -> None:
    for received in (RECEIVED, "Certo. Vou veri", SENTENCE):
        async with serving(model) as place:
            text, end = await resume(place, received)
            assert text == SENTENCE.removeprefix(received)
            assert (end.finish_reason, end.degraded, end.completion_tokens) == ("stop", False, 6)
            assert "continue_final_message" not in model.last.body
            assert model.last.body["messages"][-1]["role"] == "user"


@pytest.mark.parametrize("received", ["Outra coisa.", "certo. Vou", SENTENCE + " E mais."])
async def test_a_whole_that_begins_otherwise_is_no_way_on(serving: Any, model: FakeOpenAI, received: str) -> None:
    async with serving(model) as place:
        text, end = await resume(place, received)
        assert (text, end.finish_reason, end.reason) == ("", "error", "STREAM_BROKEN")


async def test_a_model_that_says_something_else_is_stopped_at_once(serving: Any, model: FakeOpenAI) -> None:
    model.otherwise = Fault(between_tokens_seconds=0.2, answer=lambda _: "palavra " * 300)
    async with serving(model) as place:
        began = time.monotonic()
        assert (await resume(place, "Outra coisa."))[1].reason == "STREAM_BROKEN"
        assert time.monotonic() - began < 30  # all of it takes a minute
        while not model.requests[0].left:
            await asyncio.sleep(0.01)


async def test_quotes_go_on_as_they_were(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, EXTRACTIVE) as place:
        whole, _ = await resume(place, "", "Qual é o prazo de entrega?", KNOWN)
        for cut in (1, 30, len(whole) - 1, len(whole)):
            text, end = await resume(place, whole[:cut], "Qual é o prazo de entrega?", KNOWN)
            assert whole[:cut] + text == whole
            assert (end.finish_reason, end.engine) == ("stop", "extractive")
    async with serving(model) as place:  # the model is back, and would say something else
        text, end = await resume(place, whole[:30], "Qual é o prazo de entrega?", KNOWN)
        assert whole[:30] + text == whole
        assert (end.engine, end.degraded) == ("extractive", True)


async def test_whoever_continues_is_asked_first(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, TWO + "continues = true\n") as place:
        text, end = await resume(place, RECEIVED)
        assert (text, end.model, end.degraded) == (REST, "large", True)
        assert [request.body["model"] for request in model.requests] == ["large"]
        model.faults.append(BROKEN)
        text, end = await resume(place, RECEIVED)
        assert (text, end.model, end.degraded) == (REST, "tiny", False)
        text, end = await resume(place, "")
        assert (text, end.model) == (SENTENCE, "tiny")


async def test_an_answer_that_was_whole_ends_at_once(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, CONTINUES) as place:
        text, end = await resume(place, SENTENCE)
        assert (text, end.finish_reason, end.reason, end.completion_tokens) == ("", "stop", "", 0)


@pytest.mark.parametrize(
    ("received", "reply", "rest"),
    [
        ("Certo.\n\n", "Certo.\n\nVou", "Vou"),
        ("Certo.\n", "Certo.\n\nVou", "\nVou"),
        ("Certo. \n", "Certo. Vou já", "Vou já"),
        ("Certo. ", "Certo.", ""),
        (" \n", "Certo.", "Certo."),
    ],
)
async def test_white_space_at_the_end_is_not_told_twice(serving: Any, model: FakeOpenAI, received: str, reply: str, rest: str) -> None:
    model.reply = lambda _: reply
    async with serving(model, CONTINUES) as place:
        text, end = await resume(place, received)
        assert (text, end.finish_reason) == (rest, "stop")
        assert model.last.begun == (received.rstrip() or None)


async def test_what_was_received_counts_into_the_limit_of_tokens(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, CONTINUES) as place:
        limit = chat_pb2.Parameters(max_tokens=30)
        await resume(place, RECEIVED, parameters=limit)
        assert model.last.most_tokens == 30 - 3
        model.reply = lambda _: "palavra " * 90
        text, end = await resume(place, "palavra " * 40, parameters=limit)
        assert model.last.most_tokens == 1
        assert (text, end.finish_reason, end.reason) == ("palavra", "length", "MAX_TOKENS")
    async with serving(model) as place:
        await resume(place, "palavra ", parameters=limit)
        assert model.last.most_tokens == 30


async def test_personal_data_in_it_does_not_reach_the_model(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, CONTINUES) as place:
        text, _ = await resume(place, "O seu CPF é 529.982.247-25.", language="pt-BR")
        assert text == GOING_ON
        assert model.last.begun == "O seu CPF é [CPF]."


async def test_where_nothing_goes_on_it_is_refused(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, CONTINUES) as place:
        for opening, message in [
            ({"response_schema": SCHEMA}, {}),
            ({}, {"context": True}),
            ({}, {"author": chat_pb2.AUTHOR_ASSISTANT}),
            ({}, {"author": chat_pb2.AUTHOR_SYSTEM}),
        ]:
            talk = place.talk()
            await talk.open(**opening)
            with pytest.raises(InvalidArgument) as refused:
                await talk.ask("Oi", received="Certo", **message)
            assert refused.value.reason == "RECEIVED_UNEXPECTED"
            assert list(refused.value.violations) == ["message.received"]
        assert not model.requests


@pytest.mark.parametrize("models", [MODELS, CONTINUES])
async def test_with_too_long_a_beginning_the_prompt_is_too_long(serving: Any, model: FakeOpenAI, models: str) -> None:
    async with serving(model, models) as place:
        for text, received in (("Oi", "palavra " * 20_000), ("palavra " * 2_000, "palavra " * 2_000)):
            with pytest.raises(InvalidArgument) as refused:
                await resume(place, received, text)
            assert refused.value.reason == "PROMPT_TOO_LONG"
        assert not model.requests


@pytest.mark.parametrize("fault", [RESET, CUT_STREAM, Fault(between_tokens_seconds=20)])
async def test_a_stream_that_breaks_goes_on_where_it_broke(serving: Any, model: FakeOpenAI, fault: Fault) -> None:
    model.faults.append(fault)
    async with serving(model, CONTINUES + "timeouts = { stall_seconds = 1 }\n") as place:
        text, end = await resume(place, "")
        assert text == SENTENCE
        assert (end.finish_reason, end.reason, end.degraded) == ("stop", "", True)
        first, second = model.requests
        assert second.begun
        assert second.begun == "".join(first.told)[: len(second.begun)]
        assert second.begun + "".join(second.told) == SENTENCE


async def test_it_breaks_twice_and_then_ends(serving: Any, model: FakeOpenAI) -> None:
    model.otherwise = Fault(end_after=1)
    async with serving(model, CONTINUES) as place:
        text, end = await resume(place, "")
        assert (text, end.finish_reason, end.reason) == ("Certo. Vou", "error", "STREAM_BROKEN")
        text, end = await resume(place, text)
        assert (text, end.reason) == (" verificar isso", "STREAM_BROKEN")
        assert end.completion_tokens > 0


async def test_where_no_model_answers_it_says_why_and_when_to_ask_again(serving: Any, model: FakeOpenAI) -> None:
    model.otherwise = TOO_MANY.also(retry_after="60")
    async with serving(model, CONTINUES) as place:
        text, end = await resume(place, RECEIVED)
        assert (text, end.finish_reason, end.reason, end.retry_after.seconds) == ("", "error", "MODEL_RATE_LIMITED", 60)


async def test_a_full_model_is_told_as_it_is_without_a_beginning(serving: Any, model: FakeOpenAI) -> None:
    model.otherwise = Fault(between_tokens_seconds=0.5)  # 2.5 s in all
    async with serving(model, CONTINUES + "max_concurrent = 1\nmax_waiting = 0\n") as place:
        first = asyncio.create_task(resume(place, ""))
        while not model.requests:
            await asyncio.sleep(0.01)
        with pytest.raises(ResourceExhausted) as refused:
            await resume(place, RECEIVED)
        assert refused.value.reason == "MODEL_BUSY"
        await first


async def test_what_is_said_later_follows_on_the_whole_answer(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, CONTINUES) as place:
        talk = place.talk()
        await talk.open()
        await talk.ask("Qual é o prazo?", received=RECEIVED)
        await talk.ask("E o frete?")
        assert [message["content"] for message in model.last.body["messages"]][1:] == ["Qual é o prazo?", SENTENCE, "E o frete?"]
        await talk.finish()
