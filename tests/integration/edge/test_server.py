"""Starting and stopping: addresses, drain, the process."""

import asyncio
import os
import signal
import socket
import ssl
import sys
from pathlib import Path

import httpx
import orjson
import pytest
from google.protobuf.duration_pb2 import Duration
from integration.edge.conftest import START, EdgeFor, Talk, talk
from websockets.asyncio.client import connect

from fakes.audio_server import FakeCall, serving
from fakes.certificates import self_signed
from malha.api.audio.v1 import audio_pb2
from malha.edge.server import EdgeServer
from malha.edge.settings import EdgeSettings
from malha.runtime.errors import FailedPrecondition
from malha.runtime.settings import RuntimeSettings


async def test_a_stop_tells_open_sockets_to_go_and_waits_for_them(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, drain_seconds=30) as edge, talk(edge) as call, talk(edge) as idle:
        await call.start()
        await idle.start()
        stopping = asyncio.create_task(edge.server.stop())
        assert (await call.event("go_away"))["time_left_ms"] == 30_000
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", edge.port)
        await call.socket.send(bytes(3200))
        await call.event("ack")
        for each in (call, idle):
            await each.say(event="stop")
            _, code = await each.rest()
            assert code == 1000
        await asyncio.wait_for(stopping, 10)


async def test_what_is_left_after_the_drain_is_closed(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, drain_seconds=0.2) as edge, talk(edge) as call:
        await call.start()
        stopping = asyncio.create_task(edge.server.stop())
        events, code = await call.rest()
        assert [event["event"] for event in events] == ["go_away", "error"]
        assert (code, events[-1]["reason"], events[-1]["retryable"]) == (1012, "EDGE_STOPPING", True)
        await asyncio.wait_for(stopping, 10)
        async with asyncio.timeout(10):
            await fake.call.lost.wait()


async def test_a_go_away_of_the_service_is_passed_on(edge_for: EdgeFor) -> None:
    async def leaves(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        await call.send(go_away=audio_pb2.GoAway(time_left=Duration(seconds=7)))
        await call.read()

    async with serving(leaves) as fake, edge_for(fake.target) as edge, talk(edge) as call:
        await call.start()
        assert (await call.event("go_away"))["time_left_ms"] == 7000


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
async def test_beyond_loopback_it_needs_tls(host: str, tmp_path: Path) -> None:
    server = EdgeServer(EdgeSettings(_env_file=None, host=host, port=0), RuntimeSettings(_env_file=None, data_dir=tmp_path))
    with pytest.raises(FailedPrecondition, match="MALHA_EDGE_TLS_CERTIFICATE"):
        await server.start()


async def test_a_taken_port_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = EdgeServer(EdgeSettings(_env_file=None, port=port), RuntimeSettings(_env_file=None, data_dir=tmp_path))
        with pytest.raises(FailedPrecondition, match=f"port {port} .* MALHA_EDGE_PORT"):
            await server.start()


async def test_a_missing_certificate_says_what_to_do(tmp_path: Path) -> None:
    settings = EdgeSettings(_env_file=None, port=0, tls_certificate=tmp_path / "none.pem", tls_key=tmp_path / "none.key")
    with pytest.raises(FailedPrecondition, match=r"cannot read .*none\.pem"):
        await EdgeServer(settings, RuntimeSettings(_env_file=None, data_dir=tmp_path)).start()


async def test_a_key_that_is_none_says_so(tmp_path: Path) -> None:
    certificate, _ = self_signed(tmp_path)
    settings = EdgeSettings(_env_file=None, port=0, tls_certificate=certificate, tls_key=certificate)
    with pytest.raises(FailedPrecondition, match="no PEM certificate and its private key"):
        await EdgeServer(settings, RuntimeSettings(_env_file=None, data_dir=tmp_path)).start()


async def test_a_connection_that_asks_for_nothing_is_closed(edge_for: EdgeFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malha.edge.http_protocol.HEAD_SECONDS", 0.3)
    async with serving() as fake, edge_for(fake.target) as edge, talk(edge) as call:
        for begun in (b"", b"GET / HTTP/1.1\r\nX-Slow: "):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(begun)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()
        await call.start()  # a WebSocket is no such connection


HEALTH = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("asked", "then"),
    [(HEALTH + b"\r\n", b"G"), (HEALTH + b"Content-Length: 1000\r\n\r\n", b"x")],
    ids=["another request", "a body nobody reads"],
)
async def test_what_comes_byte_by_byte_after_an_answer_keeps_no_connection(
    edge_for: EdgeFor, monkeypatch: pytest.MonkeyPatch, asked: bytes, then: bytes
) -> None:
    monkeypatch.setattr("malha.edge.http_protocol.HEAD_SECONDS", 0.5)
    async with serving() as fake, edge_for(fake.target) as edge, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        await reader.readexactly(next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")))
        writer.write(then)
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_is_kept_from_request_to_request(edge_for: EdgeFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malha.edge.http_protocol.HEAD_SECONDS", 2.0)
    async with serving() as fake, edge_for(fake.target) as edge, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        for _ in range(4):
            await asyncio.sleep(0.6)
            writer.write(HEALTH + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")))
        writer.close()


async def test_garbage_after_an_answer_is_no_defect(edge_for: EdgeFor, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal while the body still comes, and the rest of that is no HTTP."""
    async with serving() as fake, edge_for(fake.target) as edge, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(b"POST /api/v1/asr HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
        writer.write(b"zz\r\n\r\n")
        await reader.read()
        writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_request_in_hand_is_answered_while_the_edge_stops(edge_for: EdgeFor) -> None:
    async def slow(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        while (request := await call.read()) is not None and not request.HasField("finish"):
            pass
        await asyncio.sleep(0.5)
        await call.close()

    async with serving(slow) as fake, edge_for(fake.target, drain_seconds=5) as edge, edge.client() as client:
        asking = asyncio.create_task(client.post("/api/v1/asr", files={"file": ("c.wav", b"abc")}))
        async with asyncio.timeout(10):
            await fake.arrived.wait()
        await edge.server.stop()
        assert (await asking).status_code == 200


async def test_a_request_that_outlasts_the_stop_is_told_to_come_again(edge_for: EdgeFor) -> None:
    async def silent(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        while await call.read() is not None:
            pass

    async with serving(silent) as fake, edge_for(fake.target, drain_seconds=0) as edge, edge.client() as client:
        asking = asyncio.create_task(client.post("/api/v1/asr", files={"file": ("c.wav", b"abc")}))
        async with asyncio.timeout(10):
            await fake.arrived.wait()
        await edge.server.stop()
        answer = await asking
    assert (answer.status_code, answer.json()["error"]["reason"], answer.headers["retry-after"]) == (503, "EDGE_STOPPING", "1")


def environment(tmp_path: Path, **settings: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALHA_")}
    return {**kept, "MALHA_DATA_DIR": str(tmp_path), "MALHA_EDGE_ADMIN_PORT": "0", **{name: str(value) for name, value in settings.items()}}


async def start_process(tmp_path: Path, **settings: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "malha.edge", cwd=tmp_path, env=environment(tmp_path, **settings), stderr=asyncio.subprocess.PIPE
    )


async def event(process: asyncio.subprocess.Process, name: str) -> dict[str, object]:
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while line := await process.stderr.readline():
            told = orjson.loads(line)
            if told.get("event") == name:
                return told
    raise AssertionError(f"the process ended before {name}")


async def test_the_process_serves_and_drains_on_sigterm(tmp_path: Path) -> None:
    async with serving() as fake:
        process = await start_process(
            tmp_path, MALHA_EDGE_PORT=0, MALHA_AUDIO_TARGET=fake.target, MALHA_TRANSCRIBE_TARGET=fake.target, MALHA_EDGE_DRAIN_SECONDS=5
        )
        try:
            port = (await event(process, "server_listening"))["port"]
            async with connect(f"ws://127.0.0.1:{port}/api/v1/asr/stream") as connection:
                call = Talk(connection, "fake-token")
                await call.start(**START)
                process.send_signal(signal.SIGTERM)
                await call.event("go_away")
                await call.say(event="stop")
                assert (await call.rest())[1] == 1000
            assert process.stderr is not None
            logged = await process.stderr.read()
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert b"fake-token" not in logged
            assert b'"event":"drain_ended"' in logged
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.parametrize("setting", ["MALHA_EDGE_PORT", "MALHA_EDGE_ADMIN_PORT"])
async def test_the_process_says_in_one_line_that_its_port_is_taken(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await start_process(tmp_path, **{setting: port, "MALHA_LOG_LEVEL": "ERROR"})
        assert process.stderr is not None
        told = (await process.stderr.read()).decode()
        assert await process.wait() == 78
        assert told.count("\n") == 1
        assert f"port {port}" in told
        assert f"set {setting}\n" in told


async def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path) -> None:
    process = await start_process(tmp_path, MALHA_EDGE_PORT="eighty")
    assert process.stderr is not None
    told = (await process.stderr.read()).decode()
    assert await process.wait() == 78
    assert told.count("\n") == 1
    assert "MALHA_EDGE_PORT" in told


async def test_tls(edge_for: EdgeFor, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    async with serving() as fake, edge_for(fake.target, tls_certificate=certificate, tls_key=key) as edge:
        trust = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(verify=trust, trust_env=False) as client:
            assert (await client.get(f"https://localhost:{edge.port}/")).status_code == 200
        async with connect(f"wss://localhost:{edge.port}/api/v1/asr/stream", ssl=trust) as connection:
            call = Talk(connection, edge.token)
            await call.start()
            await connection.send(bytes(3200))
            await call.event("ack")
            await call.say(event="stop")
            assert (await call.rest())[1] == 1000
