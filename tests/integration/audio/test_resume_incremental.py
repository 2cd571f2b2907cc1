"""Calls lost in the middle, heard by an engine that listens while somebody speaks and whose finals come late and out of order."""

import asyncio
import gc
import uuid
from collections.abc import AsyncIterator, Sequence
from itertools import count

import asyncpg
import grpc
import numpy as np
import pytest

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import media_pb2
from malha.audio.formats.g711 import MULAW_SAMPLES
from malha.audio.recogniser import Utterance
from malha.audio.timeline import MAX_POSITION
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Capabilities, Hypothesis, RecognitionConfig

from .resuming import SECONDS, Resuming, spans
from .sites import Saying, Servers, Span, assert_once, assert_the_same, metadata, speech

RATE = 8_000
LATE_SECONDS = (0.35, 0.0, 0.2, 0.05)


class LateEngine:
    """Tells what it has heard so far; of utterances in a row some overtake others."""

    capabilities = Capabilities(name="late", version="1", models=("late",), languages=("*",), incremental=True, interim=True, words=False)

    def __init__(self) -> None:
        self._numbers = count()

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    def check(self, language: str, model: str) -> Capabilities:
        """Any will do."""
        return self.capabilities

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        """Its length, in the end; partials on the way."""
        number, size = next(self._numbers), 0
        async for piece in audio:
            size += len(piece)
            yield Hypothesis(f"{size} bytes so far", final=False)
        await asyncio.sleep(LATE_SECONDS[number % len(LATE_SECONDS)])
        yield Hypothesis(f"{size / 2 / SAMPLE_RATE_HERTZ:.2f} s", final=True, confidence=0.5, language=config.language)


@pytest.fixture
async def servers(settings: RuntimeSettings, database: Database, store: StoreSettings) -> AsyncIterator[Servers]:
    async with Servers(settings, database, store, LateEngine).running() as servers:
        yield servers


@pytest.fixture
async def channel(servers: Servers) -> grpc.aio.Channel:
    return await servers.channel()


def mulaw(pcm: np.ndarray) -> np.ndarray:
    """The nearest of the 256 values (ITU-T G.711)."""
    order = np.argsort(MULAW_SAMPLES)
    values = MULAW_SAMPLES[order]
    nearest = np.clip(np.searchsorted(values, pcm), 1, len(values) - 1)
    nearest -= pcm - values[nearest - 1] < values[nearest] - pcm
    return order[nearest].astype(np.uint8)


def opening(channels: int, pace: api.Pace = api.PACE_BATCH, encoding: media_pb2.Encoding = media_pb2.ENCODING_MULAW) -> api.StreamRequest:
    roles = [api.Channel(role="ROLE_AGENT"), api.Channel(role="ROLE_CUSTOMER")][:channels]
    audio_format = media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=RATE, channels=channels)
    return api.StreamRequest(open=api.Open(format=audio_format, channels=roles, pace=pace, interim=True))


def calling(channel: grpc.aio.Channel, audio: np.ndarray, **given: object) -> Saying:
    pace = given.pop("pace", api.PACE_BATCH)
    return Saying(channel, metadata(), audio, opening(audio.shape[1], pace), piece=RATE // 10, **given)


async def undisturbed(call: Resuming) -> list[Span]:
    await call.connect()
    await call.finish()
    assert_once(call)
    return spans(call.segments)


async def lost_at(
    call: Saying, seconds: Sequence[float], pauses: Sequence[float] = (0.0, 0.05, 0.25), database: Database | None = None
) -> None:
    """Take a call to its end, and lose it when it first comes to these times; with a database: once that has what was said."""
    await call.connect()
    for number, second in enumerate(seconds):
        await call.send(max(int(second * RATE) - call.position, 0))
        await asyncio.sleep(pauses[number % len(pauses)])
        if database is not None:
            await kept(database, call)
        await call.lose()
        await call.connect()
    await call.finish()


async def kept(database: Database, call: Saying) -> None:
    """Wait until the mutes, holds and keys that were said are stored, of the last channel."""
    muted, on_hold, digits = False, False, 0
    for control in (control for frame in sorted(call.said) for control in call.script.get(frame, ())):
        muted = control.mute.muted if control.HasField("mute") else muted
        on_hold = control.hold.on_hold if control.HasField("hold") else on_hold
        digits += len(control.dtmf.digits)
    session = dict(call.metadata)["malha-session"]
    async with asyncio.timeout(SECONDS):
        while (muted, on_hold, digits) != await _stored(database, session):
            await asyncio.sleep(0.01)


async def _stored(database: Database, session: str) -> tuple[bool, bool, int]:
    async with database.ingest_tx() as connection:
        flags = await connection.fetchval("SELECT flags FROM live_session WHERE session_id = $1", uuid.UUID(session))
    if not flags:
        return False, False, 0
    turn, figures = flags["turns"][-1][-1], flags["figures"][-1]
    return turn[1], turn[2], figures[2]


@pytest.mark.parametrize("pace", [api.PACE_LIVE, api.PACE_BATCH], ids=["live", "batch"])
async def test_channels_that_speak_unequally_are_told_whole_and_once(channel: grpc.aio.Channel, pace: api.Pace) -> None:
    audio = mulaw(speech(20, RATE, (5, 6)))
    audio[int(4 * RATE) : int(15 * RATE), 1] = 0xFF  # digital silence
    expected = await undisturbed(calling(channel, audio, pace=pace))
    assert {each for each, *_ in expected} == {0, 1}
    call = calling(channel, audio, pace=pace)
    await lost_at(call, [0.7, 2.3, 3.1, 5.0, 8.4, 8.5, 13.3, 17.9, 19.9])
    assert_once(call)
    assert_the_same(spans(call.segments), expected)
    talk = sum(each.talk.ToNanoseconds() / 1e9 for each in call.durable[-2].summary.channels)
    assert talk == pytest.approx(sum(end - start for _, start, end in expected), rel=0.05)


SCRIPT = {
    int(2.9 * RATE): [api.Control(flush=api.Flush())],
    int(5.2 * RATE): [api.Control(mute=api.Mute(channel=1, muted=True))],
    int(8.1 * RATE): [api.Control(mute=api.Mute(channel=1, muted=False))],
    int(11.0 * RATE): [api.Control(hold=api.Hold(on_hold=True)), api.Control(dtmf=api.Dtmf(digits="123"))],
    int(13.4 * RATE): [api.Control(hold=api.Hold(on_hold=False))],
    int(15.0 * RATE): [api.Control(dtmf=api.Dtmf(digits="45#"))],
}


@pytest.mark.parametrize("again", [True, False], ids=["said again", "not said again"])
@pytest.mark.parametrize("losses", [(3.0, 5.3, 8.2, 11.1, 13.5, 15.1), (5.9, 6.0, 12.0, 12.1, 14.0)], ids=["just after", "between"])
async def test_mute_hold_flush_and_keys_keep_their_places(
    channel: grpc.aio.Channel, database: Database, losses: Sequence[float], *, again: bool
) -> None:
    """Also for a client that does not repeat what it said: the server has stored it, with its place."""
    audio = mulaw(speech(20, RATE, (5, 6)))
    script = SCRIPT if again else {frame: controls for frame, controls in SCRIPT.items() if not controls[0].HasField("flush")}
    expected = await undisturbed(calling(channel, audio, script=script))
    call = calling(channel, audio, script=script, again=again)
    await lost_at(call, losses, pauses=[0.0], database=database)
    assert_once(call)
    assert_the_same(spans(call.segments), expected)
    assert not any(each == 1 and start < 8.0 and end > 5.3 for each, start, end in spans(call.segments))
    assert not any(start < 13.3 and end > 11.1 for _, start, end in spans(call.segments))
    assert [each.dtmf_digits for each in call.durable[-2].summary.channels] == [0, 6]


async def test_a_word_on_mute_goes_before_what_was_stored(channel: grpc.aio.Channel, database: Database) -> None:
    """Muted, lost, and unmuted by a client that forgot the rest: it is heard, whatever the server remembers."""
    audio = mulaw(speech(16, RATE, (5,)))
    muted = {int(3.0 * RATE): [api.Control(mute=api.Mute(muted=True))]}
    call = calling(channel, audio, script=muted, again=False)
    await call.connect()
    await call.send(int(3.2 * RATE))
    await kept(database, call)
    await call.lose()
    await call.connect()
    await call.call.write(api.StreamRequest(control=api.Control(mute=api.Mute(muted=False))))
    await call.finish()
    assert_the_same(spans(call.segments), await undisturbed(calling(channel, audio)))


@pytest.mark.parametrize("losses", [(6.2,), (9.1,), (9.1, 9.6, 10.0), (5.0, 9.0, 12.0)])
async def test_a_gap_is_told_once_however_often_it_is_met(channel: grpc.aio.Channel, losses: Sequence[float]) -> None:
    audio = mulaw(speech(16, RATE, (5, 6)))
    hole = [(6 * RATE, 9 * RATE)]
    expected = await undisturbed(calling(channel, audio, holes=hole))
    call = calling(channel, audio, holes=hole)
    await lost_at(call, losses, pauses=[0.02])
    assert_once(call)
    gaps = [(getattr(response.gap, "from"), response.gap.to) for response in call.durable if response.HasField("gap")]
    assert gaps == hole
    assert call.durable[-2].summary.gaps == 1
    assert_the_same(spans(call.segments), expected)


async def test_silence_is_no_gap_to_a_client_that_let_go_of_it(channel: grpc.aio.Channel) -> None:
    """Nothing durable was told yet, and still the next owner knows where the call is."""
    audio = mulaw(np.concatenate([speech(12, RATE, (0,)), speech(6, RATE, (5,))]))
    call = calling(channel, audio)
    await call.connect()
    for _ in range(3):
        await call.send(int(3.6 * RATE))
        await asyncio.sleep(1.1)  # acks come by the clock
    await call.send(RATE // 10)
    await asyncio.sleep(0.1)
    assert call.durable == []
    assert call.keep is not None
    assert call.keep[0] > 5 * RATE
    await call.lose()
    await call.connect()
    await call.finish()
    assert_once(call)
    assert not any(response.HasField("gap") for response in call.durable)
    assert_the_same(spans(call.segments), await undisturbed(calling(channel, audio)))


async def test_resumed_again_and_again_at_once(channel: grpc.aio.Channel, servers: Servers) -> None:
    audio = mulaw(speech(12, RATE, (5, 6)))
    expected = await undisturbed(calling(channel, audio))
    other = await servers.channel()
    call = calling(channel, audio)
    await call.connect()
    for second, where in ((4.0, other), (4.1, channel), (4.2, other), (8.0, other), (8.0, other), (8.0, channel)):
        await call.send(max(int(second * RATE) - call.position, 0))
        await call.connect(where)  # the connection before is not even lost
    await call.finish()
    assert_once(call)
    assert_the_same(spans(call.segments), expected)


async def test_opened_again_while_the_first_open_is_being_stored(channel: grpc.aio.Channel, store: StoreSettings) -> None:
    audio = mulaw(speech(8, RATE, (5,)))
    call = calling(channel, audio)
    owner = await asyncpg.connect(store.database_owner_url, timeout=30)
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE live_session IN SHARE ROW EXCLUSIVE MODE")
            first = asyncio.create_task(call.connect())
            await asyncio.sleep(0.3)
            assert not first.done()
            call.call.cancel()
            await asyncio.wait([first])
            again = asyncio.create_task(call.connect())
            await asyncio.sleep(0.2)
        await again
    finally:
        await owner.close(timeout=30)
    await call.finish()
    assert_once(call)
    assert_the_same(spans(call.segments), await undisturbed(calling(channel, audio)))


async def test_audio_that_was_told_is_let_go_of_at_once(channel: grpc.aio.Channel) -> None:
    """Not when the garbage collector comes by, which is seldom in a busy process."""
    gc.collect()
    gc.disable()
    try:
        call = calling(channel, mulaw(speech(12, RATE, (5, 6))))
        await call.connect()
        await call.finish()
        await asyncio.sleep(0.1)
        assert len(call.segments) > 5
        assert not any(isinstance(each, Utterance) and each.pieces for each in gc.get_objects())
    finally:
        gc.enable()


async def test_a_position_beyond_any_call_is_refused_and_disturbs_nobody(channel: grpc.aio.Channel) -> None:
    call = calling(channel, mulaw(speech(6, RATE, (5,))))
    await call.connect()
    await call.send(3 * RATE)
    hostile = Resuming(channel, call.metadata, call.pcm, call.open, token=call.token, keep=(MAX_POSITION + 1, 0))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await hostile.connect()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await call.finish()
    assert_once(call)
