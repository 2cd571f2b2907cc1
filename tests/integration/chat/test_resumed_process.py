"""An answer through three processes: one is killed in its midst, one drains, and the last tells the rest; the conversation has it once."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from conftest import AUTHORIZED, TOKEN
from integration.chat.chatting import Talk

from fakes.chat_process import ChatProcess
from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import Fault
from malha.api.chat.v1 import chat_pb2_grpc
from malha.runtime.errors import Unavailable
from malha.store.database import Database
from malha.store.settings import StoreSettings

WHOLE = " ".join(f"palavra{number}" for number in range(60))
SLOW = Fault(between_tokens_seconds=0.1)


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(lambda _: WHOLE, owner="vllm", continues=True) as server:
        yield server


async def begin(talk: Talk, received: str) -> str:
    """What is received with the first deltas of an answer."""
    await talk.open(conversation_id="c1")
    await talk.say("Conte", received=received)
    for _ in range(3):
        received += (await talk.read()).delta.text
    return received


async def lost(talk: Talk, received: str) -> tuple[str, Unavailable]:
    """All that is received until the stream ends, and its status."""
    with pytest.raises(Unavailable) as ended:
        while True:
            received += (await talk.read()).delta.text
    return received, ended.value


async def test_an_answer_outlives_its_servers(tmp_path: Path, store: StoreSettings, database: Database, model: FakeOpenAI) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    model.faults += [SLOW, SLOW]
    one, two = (ChatProcess(folder, model, TOKEN, store.url) for folder in folders)
    async with (
        one.running(),
        two.running(),
        grpc.aio.insecure_channel(one.target) as first,
        grpc.aio.insecure_channel(two.target) as second,
    ):
        async with database.app_tx() as connection:
            tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
        async with database.tenant_tx(tenant) as connection:
            await connection.execute("INSERT INTO conversation (tenant_id, external_id) VALUES (malha_tenant(), 'c1')")

        talk = Talk(chat_pb2_grpc.ChatServiceStub(first).Chat(metadata=AUTHORIZED))
        received = await begin(talk, "")
        await one.end(signal.SIGKILL)
        received, _ = await lost(talk, received)

        talk = Talk(chat_pb2_grpc.ChatServiceStub(second).Chat(metadata=AUTHORIZED))
        received = await begin(talk, received)
        await two.end(signal.SIGTERM)
        received, status = await lost(talk, received)
        assert (status.reason, WHOLE.startswith(received), received == WHOLE) == ("DRAINING", True, False)
        assert status.retry_seconds is not None

        await two.start()
        talk = Talk(chat_pb2_grpc.ChatServiceStub(second).Chat(metadata=AUTHORIZED))
        await talk.open(conversation_id="c1")
        rest, end = await talk.ask("Conte", received=received)
        assert received + rest == WHOLE
        assert end.finish_reason == "stop"
        async with database.tenant_tx(tenant) as connection:
            messages = await connection.fetch("SELECT id::text, text FROM message ORDER BY created_at")
        assert [row["text"] for row in messages] == ["Conte", WHOLE]
        assert end.message_id == messages[1]["id"]
        assert [bool(request.begun) for request in model.requests] == [False, True, True]
