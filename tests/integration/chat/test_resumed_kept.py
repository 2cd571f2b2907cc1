"""Conversations whose answers lose their stream: each question is kept once, and its answer once, whole in the end."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conftest import TOKEN
from integration.chat.chatting import MODELS, Place, Talk

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import BROKEN, Fault
from malha.api.chat.v1 import chat_pb2
from malha.chat import exchange
from malha.runtime.errors import InvalidArgument
from malha.store import database as store_database
from malha.store.database import Database

CONTINUES = MODELS + "continues = true\n"
WHOLE = " ".join(f"palavra{number}" for number in range(40))
SLOW = Fault(between_tokens_seconds=0.05, answer=lambda _: WHOLE)
QUICK = Fault(answer=lambda _: WHOLE)


@pytest.fixture
async def model() -> Any:
    async with FakeOpenAI(key="secret-key", continues=True) as server:
        server.otherwise = QUICK
        yield server


async def conversation(place: Place) -> None:
    await place.run("INSERT INTO conversation (tenant_id, external_id) VALUES (malha_tenant(), 'c1')")


async def kept(place: Place) -> list[tuple[str, str]]:
    return [(row["sender_type"], row["text"]) for row in await place.run("SELECT sender_type, text FROM message ORDER BY created_at, id")]


async def until_kept(place: Place, count: int) -> list[tuple[str, str]]:
    deadline = time.monotonic() + 30
    while len(messages := await kept(place)) < count:
        assert time.monotonic() < deadline, messages
        await asyncio.sleep(0.02)
    return messages


async def status(place: Place) -> str:
    answer = await place.unary("GetStatus", chat_pb2.GetStatusRequest(conversation_id="c1"))
    return str(answer.status)


async def answer_id(place: Place) -> uuid.UUID:
    [row] = await place.run("SELECT id FROM message WHERE sender_type = 'bot'")
    return row["id"]


async def ask(place: Place, text: str = "Conte", received: str = "", name: str = "", **fields: Any) -> tuple[str, chat_pb2.MessageEnd]:
    talk = place.talk()
    await talk.open(conversation_id="c1", **fields)
    answer = await talk.ask(text, received=received, external_id=name)
    await talk.finish()
    return answer


async def lose(place: Place, model: FakeOpenAI, received: str = "", deltas: int = 3) -> str:
    """Ask, read some of the answer, and be lost; what was received of it, with what was before."""
    model.faults.append(SLOW)
    talk = place.talk()
    await talk.open(conversation_id="c1")
    await talk.say("Conte", received=received)
    for _ in range(deltas):
        received += (await talk.read()).delta.text
    talk.leave()
    return received


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database waits for a test that holds it up, however busy the machine is."""
    monkeypatch.setattr(store_database, "_LOCK_SECONDS", 0.0)
    monkeypatch.setattr(store_database, "_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(exchange, "KEEP_SECONDS", 60.0)


@asynccontextmanager
async def told_and_not_kept(place: Place, model: FakeOpenAI) -> AsyncIterator[Talk]:
    """A stream whose client has all of its answer, while something holds the store up."""
    model.faults.append(SLOW)
    talk = place.talk()
    await talk.open(conversation_id="c1")
    await talk.say("Conte")
    received = (await talk.read()).delta.text
    async with place.database.tenant_tx(await place.tenant()) as connection:
        await connection.execute("SELECT FROM message FOR UPDATE")
        while received != WHOLE:
            received += (await talk.read()).delta.text
        # pg_stat_activity would not show whom it did not show at first: a transaction keeps what it saw of it
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        async with asyncio.timeout(60):
            while not await connection.fetchval(waits):
                await asyncio.sleep(0.01)
        yield talk


async def test_a_lost_answer_goes_on_and_is_kept_once_and_whole(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        received = await lose(place, model)
        [_, (_, part)] = await until_kept(place, 2)
        assert part.startswith(received)
        assert await status(place) == "partial"
        first = await answer_id(place)
    async with serving(model, CONTINUES, database) as place:  # another process, as it were
        received = await lose(place, model, received)
        rest, end = await ask(place, received=received)
        assert received + rest == WHOLE
        assert (end.finish_reason, end.reason, end.message_id) == ("stop", "", str(first))
        assert await kept(place) == [("customer", "Conte"), ("bot", WHOLE)]
        assert await status(place) == "done"
        assert await place.run("SELECT FROM message WHERE answering IS NOT NULL") == []
        assert all(request.body["messages"][1]["content"] == "Conte" for request in model.requests)
        await ask(place, "E depois?")
        assert [message["content"] for message in model.last.body["messages"]][1:] == ["Conte", WHOLE, "E depois?"]


async def test_what_is_kept_beyond_what_was_received_is_sent_at_once(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        await lose(place, model, deltas=5)
        [_, (_, part)] = await until_kept(place, 2)
        model.faults.append(Fault(never=True))
        talk = place.talk()
        await talk.open(conversation_id="c1")
        await talk.say("Conte", received="palavra0")
        assert "palavra0" + (await talk.read()).delta.text == part
        talk.leave()
        while not (len(model.requests) == 2 and model.last.left):
            await asyncio.sleep(0.01)
        assert model.last.begun == part
        assert "palavra0" + (await ask(place, received="palavra0"))[0] == WHOLE


async def test_an_answer_that_is_kept_whole_is_told_without_a_model(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        _, whole = await ask(place)
        for received in ("palavra0 pal", WHOLE):
            text, end = await ask(place, received=received)
            assert received + text == WHOLE
            assert (end.finish_reason, end.message_id, end.completion_tokens, end.cost) == ("stop", whole.message_id, 0, 0)
        assert len(model.requests) == 1
        assert len(await kept(place)) == 2


@pytest.mark.parametrize("schema", ["", '{"type":"object"}'])
async def test_an_answer_that_is_kept_whole_and_of_which_nothing_was_received_is_kept_once(
    serving: Any, model: FakeOpenAI, database: Database, schema: str
) -> None:
    model.otherwise = Fault(answer=lambda _: '{"a":1}')
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        answers = [await ask(place, name="m1", response_schema=schema) for _ in range(3)]
        assert {(text, end.finish_reason, end.message_id) for text, end in answers} == {('{"a":1}', "stop", str(await answer_id(place)))}
        assert len(model.requests) == 1
        await ask(place, name="m2")
        assert await kept(place) == [("customer", "Conte"), ("bot", '{"a":1}')] * 2


async def test_a_question_is_known_by_its_name_wherever_it_was_kept(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        model.faults.append(BROKEN)
        await ask(place, response_schema='{"type":"object"}', name="m1")
        assert await kept(place) == [("customer", "Conte")]
        await ask(place, name="m2")  # takes it over
        await ask(place, "E depois?", name="m3")
        await ask(place, name="m2")
        assert await kept(place) == [("customer", "Conte"), ("bot", WHOLE), ("customer", "E depois?"), ("bot", WHOLE)]
        assert len(model.requests) == 3
        await place.run(
            "INSERT INTO message (tenant_id, conversation_id, external_id, sender_type, text)"
            " SELECT malha_tenant(), id, 'm4', 'system', 'Conte' FROM conversation"
        )
        for name in ("m3", "m4"):
            with pytest.raises(InvalidArgument) as refused:
                await ask(place, name=name)
            assert (refused.value.reason, list(refused.value.violations)) == ("MESSAGE_EXISTS", ["message.external_id"])


async def test_without_a_name_the_newest_of_the_same_questions_goes_on(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        await ask(place)
        model.otherwise = Fault(answer=lambda _: "Outra coisa.")
        _, newer = await ask(place, name="m1")
        text, end = await ask(place, received="Outra")
        assert ("Outra" + text, end.message_id) == ("Outra coisa.", newer.message_id)


async def test_a_part_of_which_nothing_was_received_is_made_anew(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, MODELS, database) as place:
        await conversation(place)
        model.faults.append(SLOW)
        talk = place.talk()
        await talk.open(conversation_id="c1")
        await talk.say("Conte", external_id="m1")
        await talk.read()
        talk.leave()
        await until_kept(place, 2)
        model.otherwise = Fault(answer=lambda _: "Outra coisa.")
        assert (await ask(place, name="m1"))[0] == "Outra coisa."
        assert await kept(place) == [("customer", "Conte"), ("bot", "Outra coisa.")]


async def test_an_answer_that_is_json_goes_on_too(serving: Any, model: FakeOpenAI, database: Database) -> None:
    whole = '{ "preço": 10,\n  "contato": "ana.souza@example.com" }'
    model.otherwise = Fault(answer=lambda _: whole)
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        assert (await ask(place))[0] == whole
        masked = whole.replace("ana.souza@example.com", "[EMAIL]")
        for received in ('{ "preço": 1', masked):
            assert received + (await ask(place, received=received))[0] == masked


async def test_a_server_that_was_killed_has_kept_the_question_alone(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        model.faults.append(BROKEN)
        await ask(place, purpose="other", response_schema='{"type":"object"}')
        assert await kept(place) == [("customer", "Conte")]
        text, _ = await ask(place, received="palavra0 palavra1")
        assert "palavra0 palavra1" + text == WHOLE
        assert await kept(place) == [("customer", "Conte"), ("bot", WHOLE)]


async def test_what_was_received_and_is_not_what_is_kept(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        await lose(place, model)
        await until_kept(place, 2)
        part = await answer_id(place)
        text, end = await ask(place, received="Outra coisa.")
        assert (end.finish_reason, end.message_id) == ("stop", str(part))
        assert await kept(place) == [("customer", "Conte"), ("bot", "Outra coisa." + text)]
        with pytest.raises(InvalidArgument) as refused:
            await ask(place, received="palavra0")
        assert refused.value.reason == "RECEIVED_DIFFERS"
        assert list(refused.value.violations) == ["message.received"]
        assert await kept(place) == [("customer", "Conte"), ("bot", "Outra coisa." + text)]
        assert len(model.requests) == 2


async def test_more_was_received_than_is_kept(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        await lose(place, model)
        [_, (_, part)] = await until_kept(place, 2)
        received = WHOLE[: len(part) + 20]
        text, _ = await ask(place, received=received)
        assert received + text == WHOLE
        assert await kept(place) == [("customer", "Conte"), ("bot", WHOLE)]


@pytest.mark.usefixtures("patient")
async def test_an_answer_is_kept_whose_client_leaves_while_it_is_being_kept(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        async with told_and_not_kept(place, model) as talk:
            talk.leave()
            while await status(place) == "running":
                await asyncio.sleep(0.01)
        assert await until_kept(place, 2) == [("customer", "Conte"), ("bot", WHOLE)]


@pytest.mark.usefixtures("patient")
async def test_a_cancel_that_comes_too_late_is_not_meant_for_the_next_answer(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        async with told_and_not_kept(place, model) as talk:
            await talk.cancel_answer()
            await talk.say("E depois?")
            assert await status(place) == "running"  # by the same connection: both are there
        ends = [(await talk.answer())[1] for _ in range(2)]
        assert [end.finish_reason for end in ends] == ["stop", "stop"]


@pytest.mark.parametrize("received", ["palavra0 palavra1", ""])
async def test_a_server_that_has_not_noticed_the_loss_keeps_nothing_more(
    serving: Any, model: FakeOpenAI, database: Database, received: str
) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        model.faults.append(SLOW)
        old = place.talk()
        await old.open(conversation_id="c1")
        await old.say("Conte")
        await old.read()
        text, end = await ask(place, received=received)
        assert received + text == WHOLE
        assert end.message_id == str(await answer_id(place))
        assert (await old.answer())[1].message_id == ""
        assert await kept(place) == [("customer", "Conte"), ("bot", WHOLE)]


async def test_a_part_is_replaced_where_all_is_asked_for_again_and_a_whole_is_not(
    serving: Any, model: FakeOpenAI, database: Database
) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        await lose(place, model)
        await until_kept(place, 2)
        text, _ = await ask(place)
        assert text == WHOLE
        assert model.last.begun is None
        assert [message["content"] for message in model.last.body["messages"]][1:] == ["Conte"]
        assert await kept(place) == [("customer", "Conte"), ("bot", WHOLE)]
        await ask(place)
        assert await kept(place) == [("customer", "Conte"), ("bot", WHOLE)] * 2


async def test_a_part_stays_history_while_nobody_asks_for_the_rest(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        received = await lose(place, model)
        [_, (_, part)] = await until_kept(place, 2)
        await ask(place, "E depois?")
        assert [message["content"] for message in model.last.body["messages"]][1:] == ["Conte", part, "E depois?"]
        text, _ = await ask(place, received=received)
        assert received + text == WHOLE
        assert [message["content"] for message in model.last.body["messages"]][1:] == ["Conte", part]
        assert await kept(place) == [("customer", "Conte"), ("bot", WHOLE), ("customer", "E depois?"), ("bot", WHOLE)]


async def test_a_cancelled_answer_is_all_there_is(serving: Any, model: FakeOpenAI, database: Database) -> None:
    model.faults.append(SLOW)
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        talk = place.talk()
        await talk.open(conversation_id="c1")
        await talk.say("Conte")
        received = (await talk.read()).delta.text
        await talk.cancel_answer()
        rest, end = await talk.answer()
        text, again = await ask(place, received=received)
        assert (text, again.finish_reason, again.message_id) == (rest, "stop", end.message_id)
        assert len(model.requests) == 1


async def test_an_answer_at_its_limit_says_so_again(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        limit = chat_pb2.Parameters(max_tokens=2)
        text, end = await ask(place, parameters=limit)
        assert (text, end.reason, await status(place)) == ("palavra0 palavra1", "MAX_TOKENS", "partial")
        _, again = await ask(place, received=text, parameters=limit)
        assert (again.finish_reason, again.reason, again.message_id) == ("length", "MAX_TOKENS", end.message_id)


async def test_an_answer_at_its_limit_is_asked_to_go_on_as_often_as_it_takes(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        for text in ("Conte", "Continue", "Continue"):
            await ask(place, text, parameters=chat_pb2.Parameters(max_tokens=2))
        assert [text for sender, text in await kept(place) if sender == "customer"] == ["Conte", "Continue", "Continue"]
        assert len(model.last.body["messages"]) == 1 + 5
        assert await status(place) == "partial"


async def test_a_lost_answer_that_fails_keeps_what_the_client_has(serving: Any, model: FakeOpenAI, database: Database) -> None:
    async with serving(model, CONTINUES, database) as place:
        await conversation(place)
        received = await lose(place, model)
        await until_kept(place, 2)
        model.otherwise = BROKEN
        text, end = await ask(place, received=received)
        assert (end.finish_reason, end.reason) == ("error", "MODEL_UNAVAILABLE")
        model.otherwise = QUICK
        received += text
        assert received + (await ask(place, received=received))[0] == WHOLE
        assert await kept(place) == [("customer", "Conte"), ("bot", WHOLE)]


async def test_a_cached_answer_goes_on_from_the_cache_and_none_that_was_begun_is_put_there(
    serving: Any, model: FakeOpenAI, database: Database
) -> None:
    async with serving(model, CONTINUES, database) as place:

        async def cached(received: str) -> tuple[str, chat_pb2.MessageEnd]:
            opening = chat_pb2.Open()
            opening.cache_ttl.FromSeconds(60)
            talk = place.talk((("authorization", f"Bearer {TOKEN}"),))
            await talk._call.write(chat_pb2.ChatRequest(open=opening))
            await talk.read()
            answer = await talk.ask("Conte", received=received)
            await talk.finish()
            return answer

        assert (await cached("Outra coisa."))[1].finish_reason == "stop"
        text, end = await cached("")
        assert (text, end.cached) == (WHOLE, False)
        text, end = await cached("palavra0")
        assert ("palavra0" + text, end.cached) == (WHOLE, True)
        assert not (await cached("Outra coisa."))[1].cached
        assert len(model.requests) == 3
