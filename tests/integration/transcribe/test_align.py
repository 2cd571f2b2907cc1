"""Alignment of English text by PocketSphinx: against recordings, and against speech whose word times its synthesiser knows."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
import soxr
from conftest import AUTHORIZED, RunningServer, silence

from malha.api.common.v1 import media_pb2
from malha.api.transcribe.v1 import transcribe_pb2 as api
from malha.api.transcribe.v1 import transcribe_pb2_grpc
from malha.bench.speech import decode
from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.runtime.settings import RuntimeSettings
from malha.synthesize.engine import SpeechConfig
from malha.synthesize.engines.espeak import EspeakEngine
from malha.synthesize.settings import SynthesizeSettings
from malha.transcribe.engine import Word
from malha.transcribe.engines.pocketsphinx import PocketSphinxEngine
from malha.transcribe.engines.pocketsphinx_aligner import PocketSphinxAligner
from malha.transcribe.settings import TranscribeSettings

pytestmark = [pytest.mark.engine("pocketsphinx"), pytest.mark.asyncio(loop_scope="module")]

JFK = "And so my fellow Americans, ask not what your country can do for you - ask what you can do for your country."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aligner() -> AsyncIterator[PocketSphinxAligner]:
    shared = PocketSphinxAligner()
    yield shared
    await shared.close()


def in_order(words: tuple[Word, ...], seconds: float) -> bool:
    times = [time for word in words for time in (word.start, word.end)]
    return times == sorted(times) and times[0] >= 0 and times[-1] <= seconds


async def spoken(text: str) -> tuple[bytes, list[float]]:
    """espeak-ng's speech at 16 kHz, and when each word begins."""
    engine = EspeakEngine(SynthesizeSettings(_env_file=None))
    await engine.start()
    try:
        chunks = [chunk async for chunk in engine.speak(SpeechConfig("t", "", "en"), text)]
        rate = engine.capabilities.sample_rate_hertz
    finally:
        await engine.close()
    samples = np.frombuffer(b"".join(chunk.pcm for chunk in chunks), np.int16)
    return soxr.resample(samples, rate, 16_000).astype(np.int16).tobytes(), [mark.time for chunk in chunks for mark in chunk.marks]


async def test_a_recording(aligner: PocketSphinxAligner, shared_data: Path) -> None:
    pcm = decode(shared_data / "speech" / "jfk.flac")
    words = await aligner.align(JFK, pcm.tobytes(), "en-US")
    assert [word.text for word in words] == [token for token in JFK.split() if token != "-"]
    assert in_order(words, len(pcm) / 16_000)
    starts = {word.text: word.start for word in words}
    # where an ear hears them
    assert starts["fellow"] == pytest.approx(1.3, abs=0.3)
    assert starts["ask"] == pytest.approx(8.2, abs=0.4)  # the second
    assert words[-1].end == pytest.approx(10.5, abs=0.5)


async def test_times_are_those_of_the_speech(aligner: PocketSphinxAligner) -> None:
    text = "the agent will send the new router to your address before friday morning"
    pcm, begins = await spoken(text)
    words = await aligner.align(text, pcm, "en")
    assert len(words) == len(begins) == len(text.split())
    errors = sorted(abs(word.start - begin) for word, begin in zip(words, begins, strict=True))
    assert errors[len(errors) // 2] < 0.05
    assert errors[-1] < 0.25


async def test_words_of_no_dictionary_are_said_by_rule(aligner: PocketSphinxAligner) -> None:
    text = "Call Zbigniew at 4715 for the Malhaflex-9 today, it costs $20."
    pcm, _ = await spoken(text)
    words = await aligner.align(text, pcm, "en")
    assert [word.text for word in words] == text.split()
    assert in_order(words, len(pcm) / 32_000)
    lengths = {word.text: word.end - word.start for word in words}
    assert lengths["4715"] > lengths["at"]


async def test_what_cannot_be_said_is_named_by_its_place(aligner: PocketSphinxAligner) -> None:
    with pytest.raises(InvalidArgument, match="counted from 1: 2, 4") as raised:
        await aligner.align("hello नमस्ते and 日本 again", silence(3.0).tobytes(), "en")
    assert raised.value.reason == "NOT_ALIGNABLE"
    assert "日本" not in str(raised.value.__dict__)


@pytest.mark.parametrize(
    ("text", "seconds"), [("- ... -", 2.0), ("hello", 0.01), ("one two three four five six seven eight nine ten", 0.2)]
)
async def test_what_fits_no_audio(aligner: PocketSphinxAligner, text: str, seconds: float) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await aligner.align(text, silence(seconds).tobytes(), "en")
    assert raised.value.reason == "NOT_ALIGNABLE"


async def test_several_at_once(aligner: PocketSphinxAligner) -> None:
    texts = ["good morning", "thank you very much", "please hold the line"]
    speech = [(await spoken(text))[0] for text in texts]
    found = await asyncio.gather(*(aligner.align(text, pcm, "en") for text, pcm in zip(texts, speech, strict=True)))
    assert [" ".join(word.text for word in words) for words in found] == texts


async def test_other_languages_are_refused(aligner: PocketSphinxAligner) -> None:
    with pytest.raises(FailedPrecondition, match="English only"):
        aligner.check("pt-BR")


@pytest.fixture
async def stub(settings: RuntimeSettings) -> AsyncIterator[transcribe_pb2_grpc.TranscribeServiceStub]:
    engine = PocketSphinxEngine(TranscribeSettings(_env_file=None, transcribe_workers=1))
    async with (
        RunningServer(settings, engine, aligner=PocketSphinxAligner()) as running,
        grpc.aio.insecure_channel(running.target) as channel,
    ):
        yield transcribe_pb2_grpc.TranscribeServiceStub(channel)


@pytest.mark.asyncio(loop_scope="function")
async def test_the_method(stub: transcribe_pb2_grpc.TranscribeServiceStub) -> None:
    pcm, begins = await spoken("good morning to you")
    narrow = soxr.resample(np.frombuffer(pcm, np.int16), 16_000, 8_000).astype(np.int16).tobytes()
    audio = media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16, sample_rate_hertz=8_000)
    answer = await stub.Align(api.AlignRequest(format=audio, content=narrow, text="Good morning, to you."), metadata=AUTHORIZED)
    assert [word.text for word in answer.words] == ["Good", "morning,", "to", "you."]
    assert answer.words[1].start.ToNanoseconds() / 1e9 == pytest.approx(begins[1], abs=0.15)
    assert answer.engine.name == "pocketsphinx"
    assert not answer.words[0].HasField("confidence")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"content": b"x" * 3}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"format": media_pb2.AudioFormat(encoding=media_pb2.ENCODING_MULAW)}, grpc.StatusCode.INVALID_ARGUMENT),
        (
            {"content": bytes(16_000 * 2 * 8), "format": media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16)},
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        ({"content": bytes(4_000_002)}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"language": "pt"}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"text": ""}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
@pytest.mark.asyncio(loop_scope="function")
async def test_bad_requests(stub: transcribe_pb2_grpc.TranscribeServiceStub, fields: dict[str, object], code: grpc.StatusCode) -> None:
    good = {"format": media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16), "content": bytes(32_000), "text": "hello there you"}
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Align(api.AlignRequest(**{**good, **fields}), metadata=AUTHORIZED)
    assert raised.value.code() is code


@pytest.mark.parametrize("language", ["en", ""])
@pytest.mark.asyncio(loop_scope="function")
async def test_finals_of_a_stream_are_aligned(stub: transcribe_pb2_grpc.TranscribeServiceStub, language: str) -> None:
    pcm, begins = await spoken("thank you for calling")
    call = stub.Transcribe(metadata=AUTHORIZED)
    audio = media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16)
    await call.write(api.TranscribeRequest(open=api.Open(format=audio, languages=[language] if language else [], align=True)))
    await call.write(api.TranscribeRequest(audio=api.Audio(content=pcm)))
    await call.write(api.TranscribeRequest(finish=api.Finish()))
    told = [response async for response in call]
    (final,) = [event.final for event in told if event.HasField("final")]
    assert told[0].opened.align is told[0].opened.words is final.aligned is True
    assert final.text.split() == [word.text for word in final.words]
    if len(final.words) == len(begins):
        assert final.words[-1].start.ToNanoseconds() / 1e9 == pytest.approx(begins[-1], abs=0.2)
