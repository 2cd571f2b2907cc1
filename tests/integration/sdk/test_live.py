"""A live call against a server without faults: what is sent, in which pieces, and what comes back."""

import asyncio
import io
import time
import uuid
import wave

import pytest

from fakes.audio_server import TOKEN, serving
from malha.sdk import (
    Ack,
    AlreadyClosed,
    Closed,
    Final,
    InvalidRequest,
    LiveCall,
    Malha,
    Opened,
    Summary,
    VadSettings,
    Window,
)

SECOND = bytes(range(250)) * 128  # 16 kHz mono PCM16


async def chunks_of(size: int, content: bytes = SECOND, pause: float = 0.0):
    for start in range(0, len(content), size):
        yield content[start : start + size]
        await asyncio.sleep(pause)


@pytest.fixture
def unhurried(monkeypatch):
    """Audio that comes slowly, as from a machine that stands still, is not sent before a message is full."""
    monkeypatch.setattr("malha.sdk.live._STALL_SECONDS", 60.0)


@pytest.mark.usefixtures("unhurried")
async def test_a_whole_call():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        call = malha.live(
            chunks_of(640),
            language=["en", "pt-BR"],
            roles=["agent"],
            conversation_id="c1",
            model="tiny",
            words=True,
            interim=False,
            diarize=True,
            insights=True,
            denoise=True,
            vad=VadSettings(threshold_multiplier=2.0, min_energy=0.0, hangover_seconds=0.3),
            window=Window(batch_seconds=5, max_batch_seconds=10),
        )
        events = [event async for event in call]
    assert [type(event) for event in events] == [Opened, *[Ack] * 10, Final, Summary, Closed]
    assert [event.seq for event in events if event.seq] == [1, 2, 3]
    assert call.last_seq == 3
    opened = server.call.requests[0].open
    assert list(opened.languages) == ["en", "pt-BR"]
    assert (opened.format.encoding, opened.format.sample_rate_hertz, opened.format.channels) == (1, 16_000, 1)
    assert [channel.role for channel in opened.channels] == [1]
    assert (opened.conversation_id, opened.model, opened.words, opened.diarize, opened.insights, opened.denoise) == (
        "c1",
        "tiny",
        *[True] * 4,
    )
    assert opened.HasField("interim")
    assert not opened.interim
    assert opened.pace == 1
    assert (opened.vad.threshold_multiplier, opened.vad.min_energy, opened.vad.hangover.nanos) == (2.0, 0.0, 300_000_000)
    assert opened.vad.HasField("min_energy")
    assert (opened.window.batch.seconds, opened.window.max_batch.seconds) == (5, 10)


@pytest.mark.usefixtures("unhurried")
async def test_audio_arrives_whole_in_messages_of_100_ms_with_positions():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        async for _ in malha.live(chunks_of(640)):
            pass
    assert server.call.content == SECOND
    assert [(piece.position, len(piece.content)) for piece in server.call.pieces] == [(at, 3_200) for at in range(0, 16_000, 1_600)]
    assert server.call.requests[-1].HasField("finish")


@pytest.mark.usefixtures("unhurried")
async def test_stereo_positions_count_frames():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        async for _ in malha.live([SECOND[:6_401], SECOND[6_401:]], channels=2, roles=["agent", "customer"]):
            pass
    assert server.call.content == SECOND
    assert [piece.position for piece in server.call.pieces] == [0, 1_600]
    assert all(len(piece.content) % 4 == 0 for piece in server.call.pieces)


async def test_the_session_id_is_minted_here():
    async with serving() as server, Malha(server.target, TOKEN) as malha, malha.live([SECOND]) as call:
        minted = call.session_id
        assert call.opened is None
        events = [event async for event in call]
    assert uuid.UUID(minted).version == 7
    assert server.call.metadata["malha-session"] == minted == events[0].session_id
    assert call.opened == events[0]


@pytest.mark.parametrize("kind", ["bytes", "path", "file", "list", "generator", "async"])
async def test_each_kind_of_source(kind, tmp_path):
    path = tmp_path / "call.pcm"
    path.write_bytes(SECOND)
    with path.open("rb") as file:
        source = {
            "bytes": SECOND,
            "path": path,
            "file": file,
            "list": [SECOND[:9], SECOND[9:]],
            "generator": (SECOND[at : at + 999] for at in range(0, len(SECOND), 999)),
            "async": chunks_of(1_001),
        }[kind]
        async with serving() as server, Malha(server.target, TOKEN) as malha:
            async for _ in malha.live(source, pace="batch"):
                pass
    assert server.call.content == SECOND
    assert server.call.requests[0].open.pace == 2


async def test_a_recording_is_paced_as_it_was_spoken(tmp_path):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(SECOND[:16_000])
    path = tmp_path / "call.wav"
    path.write_bytes(file.getvalue())
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        start = time.monotonic()
        async for _ in malha.live(path):
            pass
    assert time.monotonic() - start >= 0.5
    assert server.call.content == file.getvalue()
    assert server.call.requests[0].open.format.encoding == 4
    assert len(server.call.pieces) == 6
    assert server.call.pieces[1].position == 3_200  # bytes, for a container


async def test_the_chunks_of_a_container_go_out_as_they_come():
    chunks = [b"a" * 500, b"b" * 700_000, b"c"]
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        async for _ in malha.live(chunks, encoding="webm"):
            pass
    assert [(piece.position, len(piece.content)) for piece in server.call.pieces] == [
        (0, 500),
        (500, 262_144),
        (262_644, 262_144),
        (524_788, 175_712),
        (700_500, 1),
    ]


async def test_audio_left_over_is_sent_when_the_source_pauses():
    """20 ms are not kept back until the next word of somebody who pauses."""
    spoke = asyncio.Event()

    async def push_to_talk():
        yield SECOND[:640]
        await spoke.wait()

    async with serving() as server, Malha(server.target, TOKEN) as malha:
        async for event in malha.live(push_to_talk()):
            if isinstance(event, Ack):
                assert event.received_through == 320
                spoke.set()
    assert spoke.is_set()


async def test_nothing_is_taken_before_the_server_has_accepted():
    taken = []

    async def microphone():
        taken.append(True)
        yield SECOND

    accept = asyncio.Event()

    async def slow_to_open(call):
        await call.read()
        await accept.wait()
        await call.opened()
        while await call.read() is not None:
            pass
        await call.close()

    async with serving(slow_to_open) as server, Malha(server.target, TOKEN) as malha, malha.live(microphone()) as call:
        await server.arrived.wait()
        await asyncio.sleep(0.05)
        assert not taken
        accept.set()
        async for _ in call:
            pass
    assert taken


async def test_controls_apply_where_they_are_said():
    """What was taken before a control is sent before it, though it fills no message."""
    said = asyncio.Event()

    async def microphone():
        yield SECOND[:640]
        await said.wait()
        yield SECOND[640:3_200]

    async with serving() as server, Malha(server.target, TOKEN) as malha, malha.live(microphone()) as call:
        assert isinstance(await anext(call), Opened)
        await call.flush()
        await call.mute(1)
        await call.mute()
        await call.unmute(0)
        await call.hold()
        await call.unhold()
        await call.dtmf("12#")
        await call.feedback("i1", "used")
        said.set()
        events = [event async for event in call]
    assert [event.text for event in events if isinstance(event, Final)] == ["heard 320", "the end"]
    sent = list(server.call.requests[1:])
    assert [request.WhichOneof("request") for request in sent] == ["audio", *["control"] * 7, "feedback", "audio", "finish"]
    controls = [request.control for request in sent[1:8]]
    assert [control.WhichOneof("control") for control in controls] == ["flush", "mute", "mute", "mute", "hold", "hold", "dtmf"]
    mutes = [(control.mute.HasField("channel"), control.mute.channel, control.mute.muted) for control in controls[1:4]]
    assert mutes == [(True, 1, True), (False, 0, True), (True, 0, False)]
    assert [control.hold.on_hold for control in controls[4:6]] == [True, False]
    assert controls[6].dtmf.digits == "12#"
    assert (sent[8].feedback.insight_id, sent[8].feedback.action) == ("i1", 2)
    assert [request.audio.position for request in sent if request.HasField("audio")] == [0, 320]


@pytest.mark.parametrize(
    "control",
    [
        lambda call: call.dtmf("abc"),
        lambda call: call.dtmf(""),
        lambda call: call.mute(2),
        lambda call: call.feedback("i", "liked"),
        lambda call: call.feedback("", "used"),
        lambda call: call.feedback("\udce9", "used"),
    ],
)
async def test_a_wrong_control_does_not_harm_the_call(control):
    async with serving() as server, Malha(server.target, TOKEN) as malha, malha.live(chunks_of(3_200, pause=0.01)) as call:
        with pytest.raises(InvalidRequest):
            await control(call)
        assert isinstance([event async for event in call][-1], Closed)


async def test_finish_ends_a_call_whose_audio_goes_on():
    closed = []

    async def microphone():
        try:
            while True:
                yield SECOND[:640]
                await asyncio.sleep(0.02)
        finally:
            closed.append(True)

    async with serving() as server, Malha(server.target, TOKEN) as malha, malha.live(microphone()) as call:
        events = []
        async for event in call:
            events.append(event)
            if isinstance(event, Ack) and event.received_through >= 3_200:
                await call.finish()
                await call.finish()
        with pytest.raises(AlreadyClosed):
            await call.flush()
    assert isinstance(events[-1], Closed)
    assert server.call.requests[-1].HasField("finish")
    assert closed


async def test_a_control_after_the_audio_ended_is_an_error_of_its_own():
    closing = asyncio.Event()

    async def slow_to_close(call):
        await call.read()
        await call.opened()
        while not (await call.read()).HasField("finish"):
            pass
        await call.ack(1, 1)
        await closing.wait()
        await call.close()

    async with serving(slow_to_close) as server, Malha(server.target, TOKEN) as malha, malha.live([SECOND]) as call:
        async for event in call:
            if isinstance(event, Ack):
                with pytest.raises(AlreadyClosed):
                    await call.flush()
                closing.set()
    assert isinstance(event, Closed)


async def test_unsaved_audio_follows_the_acks():
    async def acks(call):
        await call.read()
        await call.opened()
        for _ in range(4):
            await call.read()
        await call.ack(6_400, 4_000)
        while not (await call.read()).HasField("finish"):
            pass
        await call.close()

    go_on = asyncio.Event()

    async def microphone():
        for at in range(0, 12_800, 3_200):
            yield SECOND[at : at + 3_200]
        await go_on.wait()

    async with serving(acks) as server, Malha(server.target, TOKEN) as malha, malha.live(microphone()) as call:
        async for event in call:
            if isinstance(event, Ack):
                kept = call.unsaved_audio()
                assert (kept.position, kept.content, kept.complete, kept.header) == (4_000, SECOND[8_000:12_800], True, b"")
                go_on.set()
    assert go_on.is_set()


async def test_reading_may_stop_and_go_on_inside_the_block():
    """A time-out around one event loses neither the call nor an event."""
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        gate = asyncio.Event()

        async def microphone():
            await gate.wait()
            yield SECOND[:3_200]

        async with malha.live(microphone()) as call:
            async for event in call:
                assert isinstance(event, Opened)
                break
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(call), 0.05)
            gate.set()
            rest = [event async for event in call]
    assert [type(event) for event in rest] == [Ack, Final, Summary, Closed]
    assert not server.call.lost.is_set()


async def test_many_calls_share_a_client():
    async with serving() as server, Malha(server.target, TOKEN) as malha:

        async def one(number: int) -> LiveCall:
            content = bytes([number]) * 6_400
            call = malha.live(chunks_of(640, content))
            async for _ in call:
                pass
            return call

        calls = await asyncio.gather(*(one(number) for number in range(20)))
    by_session = {call.metadata["malha-session"]: call.content for call in server.calls}
    assert [by_session[call.session_id] for call in calls] == [bytes([number]) * 6_400 for number in range(20)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"audio": b"", "encoding": "flac"}, "flac"),
        ({"audio": b"", "encoding": "webm"}, "pace='batch'"),
        ({"audio": b"", "encoding": "wav"}, "pace='batch'"),
        ({"audio": b"", "encoding": "file"}, "pace='batch'"),
        ({"audio": [], "channels": 2, "roles": ["agent"]}, "one role for each channel"),
        ({"audio": [], "sample_rate": 1}, "sample rate"),
    ],
)
async def test_what_cannot_be_streamed_is_told_at_once(arguments, named):
    with pytest.raises(InvalidRequest, match=named):
        Malha("127.0.0.1:1", TOKEN).live(**arguments)


async def test_a_file_that_cannot_be_streamed_live_is_told_at_once(tmp_path):
    (tmp_path / "call.mp3").write_bytes(b"ID3")
    malha = Malha("127.0.0.1:1", TOKEN)
    with pytest.raises(InvalidRequest, match="transcribe"):
        malha.live(tmp_path / "call.mp3")
    with pytest.raises(FileNotFoundError):
        malha.live(tmp_path / "none.wav")
