"""Calls in WebM, Ogg and WAV lost at any byte: positions are bytes, and the server has the header."""

import asyncio
import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from conftest import empty_page
from unit.audio.format_streams import mux

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import media_pb2
from malha.audio.formats.resample import Resampler
from malha.audio.formats.wav import encode_wav
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

from .resuming import Resuming, spans
from .sites import Servers, Span, assert_once, assert_the_same, metadata, speech

SECONDS = 16
RATE = 48_000
ENCODINGS = {"webm": media_pb2.ENCODING_WEBM, "ogg": media_pb2.ENCODING_OGG, "wav": media_pb2.ENCODING_WAV}
RECORD = """async ([encoded, rate]) => {
  const bytes = Uint8Array.from(atob(encoded), character => character.charCodeAt(0));
  const samples = Float32Array.from(new Int16Array(bytes.buffer), sample => sample / 32768);
  const context = new AudioContext({sampleRate: 48000});
  await context.resume();
  const buffer = context.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(samples, 0);
  const source = context.createBufferSource();
  source.buffer = buffer;
  const sink = context.createMediaStreamDestination();
  sink.channelCount = 1;
  source.connect(sink);
  const recorder = new MediaRecorder(sink.stream, {mimeType: 'audio/webm;codecs=opus'});
  const blobs = [];
  recorder.ondataavailable = event => blobs.push(event.data);
  const stopped = new Promise(resolve => recorder.onstop = resolve);
  const played = new Promise(resolve => source.onended = resolve);
  recorder.start(100);
  source.start();
  await played;
  recorder.stop();
  await stopped;
  const recorded = new Uint8Array(await new Blob(blobs).arrayBuffer());
  let text = '';
  for (const byte of recorded) text += String.fromCharCode(byte);
  return btoa(text);
}"""


def record(pcm: np.ndarray, rate: int) -> bytes:
    """What the MediaRecorder of a real Chromium makes of this audio, mono. Takes as long as it plays."""
    with empty_page() as page:
        encoded = base64.b64encode(pcm.tobytes()).decode()
        return base64.b64decode(page.evaluate(RECORD, [encoded, rate]))


@pytest.fixture(scope="module")
def chromium_webm() -> bytes:
    """In a thread: Playwright brings an event loop of its own, the tests have theirs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(record, speech(SECONDS, 16_000, (5,))[:, 0], 16_000).result()


def encoded(kind: str, channels: int) -> bytes:
    """Utterances at 48 kHz; Opus live, as a sender that cannot seek writes it."""
    columns = [Resampler(16_000, RATE).feed(column) for column in speech(SECONDS, 16_000, (5, 6)[:channels]).T]
    pcm = np.stack(columns, axis=1)
    if kind == "wav":
        return encode_wav(pcm, RATE, channels)
    options = {"live": "1", "cluster_time_limit": "300"} if kind == "webm" else {"page_duration": "100000"}
    return mux(kind, "libopus", pcm, RATE, live=True, options=options)


@pytest.fixture
async def channel(settings: RuntimeSettings, database: Database, store: StoreSettings) -> AsyncIterator[grpc.aio.Channel]:
    async with Servers(settings, database, store, lambda: NullEngine(TranscribeSettings(_env_file=None))).running() as servers:
        yield await servers.channel()


def calling(channel: grpc.aio.Channel, stream: bytes, kind: str, channels: int, pieces: int = 150) -> Resuming:
    """Sends the stream's bytes, as many as ``pieces`` at a time make of it."""
    roles = [api.Channel(role="ROLE_AGENT"), api.Channel(role="ROLE_CUSTOMER")][:channels]
    opening = api.StreamRequest(open=api.Open(format=media_pb2.AudioFormat(encoding=ENCODINGS[kind]), channels=roles))
    content = np.frombuffer(stream, np.uint8)[:, None]
    return Resuming(channel, metadata(), content, opening, piece=len(stream) // pieces)


async def undisturbed(channel: grpc.aio.Channel, stream: bytes, kind: str, channels: int) -> list[Span]:
    call = calling(channel, stream, kind, channels)
    await call.connect()
    await call.finish()
    found = spans(call.segments)
    assert len(found) >= 5 * channels
    return found


async def lost_at_random(call: Resuming, size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    await call.connect()
    places = [int(random.integers(1, 60)), *sorted(random.integers(0, size, 6).tolist())]
    for place in places:
        await call.send(max(place - call.position, 0))
        await asyncio.sleep(random.choice([0.0, 0.05, 0.2]))
        await call.lose()
        await call.connect()
    await call.finish()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", ["webm", "ogg", "wav"])
async def test_lost_at_any_byte_told_whole_and_once(channel: grpc.aio.Channel, kind: str, channels: int) -> None:
    stream = encoded(kind, channels)
    expected = await undisturbed(channel, stream, kind, channels)
    call = calling(channel, stream, kind, channels)
    await lost_at_random(call, len(stream), seed=channels)
    assert_once(call)
    assert_the_same(spans(call.segments), expected)
    assert not any(response.HasField("gap") for response in call.durable)
    assert call.durable[-2].summary.duration.ToNanoseconds() / 1e9 == pytest.approx(SECONDS, abs=0.1)
    assert call.resumed_from[-1] > 0


async def test_a_browsers_recording(channel: grpc.aio.Channel, chromium_webm: bytes) -> None:
    expected = await undisturbed(channel, chromium_webm, "webm", 1)
    call = calling(channel, chromium_webm, "webm", 1)
    await lost_at_random(call, len(chromium_webm), seed=3)
    assert_once(call)
    assert_the_same(spans(call.segments), expected)


async def test_silence_let_go_of_before_anything_was_told(channel: grpc.aio.Channel) -> None:
    """The header came and went with it: the store has it, and where the audio after it can be decoded from."""
    quiet = np.concatenate([speech(12, 16_000, (0,)), speech(8, 16_000, (5,))])
    stream = mux(
        "webm", "libopus", Resampler(16_000, RATE).feed(quiet[:, 0])[:, None], RATE, live=True, options={"cluster_time_limit": "300"}
    )
    expected = await undisturbed_of(channel, stream)
    call = calling(channel, stream, "webm", 1)
    await call.connect()
    while call.keep is None or not call.keep[0]:
        await call.send(len(stream) // 10)
        await asyncio.sleep(1.05)  # acks come by the clock
    assert call.durable == []
    await call.lose()
    await call.connect()
    assert call.resumed_from == [call.keep[0]]
    await call.finish()
    assert_once(call)
    assert_the_same(spans(call.segments), expected)


async def undisturbed_of(channel: grpc.aio.Channel, stream: bytes) -> list[Span]:
    call = calling(channel, stream, "webm", 1)
    await call.connect()
    await call.finish()
    return spans(call.segments)


async def test_sent_in_crumbs(channel: grpc.aio.Channel) -> None:
    """However small the pieces: the places to restart from cover every utterance that waits."""
    stream = encoded("wav", 1)
    expected = await undisturbed(channel, stream, "wav", 1)
    call = calling(channel, stream, "wav", 1, pieces=1600)
    await call.connect()
    await call.send(len(stream) * 3 // 4)
    await asyncio.sleep(0.1)
    await call.lose()
    await call.connect()
    await call.finish()
    assert_once(call)
    assert_the_same(spans(call.segments), expected)
