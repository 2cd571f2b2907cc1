"""A counter from its microphone to the table of interactions: edge, Audio, Insight and PostgreSQL, all real, with a recogniser that is told what it hears."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import silence
from integration.edge.conftest import RunningEdge, running_edge
from integration.edge.test_counter import END, Desk, desk
from integration.insight.analysing import THREAT, answer_of
from integration.insight.conftest import MODELS
from integration.insight.test_calls import UTTERANCE, Scripted

from fakes.openai_server import FakeOpenAI
from fakes.wire import Wire
from malha.audio.service import AudioStreamService, CallStore
from malha.audio.settings import AudioSettings
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
from malha.insight.service import InsightService
from malha.insight.settings import InsightSettings
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import load_contracts
from malha.runtime.mesh import Mesh
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tokens import Tokens
from malha.transcribe.service import TranscribeService

COUNTER = "balcao-7"
PIECE = 1_600
LONG = "bom dia eu queria saber se vocês têm aquele remédio para dor de cabeça da minha mãe"


@dataclass(frozen=True)
class Shop:
    """Its edge, the wire behind it, and its counter's key."""

    edge: RunningEdge
    wire: Wire
    key: str


@asynccontextmanager
async def shop(
    settings: RuntimeSettings, store: StoreSettings, database: Database, lines: Sequence[str], models: str = ""
) -> AsyncIterator[Shop]:
    load_contracts()
    tokens = Tokens(database)
    key, _ = await tokens.create("default", actor="test", counter=COUNTER)
    mesh = Mesh(settings, lambda: "127.0.0.1:1")
    services: list[Any] = [
        InsightService(database, lambda: mesh.channel("chat"), InsightSettings(_env_file=None)),
        AudioStreamService(
            AudioSettings(_env_file=None),
            lambda: mesh.channel("transcribe"),
            CallStore(database, store),
            insight=lambda: mesh.channel("insight"),
        ),
        TranscribeService(Scripted(list(lines))),
    ]
    if models:
        (settings.data_dir / "models.toml").write_text(models)
        services.append(ChatService(ChatSettings(_env_file=None), settings.data_dir, database))
    authenticator = Authenticator.from_settings(settings.api_tokens, settings.data_dir, tokens)
    server = Server(services, [], settings, authenticator)
    for name in ("transcribe", "insight", "chat"):
        mesh.serve(name, server.in_process)
    wire = Wire(await server.start())
    try:
        await server.wait_serving()
        async with wire.laid(), running_edge(settings.data_dir, wire.target, key) as edge:
            yield Shop(edge, wire, key)
    finally:
        await server.stop()
        await mesh.close()


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(models=("tiny",), key="secret-key") as server:
        yield server


async def speak(client: Desk, utterances: int = 1) -> None:
    """Ten times as fast as it is said."""
    for _ in range(utterances):
        for at in range(0, len(UTTERANCE), PIECE):
            await client.socket.send(UTTERANCE[at : at + PIECE].tobytes())
            await asyncio.sleep(0.01)


async def interactions(database: Database) -> list[dict[str, Any]]:
    """The view, as the tenant has it."""
    async with database.app_tx() as connection:
        tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
    async with database.tenant_tx(tenant) as connection:
        return [dict(row) for row in await connection.fetch("SELECT * FROM interacoes ORDER BY ts_audio_received")]


async def test_each_utterance_is_an_interaction_of_its_counter(settings: RuntimeSettings, database: Database, store: StoreSettings) -> None:
    async with shop(settings, store, database, ["bom dia", THREAT]) as place:
        async with desk(place.edge) as client:
            await client.shake(place.key)
            await speak(client, 2)
            advice = await client.reply("recomendar")
            await client.socket.send(END)
            _, code = await client.rest()
        assert code == 1000
    kept = await interactions(database)
    assert [row["transcricao_completa"] for row in kept] == ["bom dia", THREAT]
    assert [row["balcao_id"] for row in kept] == [COUNTER, COUNTER]
    greeting, threat = kept
    assert greeting["recomendacao_gerada"] is None
    assert str(threat["id"]) == advice["interacao_id"]
    assert [each["tipo"] for each in advice["recomendacoes"]] == ["alerta_risco"]
    assert f"S: {advice['recomendacoes'][0]['texto']}" in threat["recomendacao_gerada"].split(" | ")
    assert threat["ts_audio_received"] <= threat["ts_trans_sent"] <= threat["ts_sent"]
    assert greeting["conversation_id"] == threat["conversation_id"]


async def test_the_model_is_asked_by_the_counters_policy_and_its_answer_is_kept(
    settings: RuntimeSettings, database: Database, store: StoreSettings, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than ten words and no keyword: `call_center` would not ask."""
    monkeypatch.setenv("TEST_MODEL_KEY", "secret-key")
    quote = "remédio para dor de cabeça"

    def reply(request: Any) -> str:
        (asked,) = request.body["response_format"]["json_schema"]["schema"]["properties"]["type"]["enum"]
        advice = "Pergunte qual remédio a mãe toma." if asked == "next_step" else "Sem dados suficientes"
        return answer_of(asked, advice, quote)

    model.reply = reply
    async with shop(settings, store, database, [LONG], MODELS.replace("{url}", model.base_url)) as place, desk(place.edge) as client:
        await client.shake(place.key)
        await speak(client)
        advice = await client.reply("recomendar")
        while "proximo_passo" not in [each["tipo"] for each in advice["recomendacoes"]]:
            advice = await client.reply("recomendar")
        await client.socket.send(END)
        await client.rest()
    (row,) = await interactions(database)
    assert str(row["id"]) == advice["interacao_id"]
    assert "S: Pergunte qual remédio a mãe toma." in row["recomendacao_gerada"]
    assert row["grok_raw_response"]
    assert row["ts_trans_sent"] <= row["ts_ai_req"] <= min(row["ts_ai_resp"], row["ts_sent"]), (
        "several questions: the last answer may be for nobody"
    )


async def test_a_server_that_is_lost_is_not_the_clients_business(
    settings: RuntimeSettings, database: Database, store: StoreSettings
) -> None:
    async with shop(settings, store, database, ["bom dia", THREAT, "obrigado"]) as place, desk(place.edge) as client:
        await client.shake(place.key, transcricoes=True)
        await speak(client)
        while not (await client.reply("transcricao"))["final"]:
            pass
        place.wire.cut()
        await speak(client, 2)
        await client.socket.send(END)
        _, code = await client.rest()
    assert code == 1000
    assert {told["comando"] for told in client.told} == {"transcricao", "recomendar"}
    assert [told["texto"] for told in client.told if told["comando"] == "transcricao" and told["final"]] == ["bom dia", THREAT, "obrigado"]
    advised = [each["texto"] for told in client.told if told["comando"] == "recomendar" for each in told["recomendacoes"]]
    assert len(advised) == len(set(advised)) > 0
    assert sorted(row["transcricao_completa"] for row in await interactions(database)) == sorted(["bom dia", THREAT, "obrigado"])


async def test_two_connections_are_two_conversations(settings: RuntimeSettings, database: Database, store: StoreSettings) -> None:
    async with shop(settings, store, database, ["bom dia", "boa tarde"]) as place:
        for _ in range(2):
            async with desk(place.edge) as client:
                await client.shake(place.key, transcricoes=True)
                await speak(client)
                await client.reply("transcricao")
                await client.socket.close()
        async with asyncio.timeout(30):
            while len(kept := await interactions(database)) < 2:
                await asyncio.sleep(0.05)
    assert len({row["conversation_id"] for row in kept}) == 2


async def test_advice_after_silence_belongs_to_what_was_said_last(
    settings: RuntimeSettings, database: Database, store: StoreSettings, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four words are too few to ask at once."""
    monkeypatch.setenv("TEST_MODEL_KEY", "secret-key")
    model.reply = lambda _: answer_of("next_step", "Pergunte qual remédio.", "remédio")
    lines = ["quero um remédio barato"]
    async with shop(settings, store, database, lines, MODELS.replace("{url}", model.base_url)) as place, desk(place.edge) as client:
        await client.shake(place.key)
        await speak(client)
        for _ in range(80):
            await client.socket.send(silence(0.1).tobytes())
            await asyncio.sleep(0.01)
        advice = await client.reply("recomendar")
        await client.socket.send(END)
        await client.rest()
    (row,) = await interactions(database)
    assert str(row["id"]) == advice["interacao_id"]
    assert row["recomendacao_gerada"] == "S: Pergunte qual remédio."
    assert row["ts_trans_sent"] < row["ts_ai_req"] <= min(row["ts_ai_resp"], row["ts_sent"])
