"""OpenAI's door to vectors: its own client and plain HTTP through a real edge and a real ChatService."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from conftest import TOKEN
from integration.edge.chat_places import ChatEdge, chat_edge
from openai import AsyncOpenAI, BadRequestError, NotFoundError, RateLimitError

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_answers import embedding
from fakes.openai_server_faults import TOO_MANY

DOORS = ("/v1/embeddings", "/api/v1/embeddings")


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(models=("tiny", "embedder")) as server:
        yield server


@pytest.fixture
async def chat(tmp_path: Path, model: FakeOpenAI) -> AsyncIterator[ChatEdge]:
    async with chat_edge(tmp_path, model, vectors=True) as running:
        yield running


@pytest.fixture
async def openai(chat: ChatEdge) -> AsyncIterator[AsyncOpenAI]:
    http = httpx.AsyncClient(trust_env=False, timeout=60)
    async with AsyncOpenAI(base_url=chat.openai_url, api_key=TOKEN, max_retries=0, http_client=http) as client:
        yield client


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_the_openai_client_has_vectors(openai: AsyncOpenAI, encoding: str) -> None:
    texts = ["bom dia", "boa noite"]
    if encoding == "float":
        answer = await openai.embeddings.create(model="embedder", input=texts, encoding_format="float")
    else:
        answer = await openai.embeddings.create(model="embedder", input=texts)  # it asks for base64 by itself
    assert (answer.model, answer.object) == ("embedder", "list")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0
    assert [item.index for item in answer.data] == [0, 1]
    for item, text in zip(answer.data, texts, strict=True):
        assert item.embedding == pytest.approx(embedding(text), abs=1e-6)


@pytest.mark.parametrize("door", DOORS)
async def test_both_doors(chat: ChatEdge, model: FakeOpenAI, door: str) -> None:
    answer = await chat.client.post(door, json={"input": "Meu CPF é 529.982.247-25."})
    assert len(answer.json()["data"][0]["embedding"]) == 64
    assert "529.982.247-25" not in str(model.last.body)


async def test_errors_are_in_openai_s_form(openai: AsyncOpenAI, model: FakeOpenAI) -> None:
    with pytest.raises(NotFoundError) as unknown:
        await openai.embeddings.create(model="tiny", input="x")
    assert unknown.value.code == "MODEL_NOT_FOUND"
    with pytest.raises(BadRequestError) as wrong:
        await openai.embeddings.create(model="embedder", input=[[1, 2]])
    assert (wrong.value.code, wrong.value.param) == ("INVALID_FIELD", "input")
    with pytest.raises(BadRequestError) as long:
        await openai.embeddings.create(model="embedder", input=["x" * 30_000] * 8)
    assert long.value.code == "TEXTS_TOO_LONG"
    model.otherwise = TOO_MANY.also(retry_after="9")
    with pytest.raises(RateLimitError) as limited:
        await openai.embeddings.create(model="embedder", input="x")
    assert limited.value.response.headers["retry-after"] == "9"


async def test_without_a_model_for_vectors_it_is_said(tmp_path: Path) -> None:
    async with FakeOpenAI() as model, chat_edge(tmp_path, model) as chat:
        answer = await chat.client.post("/v1/embeddings", json={"input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "EMBEDDINGS_NOT_CONFIGURED")
