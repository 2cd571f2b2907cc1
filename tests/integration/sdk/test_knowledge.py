"""Knowledge bases and vectors through the SDK: a real ChatService with a real database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from conftest import OTHER_TOKEN, TOKEN

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_answers import embedding
from fakes.serving import served
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
from malha.runtime.settings import RuntimeSettings
from malha.sdk import FailedPrecondition, InvalidRequest, Malha, MalhaSync, NotFound, QuotaExceeded, knowledge
from malha.store.database import Database
from malha.store.tokens import Tokens

MODELS = """
default = "main"
embeddings = "vectors"
[aliases.main]
deployment = "one"
[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
[deployments.vectors]
engine = "openai"
base_url = "{url}"
model = "embedder"
embeddings = true
"""


@pytest.fixture
async def target(tmp_path: Path, settings: RuntimeSettings, database: Database) -> AsyncIterator[str]:
    async with FakeOpenAI(models=("tiny", "embedder")) as model:
        file = tmp_path / "models.toml"
        file.write_text(MODELS.format(url=model.base_url))
        service = ChatService(ChatSettings(_env_file=None, models_file=file, knowledge_documents=4), tmp_path, database)
        async with served([service], settings, Tokens(database)) as server:
            yield server.target


@pytest.fixture
async def malha(target: str) -> AsyncIterator[Malha]:
    async with Malha(target, TOKEN) as client:
        yield client


async def test_documents_are_kept_replaced_found_listed_and_deleted(malha: Malha) -> None:
    kept = await malha.save_document("help", "A garantia é de um ano.", document_id="g", title="Garantia", language="pt")
    assert (kept.id, kept.knowledge_base, kept.title, kept.language) == ("g", "help", "Garantia", "pt")
    assert kept.update_time is not None
    replaced = await malha.save_document("help", "A garantia é de dois anos.", document_id="g", title="Garantia")
    assert replaced.update_time is not None
    assert replaced.update_time > kept.update_time
    made = await malha.save_document("help", "O frete é grátis.")
    assert made.id
    [best, *_] = await malha.search_documents("help", "Quais garantias eu tenho?", limit=1)
    assert (best.document_id, best.title, best.quote) == ("g", "Garantia", "A garantia é de dois anos.")
    assert {document.id for document in await malha.documents("help")} == {"g", made.id}
    answer = await malha.complete("Qual é a garantia?", knowledge_base="help")
    assert "g" in [cited.document_id for cited in answer.citations]
    await malha.delete_document("help", "g")
    assert [document.id for document in await malha.documents()] == [made.id]
    with pytest.raises(NotFound):
        await malha.delete_document("help", "g")


async def test_all_pages_are_listed(malha: Malha, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "_PAGE", 2)
    for base, name in (("b", "2"), ("a", "1"), ("a", "3"), ("c", "1"), ("a", "2")):
        await malha.save_document(base, "Um texto.", document_id=name)
    told = [(document.knowledge_base, document.id) for document in await malha.documents()]
    assert told == [("a", "1"), ("a", "2"), ("a", "3"), ("b", "2"), ("c", "1")]
    assert [document.id for document in await malha.documents("a")] == ["1", "2", "3"]


async def test_what_goes_wrong(malha: Malha, target: str) -> None:
    for base, text in (("help", " "), ("", "Um texto.")):
        with pytest.raises(InvalidRequest):
            await malha.save_document(base, text)
    for number in range(4):
        await malha.save_document("help", "Um texto.", document_id=str(number))
    with pytest.raises(QuotaExceeded) as full:
        await malha.save_document("help", "Um texto.")
    assert full.value.reason == "KNOWLEDGE_BASE_FULL"
    async with Malha(target, OTHER_TOKEN) as theirs:
        assert await theirs.documents("help") == ()
        assert await theirs.search_documents("help", "texto") == ()
        with pytest.raises(NotFound):
            await theirs.delete_document("help", "0")


async def test_vectors(malha: Malha) -> None:
    one, other = await malha.embed(["bom dia", "boa noite"])
    assert one == pytest.approx(embedding("bom dia"), abs=1e-6)
    assert other == pytest.approx(embedding("boa noite"), abs=1e-6)
    assert await malha.embed("bom dia", alias="embedder") == (one,)
    with pytest.raises(NotFound):
        await malha.embed("x", alias="tiny")


async def test_without_a_store_it_is_said(tmp_path: Path, settings: RuntimeSettings) -> None:
    service = ChatService(ChatSettings(_env_file=None), tmp_path)
    async with served([service], settings) as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(FailedPrecondition) as unkept:
            await malha.save_document("help", "Um texto.")
        assert unkept.value.reason == "STORE_NOT_CONFIGURED"


async def test_without_await(target: str) -> None:
    def use() -> tuple[int, int, int]:
        with MalhaSync(target, TOKEN) as malha:
            malha.save_document("help", "A garantia é de um ano.", document_id="g")
            count, found = len(malha.documents("help")), len(malha.search_documents("help", "garantia"))
            malha.delete_document("help", "g")
            return count, found, len(malha.embed("x"))

    assert await asyncio.to_thread(use) == (1, 1, 1)
