"""Answers of language models through the SDK: a real ChatService before a model that obeys the tests."""

import asyncio
import threading
from pathlib import Path

import pytest
from conftest import TOKEN

from fakes.chat_process import MODELS
from fakes.openai_server import FakeOpenAI
from fakes.openai_server_answers import SENTENCE
from fakes.openai_server_faults import OVERLOADED, RESET, Fault
from fakes.serving import served
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
from malha.runtime.settings import RuntimeSettings
from malha.sdk import ChatAnswer, ChatDelta, ChatMessage, FailedPrecondition, InvalidRequest, Malha, MalhaSync, NotFound, Unavailable


@pytest.fixture
async def model():
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def target(tmp_path: Path, settings: RuntimeSettings, model: FakeOpenAI):
    file = tmp_path / "models.toml"
    file.write_text(MODELS.format(url=model.base_url))
    service = ChatService(ChatSettings(_env_file=None, models_file=file), tmp_path)
    async with served([service], settings) as server:
        yield server.target


@pytest.fixture
async def malha(target: str):
    async with Malha(target, TOKEN) as client:
        yield client


async def test_an_answer_as_it_is_made(malha: Malha, model: FakeOpenAI):
    events = [
        event
        async for event in malha.chat("Qual é o prazo?", alias="main", system="Seja breve.", temperature=0.3, max_tokens=300, stop="#")
    ]
    *deltas, answer = events
    assert all(isinstance(delta, ChatDelta) for delta in deltas)
    assert len(deltas) > 1
    assert "".join(delta.text for delta in deltas) == SENTENCE
    assert isinstance(answer, ChatAnswer)
    assert (answer.text, answer.alias, answer.model, answer.engine, answer.finish_reason) == (SENTENCE, "main", "tiny", "openai", "stop")
    assert answer.completion_tokens > 0
    assert 0 < answer.first_token_seconds <= answer.total_seconds
    body = model.last.body
    assert (body["temperature"], body["stop"], model.last.most_tokens) == (0.3, ["#"], 300)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


async def test_a_whole_answer_with_a_history(malha: Malha, model: FakeOpenAI):
    history = [ChatMessage("user", "Oi"), ChatMessage("assistant", "Olá!")]
    answer = await malha.complete("Qual é o prazo?", history=history)
    assert answer.text == SENTENCE
    assert [message["content"] for message in model.last.body["messages"]][1:] == ["Oi", "Olá!", "Qual é o prazo?"]
    with pytest.raises(InvalidRequest):
        await malha.complete("x", history=[ChatMessage("robot", "Oi")])  # type: ignore[arg-type]  # what is refused


async def test_an_answer_to_a_schema(malha: Malha, model: FakeOpenAI):
    schema = {"type": "object", "properties": {"message": {"type": "string", "maxLength": 50}}, "required": ["message"]}
    answer = await malha.complete("Qual é o prazo?", schema=schema)
    assert answer.text.startswith("{")
    assert model.last.schema == schema


async def test_the_models(malha: Malha):
    assert "main" in [model.alias for model in await malha.chat_models()]


async def test_what_goes_wrong(malha: Malha, model: FakeOpenAI):
    with pytest.raises(NotFound) as unknown:
        await malha.complete("x", alias="none")
    assert unknown.value.reason == "MODEL_NOT_FOUND"
    with pytest.raises(FailedPrecondition) as unset:
        await malha.complete("x", conversation_id="c1")
    assert unset.value.reason == "STORE_NOT_CONFIGURED"
    with pytest.raises(InvalidRequest):
        await malha.complete("")
    model.otherwise = OVERLOADED
    with pytest.raises(Unavailable):
        await malha.complete("x")


async def test_an_answer_that_broke_off_says_so(malha: Malha, model: FakeOpenAI):
    model.otherwise = RESET.also(between_tokens_seconds=0.05)
    *deltas, answer = [event async for event in malha.chat("x")]
    assert isinstance(answer, ChatAnswer)
    assert (answer.finish_reason, answer.reason) == ("error", "STREAM_BROKEN")
    assert answer.text == "".join(delta.text for delta in deltas) != ""


async def test_leaving_the_loop_stops_the_model(malha: Malha, model: FakeOpenAI):
    model.otherwise = Fault(between_tokens_seconds=0.5)
    async for event in malha.chat("x"):
        assert event.text
        break
    async with asyncio.timeout(10):
        while not model.last.left:
            await asyncio.sleep(0.01)


async def test_without_await(target: str):
    """In a thread of its own: the server runs in this one."""

    def use() -> tuple[list[str], str, int]:
        with MalhaSync(target, TOKEN) as malha:
            texts = [event.text for event in malha.chat("x") if isinstance(event, ChatDelta)]
            return texts, malha.complete("x").text, len(malha.chat_models())

    texts, whole, count = await asyncio.to_thread(use)
    assert "".join(texts) == whole == SENTENCE
    assert count >= 1
    assert not [thread for thread in threading.enumerate() if thread.name == "malha-sync"]
