"""Vectors: whose they are, what they cost, what the model is told for them, and documents that get theirs later."""

import asyncio
import json
import time
from typing import Any

import pytest
from integration.chat.test_kept import EMBEDDED, OTHER, budget, rows_of, save, search

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import BROKEN, NEVER, WELL, Fault
from malha.api.chat.v1 import chat_pb2
from malha.runtime.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from malha.store.database import Database

PRICED = EMBEDDED + "prices = { input = 1000000 }\n"
SOON = {"knowledge_retry_seconds": 0.1}
REFUSED = Fault(status=400)


async def embed(place: Any, *texts: str, authorization: Any = None) -> chat_pb2.EmbedResponse:
    answer: chat_pb2.EmbedResponse = await place.unary("Embed", chat_pb2.EmbedRequest(texts=texts), authorization)
    return answer


async def vectors_of(place: Any, count: int) -> list[Any]:
    return await rows_of(place, "SELECT document_id, piece, model FROM knowledge_vector ORDER BY 1, 2", count)


async def test_each_request_for_vectors_has_a_row_and_is_paid_for(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, PRICED, database) as place:
        await budget(place, daily=10)
        await embed(place, "bom dia", "boa noite")
        [call] = await rows_of(place, "SELECT * FROM ai_call")
        assert (call["purpose"], call["deployment"], call["model"], call["status"]) == ("embed", "vectors", "embedder", "ok")
        assert (call["input_tokens"], call["output_tokens"]) == (5, 0)
        [spent] = await rows_of(place, "SELECT * FROM ai_spend WHERE calls > 0")
        assert (spent["deployment"], spent["spent"], spent["reserved"]) == ("vectors", 5, 0)
        asked = len(model.requests)
        with pytest.raises(ResourceExhausted) as refused:
            await embed(place, "bom dia", "boa noite", "boa tarde")
        assert refused.value.reason == "BUDGET_EXHAUSTED"
        assert len(model.requests) == asked
        await embed(place, "bom dia", "boa noite", "boa tarde", authorization=OTHER)  # of another tenant's account


async def test_vectors_that_were_not_made_cost_nothing_and_free_what_was_set_aside(
    serving: Any, model: FakeOpenAI, database: Database
) -> None:
    model.otherwise = BROKEN
    async with serving(model, PRICED, database) as place:
        await budget(place, daily=10)
        with pytest.raises(Unavailable):
            await embed(place, "bom dia")
        [call] = await rows_of(place, "SELECT * FROM ai_call")
        assert (call["status"], call["reason"], call["cost"]) == ("unavailable", "MODEL_UNAVAILABLE", 0)
        [spent] = await rows_of(place, "SELECT * FROM ai_spend WHERE calls > 0")
        assert (spent["spent"], spent["reserved"]) == (0, 0)


async def test_a_model_for_vectors_that_keeps_failing_is_left_alone(serving: Any, model: FakeOpenAI) -> None:
    model.otherwise = BROKEN
    async with serving(model, EMBEDDED) as place:
        for _ in range(5):
            with pytest.raises(Unavailable):
                await embed(place, "bom dia")
        with pytest.raises(Unavailable) as refused:
            await embed(place, "bom dia")
        assert refused.value.reason == "MODEL_BREAKER_OPEN"
        assert len(model.requests) == 5


async def test_personal_data_does_not_go_to_the_model_for_vectors(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, EMBEDDED, database) as place:
        await save(place, "A garantia é de um ano.")
        await embed(place, "meu CPF é 529.982.247-25", "o telefone, 11 98765-4321")
        await search(place, "garantia do CPF 529.982.247-25")
        told = json.dumps([request.body["input"] for request in model.requests])
        assert "[CPF]" in told
        assert "[PHONE]" in told
        assert not any(number in told for number in ("529", "98765"))
        await place.run(
            "INSERT INTO insight_configuration (tenant_id, revision, body) VALUES (malha_tenant(), 1, '{\"keep_personal_data\": true}')",
            tenant="other",
        )
        await embed(place, "meu CPF é 529.982.247-25", authorization=OTHER)
        assert model.last.body["input"] == ["meu CPF é 529.982.247-25"]


async def test_so_many_bytes_and_no_more(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, EMBEDDED, given={"chat_embed_bytes": 20}) as place:
        await embed(place, "é" * 5, "a" * 10)
        with pytest.raises(InvalidArgument) as refused:
            await embed(place, "é" * 5, "a" * 11)
        assert refused.value.reason == "TEXTS_TOO_LONG"
        assert len(model.requests) == 1


@pytest.mark.parametrize("fault", [BROKEN, NEVER], ids=["500", "hangs"])
async def test_documents_saved_while_the_model_was_away_get_their_vectors_later(
    serving: Any, model: FakeOpenAI, database: Database, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("bases", "backfill"):
        monkeypatch.setattr(f"malha.chat.knowledge.{module}.EMBED_SECONDS", 0.3)
    model.otherwise = fault
    async with serving(model, EMBEDDED + "breaker = { open_seconds = 0.2 }\n", database, SOON) as place:
        await save(place, "The quick brown fox.", id="fox", language="en")
        await save(place, "Nothing in common here.", id="none", language="en")
        assert not await search(place, "the of"), "no word is found"
        assert not await place.run("SELECT FROM knowledge_vector")
        model.otherwise = WELL
        rows = await vectors_of(place, 2)
        assert [(row["document_id"], row["model"]) for row in rows] == [("fox", "vectors"), ("none", "vectors")]
        deadline = time.monotonic() + 20
        while not (found := await search(place, "The the brown")) or found[0].document_id != "fox":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        calls = await rows_of(place, "SELECT purpose FROM ai_call", 2)
        assert {row["purpose"] for row in calls} == {"knowledge"}


async def test_what_another_process_left_without_vectors_is_found_when_it_is_searched(
    serving: Any, model: FakeOpenAI, database: Database
) -> None:
    async with serving(model, database=database) as place:  # with no model for vectors
        await save(place, "The quick brown fox.", id="fox", language="en")
    async with serving(model, EMBEDDED, database, SOON) as place:
        assert await search(place, "brown")
        await vectors_of(place, 1)


async def test_a_document_the_model_refuses_does_not_hold_the_others_up(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, database=database) as place:
        for name in ("a", "b", "c"):
            await save(place, f"O texto do documento {name}.", id=name)
    model.faults += [REFUSED]
    async with serving(model, EMBEDDED, database, SOON) as place:
        await search(place, "texto")
        assert [row["document_id"] for row in await vectors_of(place, 2)] == ["b", "c"]
        asked = len(model.requests)
        await asyncio.sleep(0.5)
        assert len(model.requests) == asked, "it is not asked for ever"


async def test_vectors_of_a_text_that_was_replaced_meanwhile_are_not_kept(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, database=database) as place:
        await save(place, "O primeiro texto.", id="a")
    model.faults += [Fault(before_headers_seconds=2.0)]
    async with serving(model, EMBEDDED, database, SOON) as place:
        await search(place, "texto")
        while not model.requests:
            await asyncio.sleep(0.01)
        await place.run("UPDATE knowledge_document SET text = 'O segundo texto.', updated_at = clock_timestamp()")
        await search(place, "texto")
        await vectors_of(place, 1)
        assert [request.body["input"] for request in model.requests] == [["O primeiro texto."], ["O segundo texto."]]


async def test_without_a_model_for_vectors_none_are_wanted(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, database=database, given=SOON) as place:
        await save(place, "A garantia é de um ano.")
        assert await search(place, "garantia")
        with pytest.raises(FailedPrecondition) as refused:
            await embed(place, "x")
        assert refused.value.reason == "EMBEDDINGS_NOT_CONFIGURED"
        assert not model.requests
