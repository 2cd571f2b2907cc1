"""The SDK's answers survive their server: a real `malha serve chat` that is killed, or stopped, midway and started again."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from conftest import TOKEN

from fakes.chat_process import ChatProcess
from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import Fault
from malha.sdk import ChatAnswer, ChatDelta, Malha, _resumption

ANSWER = " ".join(f"palavra{number}" for number in range(40))


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        server.otherwise = Fault(between_tokens_seconds=0.05, answer=lambda _: ANSWER)
        yield server


async def test_an_answer_is_told_once_and_whole(tmp_path: Path, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_resumption, "GIVE_UP_SECONDS", 200.0)  # a busy machine takes its time to start a process
    deltas: list[str] = []
    answers: list[ChatAnswer] = []
    ends = iter([signal.SIGKILL, signal.SIGTERM])
    async with ChatProcess(tmp_path, model, TOKEN).running() as server, Malha(server.target, TOKEN) as malha, asyncio.timeout(300):
        replacing: list[asyncio.Task[None]] = []
        async for event in malha.chat("Conte"):
            if isinstance(event, ChatAnswer):
                answers.append(event)
                continue
            assert isinstance(event, ChatDelta)
            deltas.append(event.text)
            if len(deltas) in {3, 12} and (number := next(ends, None)) is not None:
                replacing.append(asyncio.create_task(server.replace(number)))
        await asyncio.gather(*replacing)
    assert len(replacing) == 2
    assert "".join(deltas) == ANSWER
    [answer] = answers
    assert (answer.text, answer.finish_reason) == (ANSWER, "stop")
    assert len(model.requests) == 3
