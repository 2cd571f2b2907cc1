"""Interactions in a real database: written together, filled in later, and none sunk by its neighbour."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes.postgres import make_tenant
from malha.insight import interactions as module
from malha.insight.interaction_store import Interaction, InteractionStore, Place, interaction_id
from malha.insight.interactions import LOST, Interactions
from malha.store.database import Database

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SPEAKER = {"role": "customer", "start": 0.0, "end": 2.0, "segment_id": "0-1"}


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Interactions]:
    """A writer that runs."""
    writer = Interactions(database)
    writer.start()
    yield writer
    await writer.close()


@pytest.fixture
async def place(database: Database) -> Place:
    """Of a session of a tenant."""
    return await new_place(database)


async def new_place(database: Database) -> Place:
    tenant, conversation = await make_tenant(database), uuid.uuid4()
    async with database.tenant_tx(tenant) as connection:
        await connection.execute(
            "INSERT INTO conversation (tenant_id, id, external_id) VALUES ($1, $2, $3)", tenant, conversation, str(conversation)
        )
    return Place(tenant, conversation, uuid.uuid4(), "token-1", "balcao-7")


def interaction(place: Place, seq: int = 1, text: str = "quero cancelar", **fields: Any) -> Interaction:
    return Interaction(interaction_id(place.session_id, seq), seq, text, SPEAKER, NOW, NOW, **fields)


async def rows(database: Database, place: Place) -> list[dict[str, Any]]:
    async with database.tenant_tx(place.tenant_id) as connection:
        return [dict(row) for row in await connection.fetch("SELECT * FROM interaction ORDER BY seq")]


async def written(database: Database, place: Place, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(60):
        while len(found := await rows(database, place)) < count:
            await asyncio.sleep(0.02)
    return found


def lost() -> float:
    return LOST._value.get()


async def test_an_utterance_is_a_row_of_the_view_under_the_names_of_the_counter(
    database: Database, writer: Interactions, place: Place
) -> None:
    writer.keep(place, interaction(place, recommendation="S: Ofereça ajuda.", raw_response="{}", sent_at=NOW))
    [row] = await written(database, place, 1)
    assert (row["kind"], row["seq"], row["actor"], row["session_id"]) == ("utterance", 1, "token-1", place.session_id)
    async with database.tenant_tx(place.tenant_id) as connection:
        seen = dict(await connection.fetchrow("SELECT * FROM interacoes"))
    assert seen == {
        "tenant_id": place.tenant_id,
        "id": interaction_id(place.session_id, 1),
        "conversation_id": place.conversation_id,
        "balcao_id": "balcao-7",
        "transcricao_completa": "quero cancelar",
        "recomendacao_gerada": "S: Ofereça ajuda.",
        "grok_raw_response": "{}",
        "speaker_data": SPEAKER,
        "ts_audio_received": NOW,
        "ts_trans_sent": NOW,
        "ts_ai_req": None,
        "ts_ai_resp": None,
        "ts_sent": NOW,
    }


async def test_what_is_kept_twice_before_it_is_written_is_one_row_as_it_is_last(
    database: Database, writer: Interactions, place: Place
) -> None:
    kept = interaction(place)
    writer.keep(place, kept)
    writer.keep(place, interaction(place, 2))
    kept.recommendation = "Nenhuma"
    writer.keep(place, kept)
    found = await written(database, place, 2)
    assert [row["recommendation"] for row in found] == ["Nenhuma", None]


async def test_what_another_connection_keeps_before_it_is_written_fills_in(database: Database, writer: Interactions, place: Place) -> None:
    """The second of them heard the utterance again, and knows nothing of what came of it."""
    writer.keep(place, interaction(place, recommendation="S: um", raw_response="a", sent_at=NOW))
    writer.keep(place, interaction(place))
    [row] = await written(database, place, 1)
    assert (row["recommendation"], row["raw_response"], row["sent_at"]) == ("S: um", "a", NOW)


async def test_later_writes_fill_in_and_take_nothing_away(database: Database, place: Place) -> None:
    store = InteractionStore(database, place.tenant_id)
    first = interaction(place, recommendation="S: um", raw_response="a", ai_requested_at=NOW, sent_at=NOW)
    await store.write([(place, first)])
    later = NOW + timedelta(seconds=9)
    await store.write([(place, replace(first, recommendation=None, raw_response=None, ai_requested_at=later, sent_at=None))])
    await store.write([(place, replace(first, recommendation="S: um | S: dois", ai_responded_at=later, sent_at=later))])
    [row] = await rows(database, place)
    assert (row["recommendation"], row["raw_response"]) == ("S: um | S: dois", "a")
    assert (row["ai_requested_at"], row["ai_responded_at"], row["sent_at"]) == (NOW, later, later)


async def test_how_far_a_session_is_processed_and_what_is_written_of_it(database: Database, place: Place) -> None:
    store, other = InteractionStore(database, place.tenant_id), replace(place, session_id=uuid.uuid4())
    assert await store.processed(place) == 0
    await store.write([(place, interaction(place, seq)) for seq in (2, 7)] + [(other, interaction(other, 9))])
    assert await store.processed(place) == 7
    wanted = [interaction_id(place.session_id, seq) for seq in (7, 8)]
    assert [(each.seq, each.transcript, each.recommendation) for each in await store.find(place, wanted)] == [(7, "quero cancelar", None)]
    assert await store.find(place, [interaction_id(other.session_id, 9)]) == []
    assert await store.find(place, []) == []


async def test_one_whose_conversation_is_erased_is_lost_alone(database: Database, writer: Interactions, place: Place) -> None:
    before = lost()
    gone = replace(place, conversation_id=uuid.uuid4(), session_id=uuid.uuid4())
    writer.keep(place, interaction(place, 1))
    writer.keep(gone, interaction(gone, 1))
    writer.keep(place, interaction(place, 2))
    assert [row["seq"] for row in await written(database, place, 2)] == [1, 2]
    assert lost() == before + 1


async def test_tenants_are_written_apart(database: Database, writer: Interactions, place: Place) -> None:
    other = await new_place(database)
    writer.keep(place, interaction(place, 1, "de um"))
    writer.keep(other, interaction(other, 1, "de outro"))
    assert [row["transcript"] for row in await written(database, place, 1)] == ["de um"]
    assert [row["transcript"] for row in await written(database, other, 1)] == ["de outro"]


async def test_what_waits_at_the_end_is_written(database: Database, place: Place) -> None:
    writer = Interactions(database)
    writer.start()
    writer.keep(place, interaction(place))
    await writer.close()
    assert len(await rows(database, place)) == 1


async def test_so_many_wait_and_the_oldest_go(database: Database, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    before, writer = lost(), Interactions(database)
    for seq in (1, 2, 2, 3):
        writer.keep(place, interaction(place, seq))
    assert lost() == before + 1
    writer.start()
    await writer.close()
    assert [row["seq"] for row in await rows(database, place)] == [2, 3]


async def test_text_that_postgresql_cannot_keep_is_kept_without_it(database: Database, writer: Interactions, place: Place) -> None:
    writer.keep(place, interaction(place, text="quero\x00 cancelar", recommendation="S: a\ud800", raw_response="\x00{}"))
    [row] = await written(database, place, 1)
    assert row["transcript"] == "quero cancelar"
    assert row["raw_response"] == "{}"
