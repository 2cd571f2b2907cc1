"""SynthesizeService over gRPC: a real server, the real engine, the contract as a client sees it."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
import psutil
import pytest
import pytest_asyncio
from conftest import AUTHORIZED, TOKEN
from prometheus_client import REGISTRY

from fakes.serving import served
from malha.api.common.v1 import media_pb2
from malha.api.synthesize.v1 import synthesize_pb2 as api
from malha.api.synthesize.v1.synthesize_pb2_grpc import SynthesizeServiceStub
from malha.runtime.errors import MalhaError
from malha.runtime.settings import RuntimeSettings
from malha.runtime.status import from_rpc_error
from malha.runtime.stream import StreamLimits
from malha.sdk._rpc import Rpc
from malha.synthesize.engines.espeak import EspeakEngine
from malha.synthesize.service import SynthesizeService
from malha.synthesize.settings import SynthesizeSettings

pytestmark = [pytest.mark.engine("espeak"), pytest.mark.asyncio(loop_scope="module")]

DEADLINE = 20.0
LONG = "Quero falar com o atendimento sobre a fatura do cartão, por favor. " * 59
"""About 4,000 characters: four minutes of speech."""
PCM16, MULAW, ALAW, WAV, OGG, MP3 = (
    media_pb2.Encoding.Value(f"ENCODING_{name}") for name in ("PCM16", "MULAW", "ALAW", "WAV", "OGG", "MP3")
)


def _mulaw_levels() -> np.ndarray:
    """What each code of G.711 mu-law stands for, by FFmpeg."""
    decoder = av.CodecContext.create("pcm_mulaw", "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    return np.concatenate([frame.to_ndarray().ravel() for frame in decoder.decode(av.Packet(bytes(range(256))))])


MULAW_LEVELS = _mulaw_levels()


class Client:
    """A server with Synthesize alone, and calls to it."""

    def __init__(self, stub: SynthesizeServiceStub, engine: EspeakEngine) -> None:
        self.stub = stub
        self.engine = engine

    def open(self) -> grpc.aio.StreamStreamCall:
        return self.stub.Synthesize(metadata=AUTHORIZED, timeout=2 * DEADLINE)

    async def say(self, *texts: str | None, **opening: Any) -> "Said":
        """Send pieces of text (None: a flush), finish, and gather the answer."""
        call = Rpc(self.open())  # a write that meets a refusal would replace its status: grpc.aio's doing
        sending = asyncio.create_task(send(call, opening, *texts))
        try:
            said = Said([response async for response in call.responses()])
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return said


async def send(call: Rpc, opening: dict[str, Any], *texts: str | None) -> None:
    await call.write(api.SynthesizeRequest(open=api.Open(**opening)))
    for text in texts:
        await call.write(api.SynthesizeRequest(flush=api.Flush()) if text is None else api.SynthesizeRequest(text=api.Text(text=text)))
    await call.write(api.SynthesizeRequest(finish=api.Finish()))


def streams() -> float | None:
    """How many are open."""
    return REGISTRY.get_sample_value("malha_streams_open", {"service": SynthesizeService.name})


async def read_all(call: grpc.aio.StreamStreamCall) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


class Said:
    """What a stream gave."""

    def __init__(self, responses: list[api.SynthesizeResponse]) -> None:
        self.kinds = [response.WhichOneof("event") for response in responses]
        self.opened = responses[0].opened
        self.audio = b"".join(response.audio.content for response in responses)
        self.marks = [response.mark for response in responses if response.HasField("mark")]
        self.closed = responses[-1].closed

    @property
    def samples(self) -> np.ndarray:
        return np.frombuffer(self.audio, np.int16)


@asynccontextmanager
async def serving(folder: Path, limits: StreamLimits | None = None, **settings: Any) -> AsyncIterator[Client]:
    runtime = RuntimeSettings(_env_file=None, data_dir=folder, grpc_port=0, admin_port=0, api_tokens=(f"default:{TOKEN}",), drain_seconds=1)
    synthesize = SynthesizeSettings(_env_file=None, **settings)
    engine = EspeakEngine(synthesize)
    service = SynthesizeService(engine, synthesize)
    async with served([service], runtime, limits=limits) as server, grpc.aio.insecure_channel(server.target) as channel:
        yield Client(SynthesizeServiceStub(channel), engine)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with serving(tmp_path_factory.mktemp("server"), synthesize_max_characters=6000) as shared:
        yield shared


def seconds(duration: Any) -> float:
    return duration.seconds + duration.nanos / 1e9


# What it is for


async def test_text_in_pieces_is_spoken_as_one(client: Client) -> None:
    pieces = ("Olá, se", "nhor! Não re", "cebi a fatura 😀", " de R$ 1.2", "34,56. Obrigado")
    said = await client.say(*pieces, language="pt")
    assert said.kinds[0] == "opened"
    assert said.kinds[-1] == "closed"
    assert set(said.kinds[1:-1]) == {"audio", "mark"}
    assert (said.opened.engine.name, said.opened.voice.name, list(said.opened.voice.languages)) == ("espeak", "pt-br", ["pt-BR", "pt"])
    assert (said.opened.format.encoding, said.opened.format.sample_rate_hertz, said.opened.format.channels) == (PCM16, 22_050, 1)
    text = "".join(pieces)
    assert [mark.word for mark in said.marks] == ["Olá", "senhor", "Não", "recebi", "a", "fatura", "😀", "de", "R$", "1.234,56", "Obrigado"]
    assert all(text.startswith(mark.word, mark.text_offset) for mark in said.marks)
    times = [seconds(mark.time) for mark in said.marks]
    assert times == sorted(times)
    assert times[-1] < seconds(said.closed.audio) == pytest.approx(len(said.samples) / 22_050, abs=1e-6)
    assert said.closed.characters == len(text) - 2  # the spaces between the sentences
    assert 0 < seconds(said.closed.first_audio) < 5
    assert np.sqrt((said.samples.astype(float) ** 2).mean()) > 1000


@pytest.mark.parametrize(
    ("encoding", "rate", "bytes_per_sample"),
    [(PCM16, 16_000, 2), (PCM16, 48_000, 2), (MULAW, 8000, 1), (ALAW, 8000, 1), (PCM16, 22_050, 2)],
)
async def test_formats(client: Client, encoding: int, rate: int, bytes_per_sample: int) -> None:
    said = await client.say(
        "Good morning. ", "How are you?", voice="en-us", format=media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=rate)
    )
    assert (said.opened.format.encoding, said.opened.format.sample_rate_hertz) == (encoding, rate)
    length = len(said.audio) / bytes_per_sample / rate
    assert length == pytest.approx(seconds(said.closed.audio), abs=1e-6)
    assert 1 < length < 4
    assert len(set(said.audio)) > 50


async def test_wav_begins_with_its_header_even_if_nothing_is_said(client: Client) -> None:
    wav = media_pb2.AudioFormat(encoding=WAV)
    said = await client.say("Buenos días.", language="es", format=wav)
    assert said.opened.format.sample_rate_hertz == 22_050
    fixed = said.audio[:40] + (len(said.audio) - 44).to_bytes(4, "little") + said.audio[44:]
    with wave.open(io.BytesIO(fixed)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22_050, 1, 2)
        assert file.getnframes() / 22_050 == pytest.approx(seconds(said.closed.audio), abs=1e-6)
    empty = await client.say("  \n", language="es", format=wav)
    assert len(empty.audio) == 44
    assert empty.kinds == ["opened", "audio", "closed"]
    assert (seconds(empty.closed.audio), empty.closed.characters, empty.closed.HasField("first_audio")) == (0, 0, False)


@pytest.mark.parametrize(("encoding", "rate"), [(PCM16, 16_000), (MULAW, 16_000), (WAV, 22_050)])
async def test_a_rate_that_is_not_given_is_the_contracts_default(client: Client, encoding: int, rate: int) -> None:
    said = await client.say("Oi.", language="pt", format=media_pb2.AudioFormat(encoding=encoding))
    assert said.opened.format.sample_rate_hertz == rate


@pytest.mark.parametrize(
    ("encoding", "kind", "asked", "rate"),
    [(OGG, "ogg", None, 24_000), (OGG, "ogg", 16_000, 16_000), (MP3, "mp3", None, 22_050), (MP3, "mp3", 8000, 8000)],
)
async def test_compressed_formats(client: Client, encoding: int, kind: str, asked: int | None, rate: int) -> None:
    wanted = media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=asked)
    said, other = await asyncio.gather(*(client.say("Buenos días. ", "¿Qué tal?", language="es", format=wanted) for _ in range(2)))
    assert (said.opened.format.encoding, said.opened.format.sample_rate_hertz) == (encoding, rate)
    assert [mark.word for mark in said.marks] == ["Buenos", "días", "Qué", "tal"]
    for one in (said, other):
        with av.open(io.BytesIO(one.audio), format=kind) as container:
            frames = [(frame.samples / frame.sample_rate, np.abs(frame.to_ndarray()).max()) for frame in container.decode(audio=0)]
        assert sum(length for length, _ in frames) == pytest.approx(seconds(one.closed.audio), abs=0.2)
        assert max(loudness for _, loudness in frames) > 0.05


async def test_compressed_silence_begins_and_ends(client: Client) -> None:
    said = await client.say("  ", language="es", format=media_pb2.AudioFormat(encoding=OGG))
    assert said.audio.startswith(b"OggS")
    assert said.closed.characters == 0


@pytest.mark.parametrize(
    ("speed", "format_of"), [(0.5, (PCM16, 8000)), (1.0, (PCM16, 48_000)), (2.0, (MULAW, 8000)), (2.0, (PCM16, 16_000))], ids=str
)
async def test_marks_hold_at_any_speed_and_rate(client: Client, speed: float, format_of: tuple[int, int]) -> None:
    """Each word begins where the same words spoken without it end: in the silence a comma makes, sound begins at its mark."""
    encoding, rate = format_of
    text = "Um, dois, três, quatro, cinco."
    said = await client.say(text, language="pt", speed=speed, format=media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=rate))
    assert [mark.word for mark in said.marks] == ["Um", "dois", "três", "quatro", "cinco"]
    samples = said.samples if encoding == PCM16 else MULAW_LEVELS[np.frombuffer(said.audio, np.uint8)]
    loudness = np.abs(samples.astype(float))
    for mark in said.marks[1:]:
        at, near = int(seconds(mark.time) * rate), int(0.04 * rate)
        before, after = loudness[at - near : at].mean(), loudness[at : at + 3 * near].max()
        assert after > 500, mark  # the s of a slow `cinco` begins softly
        assert before < after / 4, mark


async def test_a_models_tokens_are_spoken_while_it_writes(client: Client) -> None:
    """The first sentence, and the clause of one that goes on, sound before the answer is whole."""
    answer = {
        "pt": "Claro, Sr. Silva! O valor de R$ 1.234,56 sai dia 10. Bem... ele chega em até 5 dias úteis, se não houver feriado",
        "es": "¡Claro, Sr. García! El importe de 1.234,56 € sale el día 10. Bueno… llega en 5 días hábiles, si no es festivo",
        "en": "Sure, Mr. Smith! The sum of $1,234.56 goes out at 5.30 p.m. today. Well... it takes 5 working days, at most",
    }
    for language, text in answer.items():
        call = client.open()
        await call.write(api.SynthesizeRequest(open=api.Open(language=language)))
        for start in range(0, len(text), 4):
            await call.write(api.SynthesizeRequest(text=api.Text(text=text[start : start + 4])))
        heard: list[str] = []
        while "5" not in heard and "5.30" not in heard and "10" not in heard:  # of the second sentence; nothing was flushed or finished
            response = await asyncio.wait_for(call.read(), DEADLINE)
            if response.HasField("mark"):
                heard.append(response.mark.word)
        assert heard[0] in {"Claro", "Sure"}
        await call.write(api.SynthesizeRequest(finish=api.Finish()))
        while not (response := await asyncio.wait_for(call.read(), DEADLINE)).HasField("closed"):
            pass
        assert response.closed.characters >= len(text) - 4
        assert await call.code() == grpc.StatusCode.OK


async def test_speed(client: Client) -> None:
    usual, fast = [await client.say("Bom dia, em que posso ajudar?", language="pt", speed=speed) for speed in (1.0, 2.0)]
    assert seconds(fast.closed.audio) < 0.7 * seconds(usual.closed.audio)


async def test_a_whole_sentence_is_spoken_at_once_and_a_flush_speaks_the_rest(client: Client) -> None:
    call = client.open()
    await call.write(api.SynthesizeRequest(open=api.Open(language="en")))
    await call.write(api.SynthesizeRequest(text=api.Text(text="First sentence. And then")))
    heard: list[str] = []

    async def hear(word: str) -> None:
        while word not in heard:
            response = await asyncio.wait_for(call.read(), DEADLINE)
            if response.HasField("mark"):
                heard.append(response.mark.word)

    await hear("sentence")
    assert heard == ["First", "sentence"]
    await call.write(api.SynthesizeRequest(flush=api.Flush()))
    await hear("then")
    await call.write(api.SynthesizeRequest(text=api.Text(text=" more")))
    await call.done_writing()  # without `finish`: the end of the requests counts as one
    await hear("more")
    while not (response := await asyncio.wait_for(call.read(), DEADLINE)).HasField("closed"):
        pass
    assert response.closed.characters == len("First sentence.And thenmore")
    assert await call.code() == grpc.StatusCode.OK


async def test_voices(client: Client) -> None:
    async def names(language: str = "") -> list[str]:
        answer = await client.stub.ListVoices(api.ListVoicesRequest(language=language), metadata=AUTHORIZED, timeout=DEADLINE)
        return [voice.name for voice in answer.voices]

    everything = await names()
    assert everything == sorted(everything)
    assert len(everything) == len(client.engine.capabilities.voices)
    assert (await names("pt"))[:2] == ["pt-br", "pt-br+f2"]
    assert set(await names("pt")) == {name for name in everything if name.startswith("pt")}
    assert {name.partition("+")[0] for name in await names("es-MX")} == {"es-419"}
    assert await names("fr") == []


# What goes wrong


@pytest.mark.parametrize(
    ("opening", "code", "reason", "told"),
    [
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "VOICE_MISSING", "`voice` or `language`"),
        ({"language": "fr"}, grpc.StatusCode.INVALID_ARGUMENT, "UNSUPPORTED_LANGUAGE", "pt-BR"),
        ({"voice": "hal"}, grpc.StatusCode.NOT_FOUND, "VOICE_NOT_FOUND", "en-us+f2"),
        (
            {"language": "pt", "format": {"encoding": media_pb2.ENCODING_WEBM}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "UNSUPPORTED_FORMAT",
            "ENCODING_ALAW",
        ),
        (
            {"language": "pt", "format": {"encoding": OGG, "sample_rate_hertz": 44_100}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "UNSUPPORTED_FORMAT",
            "24,000, 48,000",
        ),
        (
            {"language": "pt", "format": {"encoding": MP3, "sample_rate_hertz": 10_000}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "UNSUPPORTED_FORMAT",
            "11,025",
        ),
        (
            {"language": "pt", "format": {"encoding": PCM16, "channels": 2}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "UNSUPPORTED_FORMAT",
            "one channel",
        ),
        (
            {"language": "pt", "format": {"encoding": PCM16, "sample_rate_hertz": 4000}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
            "sample_rate_hertz",
        ),
        ({"language": "pt", "speed": 3.0}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "speed"),
        ({"language": "pt", "reference_audio": b"RIFF"}, grpc.StatusCode.FAILED_PRECONDITION, "CLONING_UNAVAILABLE", "coqui"),
        ({"language": "pt", "consent_id": "Maria da Silva"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "consent_id"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else "",
)
async def test_an_opening_that_cannot_be_served_says_why(
    client: Client, opening: dict[str, Any], code: grpc.StatusCode, reason: str, told: str
) -> None:
    with pytest.raises(MalhaError, match=told.replace("+", r"\+")) as refused:
        await client.say("Oi.", **opening)
    assert (refused.value.code, refused.value.reason) == (code, reason)


async def test_a_piece_of_text_and_all_of_it_are_bounded(client: Client) -> None:
    with pytest.raises(MalhaError) as refused:
        await client.say("a" * 4001, language="pt")
    assert refused.value.reason == "INVALID_FIELD"
    with pytest.raises(MalhaError) as refused:
        await client.say("Oi. " * 10, "a" * 4000, "b" * 4000, language="pt")
    assert (refused.value.code, refused.value.reason, refused.value.quota) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TEXT_TOO_LONG",
        "stream_characters",
    )


async def test_a_lost_client_stops_the_work(client: Client) -> None:
    worker, minutes = psutil.Process(client.engine.worker_pids[0]), "⣿" * 100 + ". "

    def spent() -> float:
        return sum(worker.cpu_times()[:2])

    before = spent()
    await client.say(minutes, language="en")
    one = spent() - before
    call = client.open()
    await call.write(api.SynthesizeRequest(open=api.Open(language="en")))
    await call.write(api.SynthesizeRequest(text=api.Text(text=minutes)))
    await call.write(api.SynthesizeRequest(text=api.Text(text=2 * minutes)))
    while not (await asyncio.wait_for(call.read(), DEADLINE)).HasField("audio"):
        pass
    before = spent()
    call.cancel()
    async with asyncio.timeout(DEADLINE):
        while streams() or client.engine._host.busy_workers:
            await asyncio.sleep(0.05)
    assert spent() - before < one / 2, "of three sentences"
    assert (await client.say("Bom dia.", language="pt")).closed.characters == 8


async def test_a_client_that_does_not_read_gives_its_place_back(tmp_path: Path) -> None:
    async with serving(tmp_path, StreamLimits(flush_seconds=0.2), synthesize_max_open=1, synthesize_reader_seconds=0.5) as client:
        deaf = client.open()
        await deaf.write(api.SynthesizeRequest(open=api.Open(language="pt")))
        assert (await deaf.read()).HasField("opened")
        await deaf.write(api.SynthesizeRequest(text=api.Text(text=LONG[:4000])))
        async with asyncio.timeout(DEADLINE):
            while streams():  # until gRPC's own buffers are full, and half a second more
                await asyncio.sleep(0.05)
        assert (await client.say("Bom dia.", language="pt")).closed.characters == 8
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await read_all(deaf)
        assert from_rpc_error(ended.value).reason == "READER_SLOW"
