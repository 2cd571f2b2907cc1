"""Calls within a process: what clients rely on of grpc.aio's calls."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int32Value

from malha.runtime.inprocess import ROOM, InProcessChannel
from malha.runtime.status import DETAILS_KEY

Handler = Callable[[Any, Any], Awaitable[None]]


def channel(handler: Handler) -> InProcessChannel:
    async def half(request: Int32Value, _: Any) -> Int32Value:
        return Int32Value(value=request.value // 2)

    async def refuse(_: Int32Value, context: Any) -> Int32Value:
        await context.abort(grpc.StatusCode.NOT_FOUND, "none", ((DETAILS_KEY, b"v"),))
        raise AssertionError

    methods = {
        "Talk": grpc.stream_stream_rpc_method_handler(handler),
        "Half": grpc.unary_unary_rpc_method_handler(half),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    }
    return InProcessChannel([grpc.method_handlers_generic_handler("s", methods)])


async def double(_: Any, context: Any) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(Int32Value(value=2 * message.value))


async def test_messages_go_both_ways_and_the_end_is_told() -> None:
    call = channel(double).stream_stream("/s/Talk")(metadata=(("a", "b"),))
    for number in range(3):
        await call.write(Int32Value(value=number))
        assert (await call.read()).value == 2 * number
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(Int32Value())


async def test_a_status_comes_after_what_was_written_before_it() -> None:
    async def refuse(_: Any, context: Any) -> None:
        assert dict(context.invocation_metadata()) == {"a": "b"}
        await context.write(Int32Value(value=1))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", ((DETAILS_KEY, b"v"),))

    call = channel(refuse).stream_stream("/s/Talk")(metadata=(("a", "b"),))
    assert (await call.read()).value == 1
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(raised.value.trailing_metadata()) == {DETAILS_KEY: b"v"}
    assert await call.details() == "full"


async def test_a_writer_waits_for_the_reader() -> None:
    reading = asyncio.Event()

    async def slow(_: Any, context: Any) -> None:
        await reading.wait()
        while await context.read() is not grpc.aio.EOF:
            pass

    call = channel(slow).stream_stream("/s/Talk")()
    for _ in range(ROOM):
        await call.write(Int32Value())
    writing = asyncio.create_task(call.write(Int32Value()))
    await asyncio.sleep(0.01)
    assert not writing.done()
    reading.set()
    await asyncio.wait_for(writing, 5)
    call.cancel()


async def test_without_waiting_a_handler_writes_as_far_as_there_is_room() -> None:
    written: list[bool] = []
    ended = asyncio.Event()

    async def pour(_: Any, context: Any) -> None:
        try:
            written.extend(context.write_now(Int32Value(value=number)) for number in range(ROOM + 2))
            await asyncio.Event().wait()
        finally:
            written.append(context.write_now(Int32Value()))
            ended.set()

    call = channel(pour).stream_stream("/s/Talk")()
    assert [(await call.read()).value for _ in range(ROOM)] == list(range(ROOM))
    assert written == [True] * ROOM + [False] * 2
    call.cancel()
    await ended.wait()


async def test_a_writer_that_waits_is_told_when_the_call_ends() -> None:
    async def deaf(_: Any, __: Any) -> None:
        await asyncio.sleep(0.02)

    call = channel(deaf).stream_stream("/s/Talk")()
    with pytest.raises(asyncio.InvalidStateError):
        for _ in range(ROOM + 1):
            await call.write(Int32Value())


async def test_giving_a_call_up_cancels_its_handler() -> None:
    ended = asyncio.Event()

    async def wait(_: Any, context: Any) -> None:
        try:
            await context.read()
        finally:
            ended.set()

    talk = channel(wait)
    call, other = (talk.stream_stream("/s/Talk")() for _ in range(2))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait_for(ended.wait(), 5)
    assert await call.code() is grpc.StatusCode.CANCELLED
    await asyncio.wait_for(talk.close(), 5)
    assert other.task.cancelled()


async def test_a_call_given_up_before_its_handler_ran_ends_too() -> None:
    call = channel(double).stream_stream("/s/Talk")()
    reading = asyncio.create_task(call.read())
    call.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(reading, 5)
    assert raised.value.code() is grpc.StatusCode.CANCELLED


async def test_a_handler_that_breaks_ends_the_call_with_a_status() -> None:
    async def broken(_: Any, __: Any) -> None:
        raise ValueError

    call = channel(broken).stream_stream("/s/Talk")()
    assert await asyncio.wait_for(call.code(), 5) is grpc.StatusCode.UNKNOWN
    with pytest.raises(grpc.aio.AioRpcError):
        await call.read()


async def test_unary_calls_and_methods_that_are_not_there() -> None:
    calls = channel(double)
    assert (await calls.unary_unary("/s/Half")(Int32Value(value=8), timeout=5)).value == 4
    with pytest.raises(grpc.aio.AioRpcError, match="none"):
        await calls.unary_unary("/s/Refuse")(Int32Value(), metadata=())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        calls.stream_stream("/s/Nothing")()
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
