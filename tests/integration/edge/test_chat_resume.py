"""Answers over HTTP go on when Chat's stream is lost midway: a real edge before a server that breaks where the test says, and real ones."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from conftest import TOKEN
from integration.edge.chat_places import MODELS
from integration.edge.conftest import RunningEdge, running_edge

from fakes.chat_process import ChatProcess
from fakes.chat_server import ANSWER, PIECES, Ending, FakeChat, serving
from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import Fault
from fakes.serving import served
from fakes.wire import Wire
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
from malha.edge import chat_call, chat_stream
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tokens import Tokens

COMPLETIONS = "/v1/chat/completions"
CONTINUE = "/api/v1/conversations/c1/continue"
BODY = {"messages": [{"role": "user", "content": "Qual é o prazo?"}]}
STREAM = {**BODY, "stream": True}
STEPS = 2 * (3 + 1 + len(PIECES) + 2)
LONG = " ".join(f"palavra{number}" for number in range(40))
WAYS = pytest.mark.parametrize("relay", [True, False], ids=["relay", "own streams"])
LOST = (Ending(), Ending(grpc.StatusCode.INTERNAL), Ending(reason="DRAINING", retry_seconds=0.25))


@asynccontextmanager
async def edge_before(folder: Path, port: int, **settings: Any) -> AsyncIterator[tuple[RunningEdge, httpx.AsyncClient]]:
    async with running_edge(folder, f"127.0.0.1:{port}", TOKEN, grpc_port=port, **settings) as edge, edge.client() as client:
        yield edge, client


def events_of(text: str) -> list[Any]:
    """The data of server-sent events, ``[DONE]`` as it is."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def texts_of(answer: httpx.Response) -> list[str]:
    """The pieces of a stream that went well to its end."""
    assert answer.status_code == 200, answer.text
    *events, end = events_of(answer.text)
    assert (end, events[-1]["choices"][0]["finish_reason"]) == ("[DONE]", "stop"), answer.text
    return [text for event in events if (text := event["choices"][0]["delta"].get("content"))]


def error_of(answer: httpx.Response) -> str:
    """The code of the error that ends a stream."""
    *_, error, end = events_of(answer.text)
    assert end == "[DONE]"
    return str(error["error"]["code"])


async def until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


def busy() -> list[str]:
    """Tasks of the doors of chat that still run."""
    return [name for task in asyncio.all_tasks() if (name := task.get_name()).startswith("edge-chat")]


@WAYS
async def test_a_server_that_dies_at_any_message(tmp_path: Path, *, relay: bool) -> None:
    async with serving(FakeChat()) as fake, edge_before(tmp_path, fake.port, relay=relay) as (_, client), asyncio.timeout(120):
        for number, step in enumerate([0, *range(3, STEPS + 1)]):
            fake.steps, fake.breaks, fake.ending, before = 0, {step}, LOST[number % 3 if step > 8 else 0], len(fake.asked)
            assert "".join(texts_of(await client.post(COMPLETIONS, json=STREAM))) == ANSWER, step
            again = len(fake.asked) - before - 1
            assert len({asked.name for asked in fake.asked[before:]} - {""}) == 1, "it is one question"
            assert again == (0 < step <= STEPS - 3), f"asked {again} times again after the loss at step {step}"
    assert not busy()


@WAYS
async def test_a_wire_that_is_cut_at_each_piece(tmp_path: Path, *, relay: bool) -> None:
    fake = FakeChat()
    fake.between_seconds = 0.05
    async with (
        serving(fake),
        Wire(fake.port).laid() as wire,
        edge_before(tmp_path, int(wire.target.rpartition(":")[2]), relay=relay) as (_, client),
        asyncio.timeout(60),
    ):
        lines: list[str] = []
        async with client.stream("POST", COMPLETIONS, json=STREAM) as answer:
            async for line in answer.aiter_lines():
                lines.append(line)
                if '"content":"' in line and "[DONE]" not in line:
                    wire.cut()
    *events, end = events_of("\n".join(lines))
    assert end == "[DONE]"
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == ANSWER
    assert len({event["id"] for event in events}) == 1, "it is one answer"
    assert len(fake.asked) > 2


async def test_whole_answers_and_conversations_too(tmp_path: Path) -> None:
    async with serving(FakeChat()) as fake, edge_before(tmp_path, fake.port) as (_, client), asyncio.timeout(60):
        for door, body in ((COMPLETIONS, BODY), (CONTINUE, {"message": "Qual é o prazo?"})):
            fake.steps, fake.breaks = 0, {12}
            answer = (await client.post(door, json=body)).json()
            text = answer["answer"] if "answer" in answer else answer["choices"][0]["message"]["content"]
            assert text == ANSWER
        fake.steps, fake.breaks = 0, {12}
        told = (await client.post(f"{CONTINUE}-stream", json={"message": "Qual é o prazo?"})).text
        *deltas, end, done = events_of(told)
        assert "".join(delta["text"] for delta in deltas) == ANSWER
        assert (end["finish_reason"], done) == ("stop", "[DONE]")
    assert [asked.received for asked in fake.asked] == ["", "".join(PIECES[:2])] * 3
    assert {tuple(asked.texts) for asked in fake.asked} == {("Qual é o prazo?",)}


async def test_an_answer_to_a_schema_is_asked_for_again_until_it_came(tmp_path: Path) -> None:
    body = {**BODY, "response_format": {"type": "json_object"}}
    async with serving(FakeChat(breaks={8})) as fake, edge_before(tmp_path, fake.port) as (_, client), asyncio.timeout(60):
        assert (await client.post(COMPLETIONS, json=body)).json()["choices"][0]["message"]["content"] == ANSWER
        assert [asked.received for asked in fake.asked] == ["", ""]
        fake.breaks = {fake.steps + 11}  # its one delta has come
        answer = await client.post(COMPLETIONS, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_AWAY")
        assert len(fake.asked) == 3


async def test_what_a_server_refuses_is_told_at_once(tmp_path: Path) -> None:
    """First, in the midst, and where it is asked again."""
    refusal = Ending(grpc.StatusCode.INVALID_ARGUMENT, "RECEIVED_DIFFERS")
    async with serving(FakeChat(ending=refusal)) as fake, edge_before(tmp_path, fake.port) as (_, client), asyncio.timeout(60):
        fake.breaks = {6}
        answer = await client.post(COMPLETIONS, json=STREAM)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "RECEIVED_DIFFERS")
        fake.steps, fake.breaks = 0, {12}
        assert error_of(await client.post(COMPLETIONS, json=STREAM)) == "RECEIVED_DIFFERS"
        assert len(fake.asked) == 2
        fake.ending, fake.steps, fake.refusals = Ending(), 0, [None, refusal]
        assert error_of(await client.post(COMPLETIONS, json=STREAM)) == "RECEIVED_DIFFERS"
        assert len(fake.asked) == 4


async def test_a_refusal_before_an_answer_is_open_is_told_and_one_of_the_next_server_waited_out(tmp_path: Path) -> None:
    away, busy_now = Ending(reason="STORE_UNAVAILABLE"), Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", 0.05)
    async with serving(FakeChat()) as fake, edge_before(tmp_path, fake.port) as (_, client), asyncio.timeout(60):
        fake.refusals = [away]
        answer = await client.post(COMPLETIONS, json=STREAM)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "STORE_UNAVAILABLE")
        fake.breaks, fake.refusals = {fake.steps + 12}, [None, away, busy_now]
        assert "".join(texts_of(await client.post(COMPLETIONS, json=STREAM))) == ANSWER
        assert len(fake.asked) == 5


@WAYS
async def test_the_next_server_says_when_to_ask_again_or_that_it_is_of_no_use(tmp_path: Path, *, relay: bool) -> None:
    def refused(reason: str, retry_seconds: float = 0.0) -> Ending:
        return Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, retry_seconds)

    async with serving(FakeChat()) as fake, edge_before(tmp_path, fake.port, relay=relay) as (_, client), asyncio.timeout(30):
        for refusal in (refused("BUDGET_EXHAUSTED"), refused("QUOTA_EXCEEDED", 61.0)):
            fake.breaks, fake.refusals, before = {fake.steps + 12}, [None, refusal], len(fake.asked)
            assert error_of(await client.post(COMPLETIONS, json=STREAM)) == refusal.reason
            assert len(fake.asked) == before + 2, "it is told at once"
        fake.breaks, fake.refusals, before = {fake.steps + 12}, [None, refused("QUOTA_EXCEEDED", 1.5)], len(fake.asked)
        began = time.monotonic()
        assert "".join(texts_of(await client.post(COMPLETIONS, json=STREAM))) == ANSWER
        assert time.monotonic() - began >= 1.5
        assert len(fake.asked) == before + 3, "it is not asked before"


@WAYS
async def test_a_server_that_stops_before_an_answer_is_open_is_left_for_another(tmp_path: Path, *, relay: bool) -> None:
    async with serving(FakeChat()) as fake, edge_before(tmp_path, fake.port, relay=relay) as (_, client), asyncio.timeout(60):
        fake.refusals = [Ending(reason="DRAINING", retry_seconds=0.05)] * 2
        assert "".join(texts_of(await client.post(COMPLETIONS, json=STREAM))) == ANSWER
        assert len(fake.asked) == 3


async def test_it_is_given_up_in_time_and_kept_alive_until_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_call, "RESUME_SECONDS", 3.0)
    monkeypatch.setattr(chat_stream, "KEEP_ALIVE_SECONDS", 0.1)
    async with serving(FakeChat(breaks={14})) as fake, edge_before(tmp_path, fake.port) as (_, client), asyncio.timeout(60):
        fake.refusals = [None, *[Ending()] * 100]
        began = time.monotonic()
        answer = await client.post(COMPLETIONS, json=STREAM)
        assert time.monotonic() - began >= 3.0
        assert error_of(answer) == "SERVICE_AWAY"
        assert "".join(PIECES[:3]) == "".join(event["choices"][0]["delta"]["content"] for event in events_of(answer.text)[:-2])
        assert answer.text.count(": keep-alive\n\n") >= 3
        assert 3 < len(fake.asked) < 30
    assert not busy()


async def test_progress_gives_it_new_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_call, "RESUME_SECONDS", 1.0)
    fake = FakeChat(breaks=(12, 22, 32, 42))
    fake.between_seconds = 0.4
    async with serving(fake), edge_before(tmp_path, fake.port) as (_, client), asyncio.timeout(60):
        assert "".join(texts_of(await client.post(COMPLETIONS, json=STREAM))) == ANSWER
    assert len(fake.asked) == 5


async def test_a_server_that_does_not_open_the_answer_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_call, "OPENED_SECONDS", 0.3)
    fake = FakeChat(breaks={14})
    fake.between_seconds = 0.2
    async with serving(fake), edge_before(tmp_path, fake.port) as (_, client), asyncio.timeout(60):
        asking = asyncio.create_task(client.post(COMPLETIONS, json=STREAM))
        await until(lambda: fake.steps > 9)
        fake.opens = False
        await until(lambda: fake.stopped)
        fake.opens = True
        assert "".join(texts_of(await asking)) == ANSWER
        assert len(fake.asked) >= 3


@WAYS
@pytest.mark.parametrize("away", [True, False], ids=["away", "silent"])
async def test_a_client_that_leaves_during_the_wait_stops_everything(tmp_path: Path, *, relay: bool, away: bool) -> None:
    fake = FakeChat(breaks={12})
    async with (
        serving(fake),
        Wire(fake.port).laid() as wire,
        edge_before(tmp_path, int(wire.target.rpartition(":")[2]), relay=relay) as (_, client),
        asyncio.timeout(60),
    ):
        fake.between_seconds = 0.2
        asking = asyncio.create_task(client.post(COMPLETIONS, json=STREAM))
        await until(lambda: fake.steps > 9)
        fake.opens, wire.down = False, away
        if away:
            wire.cut()
        else:
            await until(lambda: len(fake.asked) > 1)
        await asyncio.sleep(0.3)
        assert busy()
        assert not asking.done()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: not busy())
        if not away:
            await until(lambda: fake.stopped)
        asked = len(fake.asked)
        wire.down = False
        await asyncio.sleep(0.7)
        assert len(fake.asked) == asked


async def test_a_server_that_never_was_there_is_told_of_at_once(tmp_path: Path) -> None:
    async with edge_before(tmp_path, 1) as (_, client), asyncio.timeout(15):
        answer = await client.post(COMPLETIONS, json=STREAM)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_AWAY")


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        server.otherwise = Fault(between_tokens_seconds=0.05, answer=lambda _: LONG)
        yield server


@asynccontextmanager
async def conversation(database: Database) -> AsyncIterator[list[Any]]:
    """An empty one; at the end its messages."""
    messages: list[Any] = []
    async with database.app_tx() as connection:
        tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
    async with database.tenant_tx(tenant) as connection:
        await connection.execute("INSERT INTO conversation (tenant_id, external_id) VALUES (malha_tenant(), 'c1')")
    yield messages
    async with database.tenant_tx(tenant) as connection:
        messages += await connection.fetch("SELECT id, text FROM message ORDER BY created_at")


async def converse(client: httpx.AsyncClient, on_text: Callable[[int], None]) -> dict[str, Any]:
    """The fields of the end of a streamed answer, whose text is `LONG`. ``on_text`` is told how many pieces came."""
    texts: list[str] = []
    lines: list[str] = []
    async with client.stream("POST", f"{CONTINUE}-stream", json={"message": "Conte"}, timeout=120) as answer:
        async for line in answer.aiter_lines():
            lines.append(line)
            texts += [event["text"] for event in events_of(line) if "text" in event]
            on_text(len(texts))
    assert answer.status_code == 200, lines
    *_, end, done = events_of("\n".join(lines))
    assert "".join(texts) == LONG, end
    assert (end["finish_reason"], done) == ("stop", "[DONE]")
    return dict(end)


async def test_a_service_that_is_killed_and_started_again(
    tmp_path: Path, model: FakeOpenAI, database: Database, store: StoreSettings
) -> None:
    """A real `malha serve chat`; the conversation has the question and its answer once."""
    server = ChatProcess(tmp_path, model, TOKEN, store.database_url)
    replacing: list[asyncio.Task[None]] = []

    def kill(pieces: int) -> None:
        if pieces > 3 and not replacing:
            replacing.append(asyncio.create_task(server.replace(signal.SIGKILL)))

    async with (
        asyncio.timeout(300),
        server.running(),
        edge_before(tmp_path, server.port) as (_, client),
        conversation(database) as messages,
    ):
        end = await converse(client, kill)
        await asyncio.gather(*replacing)
    assert len(model.requests) == 2
    assert [row["text"] for row in messages] == ["Conte", LONG]
    assert end["message_id"] == str(messages[1]["id"])


@WAYS
async def test_a_service_that_lives_on_while_its_wire_is_cut(
    tmp_path: Path, model: FakeOpenAI, database: Database, settings: RuntimeSettings, *, relay: bool
) -> None:
    """It keeps what it had told, and learns that it is not the end."""
    file = tmp_path / "models.toml"
    file.write_text(MODELS.format(url=model.base_url, last_resort="false"))
    service = ChatService(ChatSettings(_env_file=None, models_file=file), tmp_path, database)
    cut: set[int] = set()
    async with asyncio.timeout(120), served([service], settings, Tokens(database)) as server, Wire(server.port).laid() as wire:

        def cut_at(pieces: int) -> None:
            if pieces in {3, 9, 15} - cut:
                cut.add(pieces)
                wire.cut()

        async with (
            edge_before(tmp_path, int(wire.target.rpartition(":")[2]), relay=relay) as (_, client),
            conversation(database) as messages,
        ):
            end = await converse(client, cut_at)
    assert len(cut) == 3
    assert [row["text"] for row in messages] == ["Conte", LONG]
    assert end["message_id"] == str(messages[1]["id"])
