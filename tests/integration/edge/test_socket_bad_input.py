"""What a WebSocket client may do wrong: a clear error, and nobody else is disturbed."""

import asyncio
import base64
import os
import socket
import struct
import sys
from pathlib import Path

import grpc
import orjson
import pytest
from conftest import TOKEN
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from integration.edge.conftest import START, EdgeFor, RunningEdge, Talk, talk
from websockets.exceptions import InvalidStatus

from fakes.audio_server import FakeCall, FakeServer, error_info, polite, serving
from malha.edge.ids import new_session_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def raw_socket(edge: RunningEdge) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An upgraded connection without a WebSocket library behind it: it answers no ping and no close."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /api/v1/asr/stream HTTP/1.1\r\nHost: 127.0.0.1:{edge.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(data))
    return bytes([opcode | (0x80 if fin else 0)]) + length + bytes(4) + data


def start_frame(edge: RunningEdge) -> bytes:
    return frame(1, orjson.dumps({"event": "start", "encoding": "pcm16", "token": edge.token}))


STARTED_BADLY = {
    "audio before start": (b"\0\0", 1003, "UNEXPECTED_BINARY"),
    "no JSON": ("hello", 1007, "NOT_JSON"),
    "no object": ("[1]", 1007, "NOT_JSON"),
    "no event": ("{}", 4400, "INVALID_ORDER"),
    "unknown event": ('{"event":"begin"}', 4400, "INVALID_ORDER"),
    "event of a wrong type": ('{"event":5}', 4400, "INVALID_FIELD"),
    "flush first": ('{"event":"flush"}', 4400, "INVALID_ORDER"),
    "no encoding": ('{"event":"start"}', 4415, "UNSUPPORTED_FORMAT"),
    "unknown encoding": ('{"event":"start","encoding":"opus"}', 4415, "UNSUPPORTED_FORMAT"),
    "rate of a wrong type": ('{"event":"start","encoding":"pcm16","sample_rate":"8k"}', 4400, "INVALID_FIELD"),
    "rate that is a flag": ('{"event":"start","encoding":"pcm16","sample_rate":true}', 4400, "INVALID_FIELD"),
    "rate of zero": ('{"event":"start","encoding":"pcm16","sample_rate":0}', 4400, "INVALID_FIELD"),
    "language of a wrong type": ('{"event":"start","encoding":"pcm16","language":[1]}', 4400, "INVALID_FIELD"),
    "unknown role": ('{"event":"start","encoding":"pcm16","roles":["boss"]}', 4400, "INVALID_FIELD"),
    "window of minus one": ('{"event":"start","encoding":"pcm16","batch_window_sec":-1}', 4400, "INVALID_FIELD"),
    "vad that is a list": ('{"event":"start","encoding":"pcm16","vad_settings":[]}', 4400, "INVALID_FIELD"),
    "positions of a wrong type": ('{"event":"start","encoding":"pcm16","positions":"yes"}', 4400, "INVALID_FIELD"),
    "unknown pace": ('{"event":"start","encoding":"webm","pace":"fast"}', 4400, "INVALID_FIELD"),
    "session id that fits no header": ('{"event":"start","encoding":"pcm16","token":"t","session_id":"a\\nb"}', 4400, "INVALID_FIELD"),
}


async def test_bad_first_messages(edge_for: EdgeFor) -> None:
    told = {}
    async with edge_for("127.0.0.1:1") as edge:
        for name, (message, _, _) in STARTED_BADLY.items():
            async with talk(edge) as call:
                await call.socket.send(message)
                error, code = await call.refused()
            told[name] = (message, code, error["reason"])
            assert error["message"]
            assert error["retryable"] is False
    assert told == STARTED_BADLY


SAID_BADLY = {
    "text where audio is due": ("not audio", 1007, "NOT_JSON"),
    "start twice": ('{"event":"start","encoding":"pcm16"}', 4400, "INVALID_ORDER"),
    "unknown event": ('{"event":"pause"}', 4400, "INVALID_FIELD"),
    "channel out of range": ('{"event":"mute","channel":2}', 4400, "INVALID_FIELD"),
    "unknown action": ('{"event":"feedback","insight_id":"i","action":"loved"}', 4400, "INVALID_FIELD"),
    "hold of a wrong type": ('{"event":"hold","on_hold":1}', 4400, "INVALID_FIELD"),
    "digits that are none": ('{"event":"dtmf","digits":"seven"}', 4400, "INVALID_FIELD"),
    "feedback on nothing": ('{"event":"feedback","action":"used"}', 4400, "INVALID_FIELD"),
    "odd audio": (b"123", 4400, "PARTIAL_FRAME"),
}


async def test_bad_messages_in_a_call(edge: RunningEdge) -> None:
    told = {}
    for name, (message, _, _) in SAID_BADLY.items():
        async with talk(edge) as call:
            await call.start()
            await call.socket.send(message)
            if isinstance(message, bytes):
                await call.say(event="stop")
            error, code = await call.refused()
        told[name] = (message, code, error["reason"])
        assert error["retryable"] is False
    assert told == SAID_BADLY


async def test_a_field_in_a_call_is_named_as_it_was_sent(edge: RunningEdge) -> None:
    for message, field, right in (
        ({"event": "dtmf", "digits": "seven"}, "digits", ""),
        ({"event": "feedback", "action": "used"}, "insight_id", "is required"),
        ({"event": "feedback", "insight_id": "i"}, "action", "must be one of shown, used, edited, ignored"),
    ):
        async with talk(edge) as call:
            await call.start()
            await call.say(**message)
            error, _ = await call.refused()
        assert list(error["violations"]) == [field]
        assert right in error["violations"][field]
        assert error["message"].startswith(f"{field}: ")


async def test_what_the_contract_refuses(edge: RunningEdge) -> None:
    for fields in ({"sample_rate": 7000}, {"channels": 3}, {"batch_window_sec": 100}, {"conversation_id": "c" * 200}):
        async with talk(edge) as call:
            await call.say(**{**START, "token": edge.token, **fields})
            error, code = await call.refused()
        assert code == 4400
        assert error["code"] == "INVALID_ARGUMENT"
        assert error["violations"]


async def test_a_piece_shorter_than_its_position(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start(positions=True)
        await call.socket.send(b"1234567")
        error, code = await call.refused()
        assert (code, error["reason"]) == (4400, "INVALID_FIELD")


async def test_what_comes_after_stop_is_not_heard(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async def slow_to_close(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        while (request := await call.read()) is not None and not request.HasField("finish"):
            pass
        await asyncio.sleep(0.3)
        await call.close()

    fake.behaviour = slow_to_close
    async with talk(fake_edge) as call:
        await call.start()
        await call.say(event="stop")
        await call.socket.send(bytes(3200))
        await call.say(event="flush")
        events, code = await call.rest()
        assert code == 1000
        assert [event.get("reason") for event in events] == ["AFTER_STOP", None, "finished"]
        assert not fake.call.pieces


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 3 * 1024 * 1024])
async def test_a_message_over_1_mib(fake: FakeServer, fake_edge: RunningEdge, size: int) -> None:
    async with talk(fake_edge) as call, talk(fake_edge) as other:
        await call.start()
        await other.start()
        sending = asyncio.create_task(call.socket.send(bytes(size)))
        error, code = await call.refused()
        await asyncio.gather(sending, return_exceptions=True)
        assert (code, error["reason"], error["retryable"]) == (1009, "FRAME_TOO_LARGE", False)
        await other.socket.send(bytes(1024 * 1024))
        await other.event("ack")
        async with asyncio.timeout(10):
            await fake.calls[0].lost.wait()


async def test_fragments_that_add_up_to_more_than_1_mib(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start()
        sending = asyncio.create_task(call.socket.send([bytes(400_000)] * 4))
        error, code = await call.refused()
        await asyncio.gather(sending, return_exceptions=True)
        assert (code, error["reason"]) == (1009, "FRAME_TOO_LARGE")


async def test_text_that_is_not_utf_8(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start()
        call.socket.transport.write(frame(1, b"\xff\xfe"))
        error, code = await call.refused()
        assert (code, error["reason"]) == (1007, "NOT_JSON")


async def test_what_is_no_websocket(fake: FakeServer, fake_edge: RunningEdge) -> None:
    unmasked, opcode, reserved = bytes([0x82, 2, 0, 0]), bytes([0x83, 0x80, 0, 0, 0, 0]), bytes([0xC2, 0x80, 0, 0, 0, 0])
    for bad in (unmasked, opcode, reserved, frame(0, b"continues nothing")):
        async with talk(fake_edge) as call:
            await call.start()
            call.socket.transport.write(bad)
            _, code = await call.rest()
            assert code == 1002
            async with asyncio.timeout(10):
                await fake.call.lost.wait()


async def test_a_client_that_leaves_without_stop_is_lost(fake: FakeServer, fake_edge: RunningEdge) -> None:
    for way in ("close", "abort", "reset", "end of file"):
        reader, writer = await raw_socket(fake_edge)
        writer.write(start_frame(fake_edge))
        await reader.readuntil(b"session_started")
        writer.write(frame(2, bytes(3200)))
        await reader.readuntil(b'"ack"')
        if way == "close":
            writer.write(frame(8, struct.pack("!H", 1000)))
        elif way == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif way == "abort":
            writer.transport.abort()
        else:
            writer.write_eof()
        async with asyncio.timeout(10):
            await fake.call.lost.wait()
        assert not any(request.HasField("finish") for request in fake.call.requests), way
        writer.close()


async def test_a_client_that_vanishes_is_lost_after_its_ping_goes_unanswered(edge_for: EdgeFor) -> None:
    """Half-open: the connection stands, but nobody answers, and events for it wait to be written."""
    async with serving() as fake, edge_for(fake.target, ping_seconds=0.2) as edge:
        reader, writer = await raw_socket(edge)
        writer.write(start_frame(edge))
        await reader.readuntil(b"session_started")
        writer.transport.pause_reading()
        async with asyncio.timeout(10):
            await fake.call.lost.wait()
        writer.transport.abort()


async def test_a_client_that_leaves_after_stop_has_its_call_finished(fake: FakeServer, fake_edge: RunningEdge) -> None:
    finished = asyncio.Event()

    async def slow(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        while (request := await call.read()) is not None and not request.HasField("finish"):
            pass
        await asyncio.sleep(0.3)
        await call.close()
        finished.set()

    fake.behaviour = slow
    async with talk(fake_edge) as call:
        await call.start()
        await call.say(event="stop")
    async with asyncio.timeout(10):
        await finished.wait()


async def test_a_slow_reader_ends_in_bounded_time(edge_for: EdgeFor) -> None:
    """The server would tell without end; the client reads nothing. What waits for it is bounded, and the call is given up."""
    told = 0

    async def chatter(call: FakeCall) -> None:
        nonlocal told
        await call.read()
        await call.opened()
        while True:
            await call.final("word " * 2000)
            told += 1

    async with serving(chatter) as fake, edge_for(fake.target, stall_seconds=1) as edge:
        reader, writer = await raw_socket(edge)
        writer.transport.pause_reading()
        writer.write(start_frame(edge))
        async with asyncio.timeout(8):
            while not fake.calls:
                await asyncio.sleep(0.05)
            await fake.call.lost.wait()
        assert told * 10_000 < 50_000_000, "nothing held the server back"
        writer.transport.resume_reading()
        data = bytearray()
        async with asyncio.timeout(8):
            while not data.endswith(struct.pack("!H", 4408)):
                data += await reader.read(1 << 20)
        assert b'"reason":"READER_SLOW"' in data[-2000:], "what waited comes first, then the reason"
        writer.close()


async def test_the_server_killed_in_a_call_is_told_as_resumable(edge_for: EdgeFor) -> None:
    program = [sys.executable, "-m", "fakes.audio_server"]
    folder = Path(__file__).resolve().parents[2]
    server = await asyncio.create_subprocess_exec(*program, cwd=folder, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    async with edge_for(f"127.0.0.1:{port}") as edge, talk(edge) as call:
        await call.start()
        server.kill()
        await server.wait()
        error, code = await call.refused()
    assert (code, error["code"], error["reason"], error["retryable"]) == (1013, "UNAVAILABLE", "SERVICE_AWAY", True)
    assert "127.0.0.1" not in error["message"]


async def test_a_service_that_is_away(edge_for: EdgeFor) -> None:
    async with edge_for("127.0.0.1:1") as edge, talk(edge) as call:
        await call.say(**START, token=TOKEN)
        error, code = await call.refused()
    assert (code, error["reason"], error["retryable"]) == (1013, "SERVICE_AWAY", True)


async def test_a_status_with_details_arrives_whole(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async def full(call: FakeCall) -> None:
        await call.read()
        retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2))
        await call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room", error_info("TOO_MANY_STREAMS"), retry)

    fake.behaviour = full
    async with talk(fake_edge) as call:
        await call.say(**START, token=fake_edge.token)
        error, code = await call.refused()
    assert code == 4429
    assert error == {
        "event": "error",
        "code": "RESOURCE_EXHAUSTED",
        "reason": "TOO_MANY_STREAMS",
        "message": "no room",
        "retryable": True,
        "retry_after_ms": 2000,
    }


async def test_too_many_sockets(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, max_sockets=1) as edge, talk(edge) as first:
        await first.start()
        async with talk(edge) as second:
            error, code = await second.refused()
        assert (code, error["reason"], error["retryable"]) == (4429, "TOO_MANY_SOCKETS", True)
        await first.say(event="stop")
        assert (await first.rest())[1] == 1000


async def test_too_many_in_a_minute(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, requests_per_minute=2) as edge:
        for _ in range(2):
            async with talk(edge) as call:
                await call.start()
        async with talk(edge) as call:
            error, code = await call.refused()
        assert (code, error["reason"]) == (4429, "RATE_LIMITED")
        assert 0 < error["retry_after_ms"] <= 30_000


async def test_pages_of_other_origins_are_refused(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, allowed_origins=("https://desk.example",)) as edge:
        for origin in (f"http://127.0.0.1:{edge.port}", "https://desk.example"):
            async with talk(edge, origin=origin) as call:
                await call.start()
        for origin in ("https://evil.example", "null", f"http://localhost:{edge.port}"):
            with pytest.raises(InvalidStatus) as refused:
                async with talk(edge, origin=origin):
                    pass
            assert refused.value.response.status_code == 403
            assert b"FOREIGN_ORIGIN" in refused.value.response.body


async def test_a_start_that_never_comes(edge_for: EdgeFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malha.edge.session.OPENING_SECONDS", 0.2)
    async with edge_for("127.0.0.1:1") as edge, talk(edge) as call:
        error, code = await call.refused()
    assert (code, error["reason"]) == (4504, "OPEN_TIMEOUT")


async def test_a_call_that_is_lost_leaves_others_alone(fake: FakeServer, fake_edge: RunningEdge) -> None:
    fake.behaviour = polite
    async with talk(fake_edge) as call:
        await call.start(session_id=new_session_id())
        for _ in range(5):
            async with talk(fake_edge) as bad:
                await bad.socket.send(b"\0")
                await bad.refused()
        await call.socket.send(bytes(3200))
        await call.event("ack")
        await call.say(event="stop")
        assert (await Talk.rest(call))[1] == 1000
        assert len(fake.calls) == 1
