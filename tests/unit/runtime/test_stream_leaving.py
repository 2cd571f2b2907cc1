"""Events that leave at once and events that wait for room are one sequence."""

import asyncio
from collections import deque
from typing import Any

import grpc
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from malha.api.transcribe.v1 import transcribe_pb2 as api
from malha.runtime.auth import Principal
from malha.runtime.carried import Context
from malha.runtime.stream import Stream, StreamLimits

SECONDS = 5.0


class Client:
    """What carries a call, with as much room as it is given: both `Source` and `Sink`."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.received: list[int] = []
        self.at_once = 0
        self.finished = asyncio.Event()
        self._writers: deque[asyncio.Future[None]] = deque()

    async def get(self) -> Message | None:
        await self.finished.wait()
        return api.TranscribeRequest(finish=api.Finish())

    async def put(self, message: Any) -> bool:
        while not self.room:
            waiter = asyncio.get_running_loop().create_future()
            self._writers.append(waiter)
            await waiter
        self._take(message)
        return True

    def put_now(self, message: Any) -> bool:
        if not self.room:
            return False
        self._take(message)
        self.at_once += 1
        return True

    def read(self, count: int) -> None:
        """Make room."""
        self.room += count
        while self._writers:
            self._writers.popleft().set_result(None)

    def _take(self, message: api.TranscribeResponse) -> None:
        self.room -= 1
        self.received.append(message.partial.utterance)


def stream_to(client: Any) -> Stream[api.TranscribeRequest, api.TranscribeResponse]:
    context: Any = Context((), client, client)
    return Stream(context, api.TranscribeRequest(open=api.Open()), Principal("t", "token"), {}, StreamLimits(), "test", lambda _: None)


def event(number: int) -> api.TranscribeResponse:
    return api.TranscribeResponse(partial=api.Partial(utterance=number))


@given(st.lists(st.sampled_from(["emit", "send", "read", "wait"]), max_size=60))
def test_whatever_room_there_is_events_come_once_and_in_order(actions: list[str]) -> None:
    asyncio.run(_follow(actions))


async def _follow(actions: list[str]) -> None:
    client = Client(room=1)
    told = 0

    async def session(stream: Stream[Any, Any]) -> None:
        nonlocal told
        for action in actions:
            if action == "emit":
                told += 1
                stream.emit(event(told))
            elif action == "send":
                told += 1
                await stream.send(event(told))  # fewer than its window wait here
            elif action == "read":
                client.read(1)
            else:
                await asyncio.sleep(0)
        client.read(len(actions))

    async with asyncio.timeout(SECONDS):
        await stream_to(client)._run(session)
    assert client.received == list(range(1, told + 1))


async def test_with_room_an_event_is_there_before_anything_else_runs() -> None:
    client = Client(room=2)

    async def session(stream: Stream[Any, Any]) -> None:
        stream.emit(event(1))
        assert client.received == [1]
        stream.emit(event(2), partial_of="a")
        stream.emit(event(3), partial_of="a")
        stream.emit(event(4), partial_of="a")  # of a partial that waits the newest is told
        assert client.received == [1, 2]
        client.read(5)

    await stream_to(client)._run(session)
    assert client.received == [1, 2, 4]
    assert client.at_once == 2


async def test_grpcs_own_context_is_written_by_its_one_writer() -> None:
    class GrpcContext:
        def __init__(self) -> None:
            self.writing = 0
            self.received: list[int] = []

        async def read(self) -> Any:
            return grpc.aio.EOF

        async def write(self, message: Any) -> None:
            assert not self.writing, "grpc.aio takes one write at a time"
            self.writing += 1
            await asyncio.sleep(0)
            self.writing -= 1
            self.received.append(message.partial.utterance)

    context: Any = GrpcContext()
    stream: Stream[Any, Any] = Stream(
        context, api.TranscribeRequest(open=api.Open()), Principal("t", "token"), {}, StreamLimits(), "test", lambda _: None
    )

    async def session(stream: Stream[Any, Any]) -> None:
        for number in range(5):
            stream.emit(event(number))
        assert context.received == []

    await stream._run(session)
    assert context.received == list(range(5))
