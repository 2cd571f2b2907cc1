"""How audio is handed on: gathered, passed through, held back."""

import asyncio
import time

import grpc
import pytest
from integration.edge.conftest import EdgeFor, RunningEdge, talk

from fakes.audio_server import FakeCall, FakeServer, error_info, serving
from fakes.bars import reach
from malha.edge.framing import POSITION

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAMES_20_MS = 320


def piece(number: int, frames: int = FRAMES_20_MS) -> bytes:
    return number.to_bytes(2, "little") * frames


async def test_small_pieces_are_joined_to_100_ms(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start()
        for number in range(50):
            await call.socket.send(piece(number))
        await call.say(event="stop")
        _, code = await call.rest()
        assert code == 1000
        assert fake.call.content == b"".join(piece(number) for number in range(50))
        assert {len(each.content) for each in fake.call.pieces} == {5 * len(piece(0))}


async def test_100_ms_pieces_pass_as_they_are(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start()
        sizes = [1600, 1600, 3200, 160, 1600]
        for number, frames in enumerate(sizes):
            await call.socket.send(piece(number, frames))
        await call.say(event="stop")
        await call.rest()
        assert [len(each.content) for each in fake.call.pieces] == [2 * frames for frames in sizes]


async def test_a_busy_edge_joins_to_200_ms(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, busy_sockets=2) as edge, talk(edge) as call, talk(edge) as other:
        await call.start()
        await other.start()
        for number in range(4):
            await call.socket.send(piece(number, 1600))
        await other.socket.send(piece(1, 1600))
        await other.event("ack")  # alone it waits, and is handed on by time
        await other.say(event="stop")
        await other.rest()
        await asyncio.sleep(0.05)
        await call.socket.send(piece(4, 1600))  # the edge is quiet again
        await call.say(event="stop")
        await call.rest()
        assert [len(each.content) for each in fake.calls[0].pieces] == [6400, 6400, 3200]


async def test_a_small_piece_does_not_wait_longer_than_100_ms(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start()

        async def once() -> float:
            sent = time.monotonic()
            await call.socket.send(piece(1))
            await call.event("ack")
            waited = time.monotonic() - sent
            assert waited > 0.08, "it is handed on by time, not by size"
            return waited

        await reach(2, once)
        assert {len(each.content) for each in fake.call.pieces} == {len(piece(1))}


async def test_a_flush_comes_after_all_audio_before_it(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start()
        await call.socket.send(piece(1))
        await call.say(event="flush")
        await call.event("batch_processed")
        await call.socket.send(piece(2))
        await call.say(event="stop")
        await call.rest()
        kinds = [request.WhichOneof("request") for request in fake.call.requests]
        assert kinds == ["open", "audio", "control", "audio", "finish"]


async def test_positions_travel_and_end_a_gathering_where_they_jump(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start(positions=True)
        for position in (0, 320, 640, 9000, 9320, 9640, 9960, 10280):
            await call.socket.send(POSITION.pack(position) + piece(1))
        await call.say(event="stop")
        await call.rest()
        assert [(each.position, len(each.content) // 2) for each in fake.call.pieces] == [(0, 960), (9000, 1600)]


async def test_an_odd_piece_is_not_hidden_in_a_gathering(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start()
        for data in (piece(1), b"odd", piece(2)):
            await call.socket.send(data)
        await call.say(event="stop")
        await call.rest()
        assert [each.content for each in fake.call.pieces] == [piece(1), b"odd", piece(2)]


async def test_fragmented_and_split_messages_arrive_whole(fake: FakeServer, fake_edge: RunningEdge) -> None:
    whole = bytes(range(256)) * 20
    async with talk(fake_edge) as call:
        await call.start()
        await call.socket.send([whole[:100], whole[100:3000], whole[3000:]])  # three fragments of one message
        await call.socket.send(whole)
        transport = call.socket.transport
        frame = bytes([0x82, 0x80 | 126, *len(whole).to_bytes(2, "big"), 0, 0, 0, 0]) + whole
        for part in (frame[:3], frame[3:1000], frame[1000:] + frame + frame[:5], frame[5:]):  # as TCP may split it
            transport.write(part)
            await asyncio.sleep(0.02)
        await call.say(event="stop")
        await call.rest()
        assert fake.call.content == whole * 5


async def test_a_socket_whose_call_is_behind_is_not_read_and_ends(edge_for: EdgeFor) -> None:
    """The server takes nothing: TCP pushes back to the client, and the call ends in bounded time."""

    async def deaf(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        await asyncio.sleep(60)

    async with serving(deaf) as fake, edge_for(fake.target, stall_seconds=1) as edge, talk(edge) as call:
        await call.start()
        sent = 0

        async def pour() -> None:
            nonlocal sent
            while True:
                await call.socket.send(bytes(64_000))
                sent += 64_000

        pouring = asyncio.create_task(pour())
        error, code = await call.refused()
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        assert (error["reason"], code) == ("CALL_BEHIND", 4408)
        assert error["retryable"]
        assert sent < 64_000_000, "nothing held the client back"


async def test_why_the_server_ended_a_call_is_told_even_in_the_middle_of_a_write(fake: FakeServer, fake_edge: RunningEdge) -> None:
    """grpc.aio would tell INTERNAL: it makes a status of its own of a write that fails."""

    async def ends(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        await asyncio.sleep(0.2)
        await call.abort(grpc.StatusCode.UNAVAILABLE, "events are not read", error_info("READER_SLOW"))

    fake.behaviour = ends
    for _ in range(5):
        async with talk(fake_edge) as call:
            await call.start()
            pouring = asyncio.create_task(_pour(call.socket))
            error, code = await call.refused()
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)
            assert (error["reason"], code) == ("READER_SLOW", 4408)


async def test_other_calls_go_on_beside_one_that_is_behind(edge_for: EdgeFor) -> None:
    async def first_is_deaf(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        if len(fake.calls) == 1:
            await asyncio.sleep(60)
        while (request := await call.read()) is not None and not request.HasField("finish"):
            await call.ack(1, 0)
        await call.close()

    async with serving(first_is_deaf) as fake, edge_for(fake.target, stall_seconds=1) as edge, talk(edge) as behind, talk(edge) as call:
        await behind.start()
        pouring = asyncio.create_task(_pour(behind.socket))
        await asyncio.sleep(0.2)
        await call.start()
        for number in range(20):
            await call.socket.send(piece(number, 1600))
            await call.event("ack")
        await call.say(event="stop")
        _, code = await call.rest()
        assert code == 1000
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)


async def _pour(socket) -> None:
    while True:
        await socket.send(bytes(64_000))
