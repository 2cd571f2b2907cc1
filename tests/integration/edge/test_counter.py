"""Clients of the counter dialect at a real edge, before a server that can misbehave and before the real Audio."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from conftest import silence, voice
from integration.edge.conftest import EdgeFor, RunningEdge
from unit.audio.format_streams import mux
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fakes.audio_server import FakeCall, FakeServer, error_info
from malha.api.insight.v1 import insight_pb2
from malha.edge import counter

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEBM = b"\x1a\x45\xdf\xa3" + bytes(60)
PIECE = bytes(3200)
END = '{"comando":"encerrar"}'
SECONDS = 30.0


class Desk:
    """The desktop application."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[Any] = []

    async def shake(self, key: str, **fields: Any) -> None:
        await self.socket.send(
            orjson.dumps({"api_key": key, "vad_settings": {"threshold_multiplier": 2, "min_energy": 60}, **fields}).decode()
        )

    async def next(self) -> Any:
        async with asyncio.timeout(SECONDS):
            message = await self.socket.recv()
        assert isinstance(message, str)
        self.told.append("pong" if message == "pong" else orjson.loads(message))
        return self.told[-1]

    async def reply(self, command: str) -> Any:
        """The next of that name; an `erro` in its place fails."""
        while (told := await self.next()) == "pong" or told["comando"] != command:
            assert told == "pong" or told["comando"] != "erro", told
        return told

    async def rest(self) -> tuple[list[Any], int]:
        """All further replies, and the close code."""
        before = len(self.told)
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            return self.told[before:], self.socket.close_code or 0


@asynccontextmanager
async def desk(edge: RunningEdge, **options: Any) -> AsyncIterator[Desk]:
    async with connect(f"ws://127.0.0.1:{edge.port}/ws", max_size=None, ping_interval=None, compression=None, **options) as socket:
        yield Desk(socket)


async def until(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def advising(call: FakeCall) -> None:
    """Advises twice at once, then once more, whatever is said, and closes at finish."""
    await call.read()
    await call.opened()
    while (request := await call.read()) is not None:
        if request.HasField("audio") and len(call.pieces) == 1:
            await call.final("quero um remédio para dor", end={"seconds": 1})
            for number, (kind, interaction) in enumerate(((3, "i-1"), (4, "i-1"), (2, "i-2"))):
                insight = insight_pb2.Insight(id=str(number), type=kind, message=f"m{number}", confidence=0.9, interaction_id=interaction)
                await call.send(durable=True, insight=insight)
        if request.HasField("finish"):
            await call.close()
            return


async def test_a_call_is_advised_and_ended(fake: FakeServer, fake_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "GATHER_SECONDS", 0.5)  # 5 ms between two of the server's writes are nothing on a busy machine
    fake.behaviour = advising
    async with desk(fake_edge) as client:
        await client.shake(fake_edge.token)
        await client.socket.send(PIECE)
        first = await client.reply("recomendar")
        assert first == {
            "comando": "recomendar",
            "recomendacoes": [
                {"tipo": "alerta_risco", "texto": "m0", "confianca": 0.9},
                {"tipo": "oferta", "texto": "m1", "confianca": 0.9},
            ],
            "interacao_id": "i-1",
        }
        assert [each["tipo"] for each in (await client.reply("recomendar"))["recomendacoes"]] == ["proximo_passo"]
        await client.socket.send('{"comando":"ping"}')
        assert await client.next() == {"comando": "pong"}
        await client.socket.send("ping")
        assert await client.next() == "pong"
        await (await client.socket.ping())
        await client.socket.send(END)
        assert await client.rest() == ([], 1000)
    opened = fake.call.requests[0].open
    assert (opened.insights, opened.insight.policy, list(opened.languages)) == (True, "counter", ["pt"])
    assert (opened.format.encoding, opened.format.sample_rate_hertz, opened.vad.threshold_multiplier, opened.vad.min_energy) == (
        1,
        16_000,
        2,
        60,
    )
    assert fake.call.content == PIECE


async def test_transcripts_are_told_where_they_are_asked_for(fake: FakeServer, fake_edge: RunningEdge) -> None:
    fake.behaviour = advising
    async with desk(fake_edge) as client:
        await client.shake(fake_edge.token, transcricoes=True)
        await client.socket.send(PIECE)
        told = await client.reply("transcricao")
    assert (told["texto"], told["final"], told["fim_seg"]) == ("quero um remédio para dor", True, 1.0)


async def test_webm_is_heard_as_such_and_passed_on_as_it_came(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with desk(fake_edge) as client:
        await client.shake(fake_edge.token)
        for piece in (WEBM[:2], WEBM[2:], b"cluster"):
            await client.socket.send(piece)
        await client.socket.send(END)
        assert (await client.rest())[1] == 1000
    assert fake.call.format.encoding == 5
    assert [piece.content for piece in fake.call.pieces] == [WEBM[:2], WEBM[2:], b"cluster"]


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_client_that_leaves_has_its_call_finished(fake: FakeServer, fake_edge: RunningEdge, how: str) -> None:
    async with desk(fake_edge) as client:
        await client.shake(fake_edge.token)
        await client.socket.send(PIECE)
        await until(lambda: fake.calls and fake.call.pieces)
        if how == "abort":
            client.socket.transport.abort()
    await until(lambda: any(request.HasField("finish") for request in fake.call.requests))
    assert not fake.call.lost.is_set()


async def test_what_is_no_command_is_an_error_and_the_call_goes_on(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with desk(fake_edge) as client:
        await client.shake(fake_edge.token, loja="centro")
        for message in ("{", '{"comando":"dançar"}'):
            await client.socket.send(message)
        await client.socket.send(PIECE)
        await client.socket.send(END)
        told, code = await client.rest()
    assert [(each["comando"], each["codigo"]) for each in told] == [
        ("aviso", "UNKNOWN_FIELD"),
        ("erro", "NOT_JSON"),
        ("erro", "INVALID_FIELD"),
    ]
    assert code == 1000
    assert fake.call.content == PIECE


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        ("{", 4400, "INVALID_HANDSHAKE"),
        ("[]", 4400, "INVALID_HANDSHAKE"),
        (b"\x00\x00", 1003, "UNEXPECTED_BINARY"),
        ('{"api_key":"wrong"}', 4401, "UNKNOWN_TOKEN"),
        ('{"api_key":"wrong","encoding":"pcm16"}', 4401, "UNKNOWN_TOKEN"),
        ("{}", 4401, "TOKEN_MISSING"),
        ('{"api_key":7}', 4400, "INVALID_FIELD"),
        ('{"api_key":"KEY","encoding":"mp3"}', 4415, "UNSUPPORTED_FORMAT"),
        ('{"api_key":"KEY","vad_settings":{"min_energy":"loud"}}', 4400, "INVALID_FIELD"),
    ],
)
async def test_a_handshake_that_is_refused(fake: FakeServer, fake_edge: RunningEdge, first: str | bytes, code: int, reason: str) -> None:
    async with desk(fake_edge) as client:
        await client.socket.send(first.replace("KEY", fake_edge.token) if isinstance(first, str) else first)
        told, closed = await client.rest()
    assert closed == code
    assert [(each["comando"], each["codigo"]) for each in told] == [("erro", reason)]
    assert told[0]["mensagem"]


async def test_the_key_may_come_with_the_upgrade(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with desk(fake_edge, additional_headers={"Authorization": f"Bearer {fake_edge.token}"}) as client:
        await client.socket.send("{}")
        await client.socket.send(PIECE)
        await client.socket.send(END)
        assert await client.rest() == ([], 1000)


async def test_no_handshake(fake_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "HANDSHAKE_SECONDS", 0.1)
    async with desk(fake_edge) as client:
        told, code = await client.rest()
    assert (told[0]["codigo"], code) == ("OPEN_TIMEOUT", 4504)


async def test_a_refusal_of_the_service_is_told_as_its_own(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async def full(call: FakeCall) -> None:
        await call.read()
        await call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls", error_info("TOO_MANY_STREAMS"))

    fake.behaviour = full
    async with desk(fake_edge) as client:
        await client.shake(fake_edge.token)
        await client.socket.send(PIECE)
        told, code = await client.rest()
    assert (told[-1]["comando"], told[-1]["codigo"], told[-1]["repetir"], code) == ("erro", "TOO_MANY_STREAMS", True, 4429)


async def test_a_message_too_large_is_closed_as_at_the_native_door(fake_edge: RunningEdge) -> None:
    async with desk(fake_edge) as client:
        await client.shake(fake_edge.token)
        await client.socket.send(bytes(2 * 1024 * 1024))
        with pytest.raises(ConnectionClosed):
            while True:
                await client.socket.recv()
        assert client.socket.close_code == 1009


async def test_limits_and_origins_are_those_of_the_native_door(fake: FakeServer, edge_for: EdgeFor) -> None:
    async with edge_for(fake.target, max_sockets=1) as edge:
        async with edge.socket(), desk(edge) as client:
            told, code = await client.rest()
        assert (told[0]["codigo"], told[0]["repetir_em_ms"], code) == ("TOO_MANY_SOCKETS", 1000, 4429)
        with pytest.raises(InvalidStatus):
            async with desk(edge, additional_headers={"Origin": "https://elsewhere.example"}):
                pass
    async with edge_for(fake.target, requests_per_minute=1) as edge:
        async with desk(edge) as client:
            await client.shake(edge.token)
        async with desk(edge) as client:
            told, code = await client.rest()
        assert (told[0]["codigo"], code) == ("RATE_LIMITED", 4429)


async def test_keys_that_nobody_knew_cost_their_address(fake: FakeServer, edge_for: EdgeFor) -> None:
    async with edge_for(fake.target, requests_per_minute=60) as edge:
        for _ in range(40):
            async with desk(edge, additional_headers={"Authorization": "Bearer wrong"}) as client:
                with contextlib.suppress(ConnectionClosed):
                    await client.socket.send("{}")
                told, code = await client.rest()
            if code == 4429:
                break
            assert code == 4401
        assert told[0]["codigo"] == "RATE_LIMITED"


async def test_an_edge_that_stops_says_so(fake: FakeServer, edge_for: EdgeFor) -> None:
    async with edge_for(fake.target, drain_seconds=0.3) as edge, desk(edge) as client:
        await client.shake(edge.token)
        await client.socket.send(PIECE)
        await until(lambda: fake.calls and fake.call.pieces)
        stopping = asyncio.create_task(edge.server.stop())
        assert (await client.reply("reconectar"))["tempo_ms"] == 300
        told, code = await client.rest()
        await stopping
    assert (told[-1]["codigo"], told[-1]["repetir"], code) == ("EDGE_STOPPING", True, 1012)


async def test_a_call_of_the_real_audio_without_insight_is_warned_and_goes_on(edge: RunningEdge) -> None:
    async with desk(edge) as client:
        await client.shake(edge.token, transcricoes=True)
        for sound in (silence(0.5), voice(1.2), silence(0.8)):
            await client.socket.send(sound.tobytes())
        await client.socket.send(END)
        told, code = await client.rest()
    assert code == 1000
    assert [each["codigo"] for each in told if each["comando"] == "aviso"] == ["NOT_IN_THIS_VERSION"]
    assert any(each["comando"] == "transcricao" and each["final"] for each in told)


async def test_a_recorders_webm_is_understood(edge: RunningEdge) -> None:
    rate = 48_000
    sound = np.concatenate([silence(0.5, rate), voice(1.2, rate), silence(0.8, rate), voice(1.0, rate, seed=3), silence(0.8, rate)])
    stream = mux("webm", "libopus", sound[:, None], rate, live=True, options={"live": "1", "cluster_time_limit": "300"})
    assert stream.startswith(WEBM[:4])
    async with desk(edge) as client:
        await client.shake(edge.token, transcricoes=True)
        for at in range(0, len(stream), 500):
            await client.socket.send(stream[at : at + 500])
        await client.socket.send(END)
        told, code = await client.rest()
    assert code == 1000
    finals = [each for each in told if each["comando"] == "transcricao" and each["final"]]
    assert [round(each["fim_seg"] - each["inicio_seg"]) for each in finals] == [1, 1]
