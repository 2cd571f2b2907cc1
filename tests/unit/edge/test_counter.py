"""The counter dialect's words, and what its socket makes of a client that says little."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.insight.v1 import insight_pb2, rules_pb2
from malha.edge import counter
from malha.edge.counter import CounterSocket
from malha.edge.counter_messages import (
    KINDS,
    STOP,
    InvalidHandshake,
    encoding_of,
    read_command,
    read_handshake,
    reply_json,
)
from malha.edge.errors import NotJson, ReaderSlow, UnexpectedBinary
from malha.edge.events import INSIGHTS, error_json, event_json, go_away_json, warning_json
from malha.edge.messages import read_opening
from malha.edge.protocol import DUE, Wake
from malha.runtime.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, Unauthenticated, UnsupportedFormat

KEY = "mk-balcao"
WEBM = b"\x1a\x45\xdf\xa3\x9f\x42\x86"
GONE = None


def text(**fields: Any) -> str:
    return orjson.dumps(fields).decode()


HANDSHAKE = text(api_key=KEY, vad_settings={"threshold_multiplier": 2.5, "min_energy": 80})


class Client:
    """A client's messages as `Socket` has them: those given, then nothing more, and what it is told."""

    def __init__(self, *messages: bytes | str | None, reads: bool = True) -> None:
        self.told: list[Any] = []
        self.now: list[Any] = []
        self.ended: list[tuple[int, Any]] = []
        self.held: list[int] = []
        self.waited_for = asyncio.Event()
        self._messages: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self._reads = reads
        self.send(*messages)

    def send(self, *messages: bytes | str | None) -> None:
        for message in messages:
            self._messages.put_nowait(message)

    async def hear(self, held: int = 0) -> bytes | str | None:
        self.held.append(held)
        return await self._messages.get()

    def gather(self, size: int, seconds: float, wake: Wake) -> None:
        del size, seconds, wake

    async def tell(self, text: bytes) -> None:
        if not self._reads:
            self.waited_for.set()
            await asyncio.Event().wait()
        self.told.append(loads(text))

    def tell_now(self, text: bytes) -> None:
        self.now.append(loads(text))

    def end(self, code: int, text: bytes = b"") -> None:
        self.ended.append((code, loads(text) if text else None))


def loads(text: bytes) -> Any:
    return "pong" if text == b"pong" else orjson.loads(text)


async def known(key: str) -> None:
    if key != KEY:
        raise Unauthenticated("no such key", reason="TOKEN_UNKNOWN")


def socket_of(client: Client, check: Callable[[str], Awaitable[None]] = known) -> CounterSocket:
    return CounterSocket(client, check)


async def heard(socket: CounterSocket) -> Any:
    message = await asyncio.wait_for(socket.hear(), 20)
    return orjson.loads(message) if isinstance(message, str) else message


def insight(message: str, interaction: str, kind: Any = rules_pb2.INSIGHT_TYPE_NEXT_STEP) -> bytes:
    return event_json(
        api.StreamResponse(
            seq=1, insight=insight_pb2.Insight(id="i", type=kind, message=message, confidence=0.87654, interaction_id=interaction)
        )
    )


def test_the_handshake_is_a_start_of_the_native_door() -> None:
    opening = read_opening(read_handshake(HANDSHAKE).start("pcm16"))
    opened = opening.request.open
    assert opening.token == KEY
    assert opening.unknown == ()
    assert (opened.format.encoding, opened.format.sample_rate_hertz, opened.format.channels) == (1, 16_000, 1)
    assert (opened.vad.threshold_multiplier, opened.vad.min_energy) == (2.5, 80)
    assert list(opened.languages) == ["pt"]
    assert opened.insights
    assert opened.insight.policy == "counter"
    assert not opened.channels, "both speak into one microphone"
    assert not opened.interim
    assert not opened.conversation_id


def test_what_else_a_handshake_may_say() -> None:
    given = read_handshake(
        text(token=KEY, language="es", sample_rate=8000, encoding="mulaw", transcricoes=True, loja=7, vad_settings={"x": 1})
    )
    assert (given.encoding, given.transcripts, given.unknown) == ("mulaw", True, ("loja", "vad_settings.x"))
    opened = read_opening(given.start(given.encoding)).request.open
    assert (list(opened.languages), opened.format.sample_rate_hertz, opened.interim) == (["es"], 8000, True)
    assert not read_opening(given.start("webm")).request.open.format.HasField("sample_rate_hertz")
    assert not opened.HasField("vad") or not opened.vad.HasField("min_energy")


@pytest.mark.parametrize("message", ["", "null", "1", '"ping"', "{", "\x00", "[" * 2000])
def test_what_is_no_handshake(message: str) -> None:
    with pytest.raises(InvalidHandshake):
        read_handshake(message)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(["api_key", "token", "vad_settings", "language", "encoding", "sample_rate", "transcricoes", "comando"])


@given(st.dictionaries(names, json, max_size=8))
def test_whatever_a_handshake_holds_it_is_a_start_or_an_error_that_says_what_is_wrong(fields: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidArgument):
        read_opening(read_handshake(orjson.dumps(fields).decode()).start("pcm16"))


@given(st.text(max_size=200) | json.map(lambda value: orjson.dumps(value).decode()))
def test_whatever_a_command_is_it_is_no_defect(message: str) -> None:
    for read in (read_handshake, read_command):
        with contextlib.suppress(InvalidArgument):
            read(message)


def test_commands() -> None:
    assert [read_command(ping) for ping in ("ping", ' "ping"\n', '{"comando":"ping","n":1}')] == [b"pong", b'"pong"', b'{"comando":"pong"}']
    assert read_command('{"comando":"encerrar"}') is None
    with pytest.raises(NotJson):
        read_command("pong")
    with pytest.raises(InvalidArgument, match="ping, encerrar"):
        read_command('{"comando":"dançar"}')


@pytest.mark.parametrize(
    ("head", "name"),
    [(WEBM, "webm"), (b"OggS\x00", "ogg"), (b"RIFF", "wav"), (b"", ""), (b"\x1a\x45", ""), (b"\x1a\x46", "pcm16"), (bytes(4), "pcm16")],
)
def test_audio_shows_how_it_is_encoded(head: bytes, name: str) -> None:
    assert encoding_of(head) == name


def test_every_type_of_insight_has_a_name() -> None:
    assert set(KINDS) == set(INSIGHTS.values()) - {"unspecified"}


def test_replies() -> None:
    def replied(event: bytes, *, transcripts: bool = False) -> Any:
        reply = reply_json(orjson.loads(event), transcripts=transcripts)
        return orjson.loads(reply) if reply else None

    error = ResourceExhausted("enough", reason="QUOTA", retry_seconds=1.5)
    assert replied(error_json(error)) == {
        "comando": "erro",
        "codigo": "QUOTA",
        "mensagem": "enough",
        "repetir": True,
        "repetir_em_ms": 1500,
    }
    assert replied(warning_json("W", "so")) == {"comando": "aviso", "codigo": "W", "mensagem": "so"}
    assert replied(go_away_json(2)) == {"comando": "reconectar", "tempo_ms": 2000}
    final = event_json(
        api.StreamResponse(
            seq=1, transcript=api.Transcript(segment={"id": "s1", "revision": 2, "state": "SEGMENT_STATE_FINAL", "text": "oi"})
        )
    )
    assert replied(final) is None
    assert replied(final, transcripts=True) == {
        "comando": "transcricao", "id": "s1", "revisao": 2, "texto": "oi", "final": True, "inicio_seg": 0.0, "fim_seg": 0.0, "confianca": None,
    }  # fmt: skip
    for quiet in (api.StreamResponse(ack=api.Ack()), api.StreamResponse(opened=api.Opened()), api.StreamResponse(closed=api.Closed())):
        assert replied(event_json(quiet), transcripts=True) is None


async def test_webm_is_told_by_its_first_bytes_however_they_are_cut() -> None:
    client = Client(HANDSHAKE, WEBM[:1], "ping", WEBM[1:3], WEBM[3:], b"rest")
    socket = socket_of(client)
    assert (await heard(socket))["encoding"] == "webm"
    assert client.told == ["pong"]
    assert [await heard(socket) for _ in range(4)] == [WEBM[:1], WEBM[1:3], WEBM[3:], b"rest"]


async def test_anything_else_is_pcm_and_nothing_of_it_is_lost() -> None:
    socket = socket_of(Client(HANDSHAKE, b"\x00\x01", b"\x02\x03\x04\x05"))
    start = await heard(socket)
    assert (start["encoding"], start["sample_rate"]) == ("pcm16", 16_000)
    assert [await heard(socket) for _ in range(2)] == [b"\x00\x01", b"\x02\x03\x04\x05"]


async def test_an_encoding_that_is_named_needs_no_audio_and_no_question_about_the_key() -> None:
    socket = socket_of(Client(text(api_key="whatever", encoding="webm")))
    assert (await heard(socket))["encoding"] == "webm"


async def test_a_wrong_key_is_told_before_there_is_audio() -> None:
    with pytest.raises(Unauthenticated):
        await heard(socket_of(Client(text(api_key="wrong"))))


async def test_a_client_without_audio_is_begun_with_pcm_and_other_audio_is_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "DETECT_SECONDS", 0.05)
    for late, refused in ((WEBM, True), (bytes(640), False)):
        client = Client(HANDSHAKE)
        socket = socket_of(client)
        assert (await heard(socket))["encoding"] == "pcm16"
        client.send(late)
        if refused:
            with pytest.raises(UnsupportedFormat):
                await heard(socket)
        else:
            assert await heard(socket) == late
            client.send(WEBM)
            assert await heard(socket) == WEBM, "only how audio begins says what it is"


async def test_a_handshake_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "HANDSHAKE_SECONDS", 0.05)
    with pytest.raises(DeadlineExceeded):
        await heard(socket_of(Client()))


async def test_all_that_comes_before_a_call_fits_into_the_native_doors_time() -> None:
    from malha.edge.calls import Tokens
    from malha.edge.session import OPENING_SECONDS

    assert counter.HANDSHAKE_SECONDS + Tokens.ASK_SECONDS + counter.DETECT_SECONDS < OPENING_SECONDS


async def test_audio_before_the_handshake() -> None:
    with pytest.raises(UnexpectedBinary):
        await heard(socket_of(Client(bytes(4))))


@pytest.mark.parametrize("messages", [(GONE,), (HANDSHAKE, GONE)])
async def test_a_client_that_leaves_before_it_spoke_has_no_call(messages: tuple[Any, ...]) -> None:
    assert await heard(socket_of(Client(*messages))) is None


@pytest.mark.parametrize("last", [("ping", GONE), ('{"comando":"encerrar"}', "ping", GONE)])
async def test_leaving_ends_the_call_as_a_stop_does(last: tuple[Any, ...]) -> None:
    client = Client(HANDSHAKE, bytes(4), *last)
    socket = socket_of(client)
    assert [await heard(socket) for _ in range(4)][1:] == [bytes(4), orjson.loads(STOP), None]
    assert await heard(socket) is None
    assert client.told == ["pong"]


async def test_an_end_before_any_audio_is_an_empty_call() -> None:
    socket = socket_of(Client(HANDSHAKE, '{"comando":"encerrar"}', GONE))
    assert [await heard(socket) for _ in range(3)][1:] == [orjson.loads(STOP), None]


async def test_what_is_no_command_is_answered_and_the_call_goes_on() -> None:
    client = Client(HANDSHAKE, "nonsense", bytes(4), '{"comando":"dançar"}', "{}", bytes(6))
    socket = socket_of(client)
    assert [await heard(socket) for _ in range(3)][1:] == [bytes(4), bytes(6)]
    assert [reply["codigo"] for reply in client.told] == ["NOT_JSON", "INVALID_FIELD", "INVALID_FIELD"]


async def test_gathering_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(HANDSHAKE, bytes(4), DUE)
    socket = socket_of(client)
    assert [await heard(socket) for _ in range(2)][1] == bytes(4)
    assert await socket.hear(320) is DUE
    assert client.held[-1] == 320


async def test_a_client_that_does_not_read_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "ANSWER_SECONDS", 0.05)
    client = Client(HANDSHAKE, bytes(4), "ping", reads=False)
    socket = socket_of(client)
    assert [await heard(socket) for _ in range(2)][1] == bytes(4)
    with pytest.raises(ReaderSlow):
        await heard(socket)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def test_recommendations_of_one_interaction_that_come_together_are_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "GATHER_SECONDS", 0.2)
    client = Client()
    socket = socket_of(client)
    await socket.tell(insight("um", "a", rules_pb2.INSIGHT_TYPE_RISK_ALERT))
    await socket.tell(insight("dois", "a", rules_pb2.INSIGHT_TYPE_UPSELL))
    assert client.now == []
    await socket.tell(insight("três", "b"))
    assert client.now == [
        {
            "comando": "recomendar",
            "recomendacoes": [
                {"tipo": "alerta_risco", "texto": "um", "confianca": 0.8765},
                {"tipo": "oferta", "texto": "dois", "confianca": 0.8765},
            ],
            "interacao_id": "a",
        }
    ]
    await until(lambda: len(client.now) == 2)
    assert [each["texto"] for each in client.now[1]["recomendacoes"]] == ["três"]
    assert client.told == []


def test_a_recommendation_does_not_wait_long() -> None:
    assert counter.GATHER_SECONDS <= 0.03


async def test_what_waits_is_told_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "GATHER_SECONDS", 60)
    client = Client()
    socket = socket_of(client)
    await socket.tell(insight("um", "a"))
    socket.end(4408, error_json(ReaderSlow("slow")))
    assert [each["comando"] for each in client.now] == ["recomendar"]
    assert client.ended[0][0] == 4408
    assert client.ended[0][1]["comando"] == "erro"
    socket.end(1000)
    assert client.ended[1] == (1000, None)
    assert len(client.now) == 1


async def test_a_client_that_reads_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "GATHER_SECONDS", 0.0)
    client = Client(reads=False)
    socket = socket_of(client)

    async def advise() -> None:
        while True:
            await socket.tell(insight("x" * 4000, "a"))
            await asyncio.sleep(0)

    advising = asyncio.create_task(advise())
    async with asyncio.timeout(20):
        await client.waited_for.wait()
    advising.cancel()
    assert sum(len(str(each)) for each in client.now) < 2 * counter.UNWAITED_BYTES
