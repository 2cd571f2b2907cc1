"""Answers that go on: over real connections that break at any message, and servers that stop, refuse or never were there."""

import asyncio
import time

import grpc
import pytest

from fakes.audio_server import TOKEN
from fakes.chat_server import ANSWER, PIECES, Ending, FakeChat, serving
from fakes.wire import Wire
from malha.sdk import (
    ChatAnswer,
    ChatDelta,
    ChatMessage,
    DeadlineExceeded,
    InvalidRequest,
    Malha,
    MalhaSync,
    QuotaExceeded,
    Unavailable,
    _resumption,
)
from malha.sdk._stream import EventStream

STEPS = 2 * (3 + 1 + len(PIECES) + 2)
"""Of an answer that nothing breaks: before and after each message."""
DRAINING = Ending(reason="DRAINING", retry_seconds=0.05)
BUSY = Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", 0.05)


async def ask(malha: Malha, **options) -> tuple[list[str], ChatAnswer]:
    """The deltas, and the answer."""
    *deltas, answer = [event async for event in malha.chat("Qual é o prazo?", **options)]
    assert isinstance(answer, ChatAnswer)
    assert all(isinstance(delta, ChatDelta) for delta in deltas)
    return [delta.text for delta in deltas], answer


async def collect(malha: Malha, texts: list[str]) -> None:
    """Into ``texts``, which has them also when the iteration raises."""
    async for event in malha.chat("x"):
        texts += [event.text]


def check(fake: FakeChat, deltas: list[str], answer: ChatAnswer) -> None:
    assert "".join(deltas) == ANSWER == answer.text
    assert fake.asked[-1].name
    assert (answer.finish_reason, answer.completion_tokens, answer.alias) == ("stop", len(PIECES), "main")
    assert all(asked.texts == ["Qual é o prazo?"] for asked in fake.asked if asked.received)


async def test_a_server_that_dies_at_any_message():
    async with serving(FakeChat()) as fake, Malha(fake.target, TOKEN) as malha:
        check(fake, *await ask(malha))
        assert fake.steps == STEPS
        for step in range(3, STEPS + 1):
            fake.steps, fake.breaks, before = 0, {step}, len(fake.asked)
            async with asyncio.timeout(30):
                check(fake, *await ask(malha))
            again = len(fake.asked) - before - 1
            assert len({asked.name for asked in fake.asked[before:]} - {""}) == 1, "it is one question"
            assert again == (step <= STEPS - 3), f"asked {again} times again after the loss at step {step}"


async def test_a_server_that_is_lost_again_and_again():
    async with serving(FakeChat(breaks=range(11, 75, 9))) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(60):
        check(fake, *await ask(malha))
        assert len(fake.asked) >= 3


async def test_a_wire_that_is_cut():
    fake = FakeChat()
    fake.between_seconds = 0.05
    async with serving(fake), Wire(fake.port).laid() as wire, Malha(wire.target, TOKEN) as malha, asyncio.timeout(60):
        deltas: list[str] = []
        async for event in malha.chat("Qual é o prazo?"):
            if isinstance(event, ChatDelta):
                deltas.append(event.text)
                wire.cut()
            else:
                check(fake, deltas, event)
    assert "".join(deltas) == ANSWER
    assert len(fake.asked) > 2


async def test_a_whole_answer_with_what_was_said_before():
    history = [ChatMessage("user", "Oi"), ChatMessage("assistant", "Olá!")]
    async with serving(FakeChat(breaks={20})) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        answer = await malha.complete("Qual é o prazo?", alias="one", history=history)
    first, second = fake.asked
    assert answer.text == ANSWER
    assert (first.received, first.texts, first.alias) == ("", ["Oi", "Olá!", "Qual é o prazo?"], "one")
    assert (second.received != "", second.texts, second.alias) == (True, first.texts, "one")


async def test_without_await():
    def use(target: str) -> tuple[list[str], str]:
        with MalhaSync(target, TOKEN) as malha:
            return [event.text for event in malha.chat("x") if isinstance(event, ChatDelta)], malha.complete("x").text

    async with serving(FakeChat(breaks={15, 45})) as fake:
        texts, whole = await asyncio.wait_for(asyncio.to_thread(use, fake.target), 60)
    assert "".join(texts) == ANSWER == whole
    assert len(fake.asked) == 4


async def test_an_answer_to_a_schema_is_asked_for_again_until_it_came():
    async with serving(FakeChat(breaks={8})) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        answer = await malha.complete("x", schema={"type": "object"})
        assert answer.text == ANSWER
        assert [asked.received for asked in fake.asked] == ["", ""]
        fake.breaks = {fake.steps + 11}  # its one delta has come
        with pytest.raises(Unavailable):
            await malha.complete("x", schema={"type": "object"})
        assert len(fake.asked) == 3


@pytest.mark.parametrize("ending", [DRAINING, BUSY, Ending(grpc.StatusCode.INTERNAL)], ids=lambda ending: ending.reason or ending.code.name)
async def test_a_server_that_refuses_for_now_is_asked_again(ending: Ending):
    async with serving(FakeChat(breaks={12})) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        fake.refusals = [None, ending, ending]
        check(fake, *await ask(malha))
        assert len(fake.asked) == 4


async def test_a_server_that_stops_before_it_opened_the_answer_is_left_for_another():
    async with serving(FakeChat()) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        fake.refusals = [DRAINING, DRAINING]
        check(fake, *await ask(malha))


@pytest.mark.parametrize(
    ("code", "kind"),
    [(grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest), (grpc.StatusCode.RESOURCE_EXHAUSTED, QuotaExceeded)],
)
async def test_what_a_server_refuses_is_told(code: grpc.StatusCode, kind: type[Exception]):
    """First, and in the midst of an answer."""
    async with serving(FakeChat(ending=Ending(code, "REFUSED"))) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        for step in (6, 14):
            fake.steps, fake.breaks, before = 0, {step}, len(fake.asked)
            with pytest.raises(kind) as refused:
                await ask(malha)
            assert getattr(refused.value, "reason", "") == "REFUSED"
            assert len(fake.asked) == before + 1


async def test_a_server_that_has_another_answer_is_believed():
    async with serving(FakeChat(breaks={10})) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        fake.refusals = [None, Ending(grpc.StatusCode.INVALID_ARGUMENT, "RECEIVED_DIFFERS")]
        deltas: list[str] = []
        with pytest.raises(InvalidRequest) as differs:
            await collect(malha, deltas)
        assert differs.value.reason == "RECEIVED_DIFFERS"
        assert deltas == [PIECES[0]]
        assert len(fake.asked) == 2


async def test_it_is_given_up_after_its_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_resumption, "GIVE_UP_SECONDS", 2.0)
    async with serving(FakeChat(breaks={14})) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        fake.refusals = [None, *[Ending(reason="SERVER_SICK")] * 100]
        deltas: list[str] = []
        began = time.monotonic()
        with pytest.raises(Unavailable) as last:
            await collect(malha, deltas)
        assert time.monotonic() - began >= 1.95
        assert last.value.reason == "SERVER_SICK"
        assert deltas == list(PIECES[:3])
        assert 2 < len(fake.asked) < 20


async def test_progress_gives_it_new_time(monkeypatch: pytest.MonkeyPatch):
    """Each piece takes as long as may be waited; together they take longer."""
    monkeypatch.setattr(_resumption, "GIVE_UP_SECONDS", 1.0)
    fake = FakeChat(breaks=(12, 22, 32, 42))
    fake.between_seconds = 0.4
    async with serving(fake), Malha(fake.target, TOKEN) as malha, asyncio.timeout(60):
        check(fake, *await ask(malha))
    assert len(fake.asked) == 5


async def test_the_time_an_answer_may_take_goes_on_while_it_is_lost():
    fake = FakeChat(breaks={14})
    fake.between_seconds = 0.2
    async with serving(fake), Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        check(fake, *await ask(malha, timeout_seconds=20))
        first, second = fake.asked
        assert first.timeout_seconds == 20
        assert second.timeout_seconds < 19.7
        fake.breaks = {fake.steps + 14}
        fake.refusals = [None, *[Ending()] * 100]
        with pytest.raises(DeadlineExceeded) as late:
            await ask(malha, timeout_seconds=1.0)
        assert late.value.reason == "ANSWER_TIMEOUT"


async def test_a_server_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_resumption, "GIVE_UP_SECONDS", 600)
    async with Malha("127.0.0.1:1", TOKEN) as malha, asyncio.timeout(30):
        with pytest.raises(Unavailable):
            await ask(malha)


async def test_without_resume_the_loss_is_told_at_once():
    async with serving(FakeChat(breaks={14})) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        for asking in (ask(malha, resume=False), malha.complete("x", resume=False)):
            fake.steps = 0
            with pytest.raises(Unavailable):
                await asking
        assert len(fake.asked) == 2


async def test_a_server_that_does_not_open_the_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("malha.sdk._asking._ATTEMPT_SECONDS", 0.2)
    monkeypatch.setattr(_resumption, "GIVE_UP_SECONDS", 0.5)
    async with serving(FakeChat(breaks={14})) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        answer = malha.chat("x")
        assert (await anext(answer)).text == PIECES[0]
        fake.opens = False
        with pytest.raises(Unavailable):
            async for _ in answer:
                pass
        while fake.stopped < len(fake.asked) - 1:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("opens", [True, False])
async def test_leaving_during_the_wait_leaves_nothing_behind(opens: bool):
    """While the server is away, and while it does not answer."""
    fake = FakeChat(breaks={10})
    async with serving(fake), Wire(fake.port).laid() as wire, Malha(wire.target, TOKEN) as malha, asyncio.timeout(30):
        running: set[EventStream] = malha._streams
        async with malha.chat("x") as answer:
            assert (await anext(answer)).text == PIECES[0]
            fake.opens, wire.down = False, opens
            if opens:
                wire.cut()
            waiting = asyncio.create_task(anext(answer))
            while not opens and len(fake.asked) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert not waiting.done()
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert not running
        assert not [task for task in asyncio.all_tasks() if "EventStream" in repr(task.get_coro())]
        while not opens and fake.stopped < 1:
            await asyncio.sleep(0.01)
        asked = len(fake.asked)
        await asyncio.sleep(0.3)
        assert len(fake.asked) == asked


async def test_leaving_the_loop_during_an_answer_that_goes_on_stops_it():
    fake = FakeChat(breaks={10})
    fake.between_seconds = 0.05
    async with serving(fake), Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        async for event in malha.chat("x"):
            if isinstance(event, ChatDelta) and event.text == PIECES[1]:
                break
        while fake.stopped < 1:
            await asyncio.sleep(0.01)
        assert len(fake.asked) == 2
