"""Calls in a relay behave as calls over streams of their own: order, flow control, statuses, cancellation, loss."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from malha.api.relay.v1 import relay_pb2 as api
from malha.runtime.relay import MAX_HELD_BYTES, METHOD, WINDOW_BYTES, RelayServer
from malha.runtime.relay_client import RelayCall, RelayChannel
from malha.runtime.status import DETAILS_KEY

TALK = "/test.Service/Talk"
SECONDS = 10.0
Handler = Callable[[Any, Any], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, port: int = 0) -> AsyncIterator[int]:
    talk = grpc.stream_stream_rpc_method_handler(handler, BytesValue.FromString, BytesValue.SerializeToString)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handlers = [grpc.method_handlers_generic_handler("test.Service", {"Talk": talk})]
    server.add_generic_rpc_handlers((RelayServer(handlers).handler(),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


@asynccontextmanager
async def relaying(port: int) -> AsyncIterator[RelayChannel]:
    options = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 3_000), ("grpc.max_reconnect_backoff_ms", 50))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        relay = RelayChannel(channel)
        try:
            yield relay
        finally:
            await relay.close()


def talk(relay: RelayChannel, **metadata: str) -> RelayCall:
    return relay.stream_stream(TALK)(metadata=tuple(metadata.items()))


async def say(call: RelayCall, value: bytes) -> None:
    await call.write(BytesValue(value=value).SerializeToString())


async def hear(call: RelayCall) -> bytes | None:
    async with asyncio.timeout(SECONDS):
        message = await call.read()
    return None if message is grpc.aio.EOF else BytesValue.FromString(message).value


async def echo(_: Any, context: Any) -> None:
    """Says everything again, and ends after `bye`."""
    while (request := await context.read()) is not grpc.aio.EOF:
        await context.write(request)
        if request.value == b"bye":
            return


async def test_many_calls_keep_their_own_order() -> None:
    async def converse(call: RelayCall, number: int) -> list[bytes | None]:
        for k in range(20):
            await say(call, b"%d-%d" % (number, k))
        await say(call, b"bye")
        return [await hear(call) for _ in range(22)]

    async with serving(echo) as port, relaying(port) as relay:
        heard = await asyncio.gather(*(converse(talk(relay), number) for number in range(200)))
    for number, messages in enumerate(heard):
        assert messages == [*(b"%d-%d" % (number, k) for k in range(20)), b"bye", None]


async def test_a_call_that_is_not_read_holds_only_its_own_writer() -> None:
    async def deaf_or_echo(_: Any, context: Any) -> None:
        if dict(context.invocation_metadata()).get("kind") == "deaf":
            await asyncio.Event().wait()
        await echo(_, context)

    async with serving(deaf_or_echo) as port, relaying(port) as relay:
        deaf, other = talk(relay, kind="deaf"), talk(relay)
        written = 0

        async def pour() -> None:
            nonlocal written
            while True:
                await say(deaf, bytes(10_000))
                written += 10_000

        pouring = asyncio.create_task(pour())
        async with asyncio.timeout(SECONDS):
            while written < WINDOW_BYTES - 10_000:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert written <= WINDOW_BYTES + 10_000
        await say(other, b"hello")
        assert await hear(other) == b"hello"
        pouring.cancel()
        await asyncio.wait([pouring])


async def test_a_client_that_does_not_read_holds_only_its_own_handler() -> None:
    written: dict[str, int] = {}

    async def pour(_: Any, context: Any) -> None:
        kind = dict(context.invocation_metadata()).get("kind", "")
        for _number in range(40):
            await context.write(BytesValue(value=bytes(10_000)))
            written[kind] = written.get(kind, 0) + 10_000

    async with serving(pour) as port, relaying(port) as relay:
        idle, eager = talk(relay, kind="idle"), talk(relay, kind="eager")
        for _ in range(40):
            assert await hear(eager) == bytes(10_000)
        assert await hear(eager) is None
        assert written["idle"] <= WINDOW_BYTES + 10_000
        for _ in range(40):  # and what was held comes, once it is read
            assert await hear(idle) == bytes(10_000)
        assert await hear(idle) is None


async def test_without_waiting_a_handler_writes_as_far_as_the_client_has_room() -> None:
    taken: list[bool] = []

    async def pour(_: Any, context: Any) -> None:
        while context.write_now(BytesValue(value=b"%d" % len(taken) + bytes(10_000))):
            taken.append(True)
        await context.write(BytesValue(value=b"last"))

    async with serving(pour) as port, relaying(port) as relay:
        call = talk(relay)
        heard = []
        while (message := await hear(call)) is not None:
            heard.append(message.rstrip(b"\0"))
    assert heard == [*(b"%d" % number for number in range(len(taken))), b"last"]
    assert WINDOW_BYTES <= len(taken) * 10_000 <= WINDOW_BYTES + 20_000


async def test_a_status_with_its_details_follows_the_last_message() -> None:
    async def refuse(_: Any, context: Any) -> None:
        await context.write(BytesValue(value=b"first"))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", ((DETAILS_KEY, b"d"),))

    async with serving(refuse) as port, relaying(port) as relay:
        call = talk(relay)
        assert await hear(call) == b"first"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await hear(call)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raised.value.details() == "full"
        assert dict(raised.value.trailing_metadata()) == {DETAILS_KEY: b"d"}
        with pytest.raises(asyncio.InvalidStateError):
            await say(call, b"late")


async def test_a_handler_that_fails_is_an_unknown_error_and_nobody_elses() -> None:
    async def fail(_: Any, context: Any) -> None:
        if dict(context.invocation_metadata()).get("kind") == "bad":
            raise ValueError("defect")
        await echo(_, context)

    async with serving(fail) as port, relaying(port) as relay:
        bad, other = talk(relay, kind="bad"), talk(relay)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await hear(bad)
        assert raised.value.code() is grpc.StatusCode.UNKNOWN
        await say(other, b"hello")
        assert await hear(other) == b"hello"


async def test_an_unknown_method_is_unimplemented() -> None:
    async with serving(echo) as port, relaying(port) as relay:
        call = relay.stream_stream("/test.Service/Sing")()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await hear(call)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_giving_a_call_up_cancels_its_handler_alone() -> None:
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def wait(_: Any, context: Any) -> None:
        try:
            await echo(_, context)
        finally:
            await ended.put(dict(context.invocation_metadata())["name"])

    async with serving(wait) as port, relaying(port) as relay:
        one, two = talk(relay, name="one"), talk(relay, name="two")
        for call in (one, two):
            await say(call, b"hello")
            assert await hear(call) == b"hello"
        one.cancel()
        async with asyncio.timeout(SECONDS):
            assert await ended.get() == "one"
        await say(two, b"still")
        assert await hear(two) == b"still"
        assert ended.empty()


async def test_a_lost_edge_loses_all_its_calls() -> None:
    ended: asyncio.Queue[None] = asyncio.Queue()

    async def wait(_: Any, context: Any) -> None:
        try:
            await echo(_, context)
        finally:
            await ended.put(None)

    async with serving(wait) as port:
        async with relaying(port) as relay:
            calls = [talk(relay) for _ in range(5)]
            for call in calls:
                await say(call, b"hello")
                assert await hear(call) == b"hello"
        async with asyncio.timeout(SECONDS):
            for _ in calls:
                await ended.get()


async def test_a_lost_server_is_unavailable_and_the_next_call_connects_again() -> None:
    async with serving(echo) as port:
        relaying_there = relaying(port)
        relay = await relaying_there.__aenter__()
        call = talk(relay)
        await call.wait_for_connection()
        await say(call, b"hello")
        assert await hear(call) == b"hello"
    try:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await hear(call)
        assert raised.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        absent = talk(relay)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await absent.wait_for_connection()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        async with serving(echo, port):
            async with asyncio.timeout(SECONDS):
                while await _answers(relay) is False:
                    await asyncio.sleep(0.05)
    finally:
        await relaying_there.__aexit__(None, None, None)


async def _answers(relay: RelayChannel) -> bool:
    call = talk(relay)
    try:
        await call.wait_for_connection()
        await say(call, b"again")
        return await hear(call) == b"again"
    except grpc.aio.AioRpcError:
        return False


async def test_what_the_contract_forbids_ends_the_relay() -> None:
    def begin(number: int) -> api.Frame:
        return api.Frame(call=number, begin=api.Begin(method=TALK))

    flood = [api.Frame(call=1, message=bytes(500_000)) for _ in range(MAX_HELD_BYTES // 500_000 + 1)]
    for frames in ([begin(1), begin(1)], [begin(1), *flood]):
        async with serving(echo) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream: Any = channel.stream_stream(METHOD, api.RelayRequest.SerializeToString, api.RelayResponse.FromString)()
            await stream.write(api.RelayRequest(frames=frames))
            async with asyncio.timeout(SECONDS):
                assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_frames_of_calls_that_are_over_are_ignored() -> None:
    async with serving(echo) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream: Any = channel.stream_stream(METHOD, api.RelayRequest.SerializeToString, api.RelayResponse.FromString)()
        late = [api.Frame(call=9, message=b"x"), api.Frame(call=9, credit=10), api.Frame(call=9, cancel=api.Cancel()), api.Frame(call=9)]
        hello = api.Frame(call=1, message=BytesValue(value=b"hello").SerializeToString())
        await stream.write(api.RelayRequest(frames=[*late, api.Frame(call=1, begin=api.Begin(method=TALK)), hello]))
        async with asyncio.timeout(SECONDS):
            response = await stream.read()
        assert [frame.call for frame in response.frames] == [1]
        stream.cancel()
