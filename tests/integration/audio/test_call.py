"""Calls over a real server: what a client hears back, and what bad input and lost clients do."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from conftest import AUTHORIZED, OTHER_TOKEN, RunningServer, silence, voice

from fakes.bars import reach
from malha.api.audio.v1 import audio_pb2 as api
from malha.audio.recogniser import Utterance
from malha.runtime.settings import RuntimeSettings
from malha.runtime.stream import StreamLimits
from malha.transcribe.engine import Hypothesis, RecognitionConfig
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

from .caller import PIECE, Caller

SENTENCES = np.concatenate((silence(0.5), voice(1.2), silence(0.8), voice(1.5), silence(0.6)))
NULL = NullEngine(TranscribeSettings(_env_file=None))


@pytest.fixture(params=[False, True], ids=["socket", "in-process"])
async def server(settings: RuntimeSettings, request: pytest.FixtureRequest) -> AsyncIterator[RunningServer]:
    """Served by the null engine: over a socket, and in the process of Audio."""
    async with RunningServer(settings, NULL, in_process=request.param) as running:
        yield running


@pytest.fixture
def caller(channel: grpc.aio.Channel) -> Caller:
    return Caller(channel)


async def test_a_call_from_open_to_closed(caller: Caller) -> None:
    opened = await caller.open(languages=["en"], channels=[{"role": "ROLE_CUSTOMER"}])
    assert (opened.engine.name, opened.clock_rate, list(opened.languages)) == ("null", 16_000, ["en"])
    await caller.send(SENTENCES, position=0)
    events = await caller.finish()
    assert [segment.id for segment in caller.finals] == ["0-1", "0-2"]
    assert all(segment.role == 2 and segment.text.endswith("s of speech") for segment in caller.finals)
    assert [event.seq for event in events if event.seq] == [1, 2, 3, 4], "finals, summary and closed, each once"
    assert [event.WhichOneof("event") for event in events][-2:] == ["summary", "closed"]
    [summary] = caller.of("summary")
    assert summary.segments == 2
    assert summary.duration.ToTimedelta().total_seconds() == pytest.approx(len(SENTENCES) / 16_000)
    assert summary.channels[0].talk.ToTimedelta().total_seconds() == pytest.approx(2.7, abs=0.3)


async def test_an_event_names_the_position_that_decided_it(caller: Caller) -> None:
    await caller.open()
    await caller.send(SENTENCES, position=0)
    await caller.finish()
    for event in caller.events:
        if event.WhichOneof("event") == "speech_ended":
            heard = event.position / 16_000 - event.speech_ended.time.ToTimedelta().total_seconds()
            assert 0.28 <= heard <= 0.45, "the hangover, to the end of a 100 ms piece"


async def test_two_channels_have_their_own_segments_and_roles(caller: Caller) -> None:
    await caller.open(format={"encoding": "ENCODING_PCM16", "channels": 2}, channels=[{"role": "ROLE_AGENT"}, {"role": "ROLE_CUSTOMER"}])
    left = np.concatenate((silence(0.3), voice(1.0), silence(2.2)))
    right = np.concatenate((silence(2.0), voice(1.0, seed=3), silence(0.5)))
    await caller.send(np.stack((left, right), axis=1))
    await caller.finish()
    assert [(segment.channel, segment.role) for segment in caller.finals] == [(0, 1), (1, 2)]
    assert [channel.segments for channel in caller.of("summary")[0].channels] == [1, 1]


async def test_eight_kilohertz_mulaw(caller: Caller) -> None:
    from malha.audio.formats.g711 import encode_mulaw

    await caller.open(format={"encoding": "ENCODING_MULAW", "sample_rate_hertz": 8000})
    audio = np.concatenate((silence(0.5, 8000), voice(1.2, 8000), silence(0.6, 8000)))
    await caller.call.write(api.StreamRequest(audio=api.Audio(content=bytes(encode_mulaw(audio)))))
    await caller.finish()
    [final] = caller.finals
    assert final.end.ToTimedelta().total_seconds() == pytest.approx(1.7, abs=0.15)


class Asked(NullEngine):
    """Remembers whether utterances were background work."""

    def __init__(self) -> None:
        super().__init__(TranscribeSettings(_env_file=None))
        self.background: list[bool] = []

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        self.background.append(config.background)
        async for hypothesis in super().recognise(config, audio):
            yield hypothesis


@pytest.mark.parametrize(("pace", "background"), [("PACE_LIVE", False), ("PACE_BATCH", True)])
async def test_what_nobody_waits_for_is_recognised_as_background_work(settings: RuntimeSettings, pace: str, background: bool) -> None:
    engine = Asked()
    async with RunningServer(settings, engine) as running, grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        caller = Caller(channel)
        await caller.open(pace=pace)
        await caller.send(SENTENCES)
        await caller.finish()
    assert engine.background == [background, background]


async def test_silence_only_is_an_empty_transcript(caller: Caller) -> None:
    await caller.open()
    await caller.send(silence(3.0))
    await caller.finish()
    assert caller.finals == []
    assert await caller.call.code() is grpc.StatusCode.OK


async def test_no_audio_at_all(caller: Caller) -> None:
    await caller.open()
    await caller.finish()
    assert caller.of("summary")[0].segments == 0


async def test_overlap_is_trimmed_and_changes_nothing(caller: Caller) -> None:
    await caller.open()
    await caller.send(SENTENCES[:20_000], position=0)
    await caller.send(SENTENCES[12_800:], position=12_800)
    await caller.finish()
    assert len(caller.finals) == 2
    assert caller.of("gap") == []
    assert caller.of("summary")[0].duration.ToTimedelta().total_seconds() == pytest.approx(len(SENTENCES) / 16_000)


async def test_a_gap_is_told_and_marks_the_time(caller: Caller) -> None:
    await caller.open()
    await caller.send(SENTENCES, position=0)
    jump = len(SENTENCES) + 160_000
    await caller.send(SENTENCES, position=jump)
    await caller.finish()
    [gap] = caller.of("gap")
    assert (getattr(gap, "from"), gap.to) == (len(SENTENCES), jump)
    starts = [segment.start.ToTimedelta().total_seconds() for segment in caller.finals]
    assert len(starts) == 4
    assert starts[2] - starts[0] == pytest.approx(jump / 16_000, abs=0.05)


async def test_flush_ends_the_utterance_now(caller: Caller) -> None:
    await caller.open()
    await caller.send(np.concatenate((silence(0.3), voice(1.0))))
    await caller.control(flush={})
    while not caller.finals:
        await caller.read()
    await caller.finish()
    assert len(caller.finals) == 1


async def test_a_muted_channel_and_a_held_call_hear_nothing_and_time_goes_on(caller: Caller) -> None:
    await caller.open()
    await caller.control(mute={"muted": True})
    await caller.send(SENTENCES)
    await caller.control(mute={"muted": False})
    await caller.control(hold={"on_hold": True})
    await caller.send(SENTENCES)
    await caller.control(hold={"on_hold": False})
    await caller.send(SENTENCES)
    await caller.finish()
    assert len(caller.finals) == 2
    assert caller.finals[0].start.ToTimedelta().total_seconds() == pytest.approx(2 * len(SENTENCES) / 16_000 + 0.5, abs=0.15)


async def test_who_mutes_a_channel_that_is_none_is_told_that_all_is_heard(caller: Caller) -> None:
    await caller.open()
    await caller.control(mute={"channel": 1, "muted": True})
    await caller.control(mute={"channel": 1, "muted": False})
    await caller.send(SENTENCES)
    await caller.finish()
    assert [warning.reason for warning in caller.of("warning")] == ["NO_SUCH_CHANNEL"]
    assert len(caller.finals) == 2


async def test_keys_are_counted_and_never_told(caller: Caller) -> None:
    await caller.open(channels=[{"role": "ROLE_CUSTOMER"}])
    await caller.control(dtmf={"digits": "4929#"})
    await caller.send(silence(0.5))
    await caller.finish()
    assert caller.of("summary")[0].channels[0].dtmf_digits == 5
    assert "4929" not in str(caller.events)


async def test_what_this_version_lacks_is_warned_about(caller: Caller) -> None:
    await caller.open(insights=True, diarize=True)
    await caller.finish()
    assert [warning.reason for warning in caller.of("warning")] == ["NOT_IN_THIS_VERSION"] * 2


async def test_without_its_noise_a_call_has_the_same_utterances(caller: Caller) -> None:
    await caller.open(denoise=True)
    await caller.send(SENTENCES)
    await caller.finish()
    assert len(caller.finals) == 2
    assert caller.of("warning") == []


async def test_acks_let_the_caller_forget(caller: Caller) -> None:
    await caller.open()
    await caller.send(np.concatenate((SENTENCES, silence(6.0))), position=0)
    await caller.finish()
    ack = caller.of("ack")[-1]
    end = len(SENTENCES) + 96_000
    assert ack.received_through == end
    assert end - 3 * 16_000 <= ack.keep_from <= end


BAD_OPENS = [
    ({"format": {"encoding": "ENCODING_FILE"}}, "FILE_NEEDS_BATCH"),
    ({"format": {"encoding": "ENCODING_MP3"}}, "UNSUPPORTED_FORMAT"),
    ({"format": {"encoding": "ENCODING_MP3"}, "pace": "PACE_BATCH"}, "UNSUPPORTED_FORMAT"),
    ({"format": {"encoding": "ENCODING_PCM16", "sample_rate_hertz": 4000}}, "INVALID_FIELD"),
    ({"format": {}}, "INVALID_FIELD"),
    ({"format": {"encoding": "ENCODING_PCM16", "channels": 3}}, "INVALID_FIELD"),
    ({"channels": [{"role": 1}, {"role": 2}], "format": {"encoding": "ENCODING_PCM16", "channels": 1}}, "TOO_MANY_ROLES"),
    ({"window": {"batch": {"seconds": 8}, "max_batch": {"seconds": 4}}}, "INVALID_WINDOW"),
    ({"tenant_id": "other"}, "FOREIGN_TENANT"),
]


@pytest.mark.parametrize(("fields", "reason"), BAD_OPENS)
async def test_a_bad_open_is_refused(caller: Caller, fields: dict[str, Any], reason: str) -> None:
    fields = {"format": {"encoding": "ENCODING_PCM16"}} | fields
    await caller.call.write(api.StreamRequest(open=api.Open(**fields)))
    assert (await caller.error()).reason == reason


async def test_the_other_tenant_may_name_itself(channel: grpc.aio.Channel) -> None:
    caller = Caller(channel, (("authorization", f"Bearer {OTHER_TOKEN}"),))
    await caller.open(tenant_id="other")
    await caller.finish()


async def test_resume_is_visibly_absent(caller: Caller) -> None:
    await caller.call.write(api.StreamRequest(resume=api.Resume(token="x")))
    error = await caller.error()
    assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IN_THIS_VERSION")


@pytest.mark.parametrize("session", ["abc", "01890000-0000-7000-8000-000000000000"])
async def test_a_session_id_that_is_none_or_of_another_time_is_refused(channel: grpc.aio.Channel, session: str) -> None:
    caller = Caller(channel, (*AUTHORIZED, ("malha-session", session)))
    await caller.call.write(api.StreamRequest(open=api.Open(format={"encoding": "ENCODING_PCM16"})))
    assert (await caller.error()).reason in {"INVALID_SESSION_ID", "CLOCK_OFF"}


async def test_half_a_sample_is_refused(caller: Caller) -> None:
    await caller.open()
    await caller.call.write(api.StreamRequest(audio=api.Audio(content=b"\x00" * 3)))
    assert (await caller.error()).reason == "PARTIAL_FRAME"


async def test_what_is_no_wav_is_refused(caller: Caller) -> None:
    await caller.open(format={"encoding": "ENCODING_WAV"})
    await caller.call.write(api.StreamRequest(audio=api.Audio(content=b"GIF89a" * 100)))
    assert (await caller.error()).code is grpc.StatusCode.INVALID_ARGUMENT


class StuckEngine(NullEngine):
    """Never answers, and tells whether it was given up."""

    def __init__(self) -> None:
        self.working = 0

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        self.working += 1
        try:
            async for _ in audio:
                pass
            await asyncio.sleep(3600)
            yield Hypothesis("", final=True)
        finally:
            self.working -= 1


@pytest.mark.parametrize("in_process", [False, True])
async def test_engine_work_for_a_lost_client_stops(settings: RuntimeSettings, in_process: bool) -> None:
    engine = StuckEngine()
    async with RunningServer(settings, engine, in_process=in_process) as server, grpc.aio.insecure_channel(server.target) as channel:

        async def once() -> float:
            caller = Caller(channel)
            await caller.open()
            await caller.send(SENTENCES)
            async with asyncio.timeout(20):
                while not engine.working:
                    await asyncio.sleep(0.01)
                left = time.monotonic()
                caller.call.cancel()
                while engine.working:
                    await asyncio.sleep(0.01)
            return time.monotonic() - left

        await reach(1.0, once)  # the bar is 200 ms; this machine is shared


async def test_a_reader_that_never_reads_ends_with_reader_slow_and_disturbs_nobody(settings: RuntimeSettings) -> None:
    limits = StreamLimits(max_waiting=20, max_behind_seconds=0.5)
    fixed_window = (("grpc.http2.bdp_probe", 0),)  # else this client's own window grows to megabytes
    async with (
        RunningServer(settings, NULL, limits) as server,
        grpc.aio.insecure_channel(server.target, options=fixed_window) as slow_channel,
        grpc.aio.insecure_channel(server.target) as channel,
    ):
        slow, other = Caller(slow_channel), Caller(channel)
        await slow.open()
        await other.open()
        for position in range(0, 200_000 * 30_000, 200_000):  # every piece leaves a gap: one durable event each
            if any(stream._failure for stream in server.server._streams._running.values()):
                break
            await slow.send(np.zeros(1, np.int16), position=position)
        error = await slow.error()
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "READER_SLOW"), error.message
        await other.send(SENTENCES)
        await other.finish()
        assert len(other.finals) == 2


def with_audio() -> list[Utterance]:
    return [one for one in gc.get_objects() if type(one) is Utterance and one.pieces]


async def test_audio_that_has_its_final_is_let_go_of(caller: Caller) -> None:
    """Not only once the next final has come: a hundred kilobytes for each call that is open."""
    others = with_audio()  # of calls before this one that nobody has cleared away yet; the list keeps them from being taken for new ones
    await caller.open()
    await caller.send(np.concatenate((silence(0.5), voice(1.2), silence(0.8))))
    while not caller.finals:
        await caller.read()
    assert not [one for one in with_audio() if not any(one is other for other in others)]
    await caller.finish()


async def test_a_recogniser_that_restarts_loses_no_utterance(settings: RuntimeSettings) -> None:
    """Transcribe runs apart and is stopped hard while an utterance waits; another comes up on the same port."""
    engine = StuckEngine()
    async with RunningServer(settings, engine) as first:
        apart = settings.model_copy(update={"transcribe_target": first.target})
        async with RunningServer(apart, NULL) as server, grpc.aio.insecure_channel(server.target) as channel:
            caller = Caller(channel)
            await caller.open()
            await caller.send(SENTENCES)
            while not engine.working:
                await asyncio.sleep(0.01)
            await first.server._server.stop(grace=0)
            async with RunningServer(settings.model_copy(update={"grpc_port": first.port}), NULL):
                await caller.finish()
            assert [segment.id for segment in caller.finals] == ["0-1", "0-2"]


async def test_a_recogniser_that_is_away_at_the_open_is_told_without_its_address(settings: RuntimeSettings) -> None:
    apart = settings.model_copy(update={"transcribe_target": "127.0.0.1:1"})
    async with RunningServer(apart, NULL) as server, grpc.aio.insecure_channel(server.target) as channel:
        caller = Caller(channel)
        await caller.call.write(api.StreamRequest(open=api.Open(format={"encoding": "ENCODING_PCM16"})))
        error = await caller.error()
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_AWAY")
    assert "127.0.0.1" not in error.message


async def test_a_call_that_outlasts_the_drain_ends_with_its_reason(settings: RuntimeSettings) -> None:
    async with (
        RunningServer(settings.model_copy(update={"drain_seconds": 0.2}), NULL) as server,
        grpc.aio.insecure_channel(server.target) as channel,
    ):
        caller = Caller(channel)
        await caller.open()
        await caller.send(SENTENCES)
        await server.server.stop()
        error = await caller.error()
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_a_server_that_drains_says_so_and_lets_the_call_end(settings: RuntimeSettings) -> None:
    async with RunningServer(settings, NULL) as server, grpc.aio.insecure_channel(server.target) as channel:
        caller = Caller(channel)
        await caller.open()
        await caller.send(SENTENCES)
        stopping = asyncio.create_task(server.server.stop())
        while not caller.of("go_away"):
            await caller.read()
        await caller.finish()
        await stopping
        assert len(caller.finals) == 2
        assert await caller.call.code() is grpc.StatusCode.OK


def ogg(seconds: float = 8.0) -> bytes:
    """A live-like Ogg/Opus stream of sentences."""
    import io

    import av

    audio = np.concatenate([SENTENCES] * (int(seconds // 4.6) + 1))
    out = io.BytesIO()
    with av.open(out, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.repeat(audio, 3)[None, :], format="s16", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return out.getvalue()


async def test_a_live_ogg_stream_and_where_it_may_be_forgotten(caller: Caller) -> None:
    opened = await caller.open(format={"encoding": "ENCODING_OGG"})
    assert opened.clock_rate == 0, "positions of containers are bytes"
    stream = ogg()
    for at in range(0, len(stream), 700):
        await caller.call.write(api.StreamRequest(audio=api.Audio(content=stream[at : at + 700], position=at)))
    await caller.finish()
    assert len(caller.finals) == 4
    ack = caller.of("ack")[-1]
    assert ack.received_through == len(stream)
    assert 0 < ack.keep_from < len(stream)
    assert stream[ack.keep_from : ack.keep_from + 4] == b"OggS", "a page's start"


async def test_a_hole_in_a_container_is_told_and_ends_the_call(caller: Caller) -> None:
    await caller.open(format={"encoding": "ENCODING_OGG"})
    stream = ogg()
    await caller.call.write(api.StreamRequest(audio=api.Audio(content=stream[:700], position=0)))
    await caller.call.write(api.StreamRequest(audio=api.Audio(content=stream[900:1400], position=900)))
    assert (await caller.error()).reason == "CONTAINER_GAP"
    assert len(caller.of("gap")) == 1


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "ogg"])
async def test_a_file_is_transcribed_whole(caller: Caller, form: str) -> None:
    import io

    import av

    codec = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus"}[form]
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=48_000 if form == "ogg" else 16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(SENTENCES[None, :], format="s16", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate, frame_size=stream.frame_size or 0)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    await caller.open(format={"encoding": "ENCODING_FILE"}, pace="PACE_BATCH")
    data = out.getvalue()
    for at in range(0, len(data), 50_000):
        await caller.call.write(api.StreamRequest(audio=api.Audio(content=data[at : at + 50_000])))
    await caller.finish()
    assert len(caller.finals) == 2
    assert caller.of("summary")[0].duration.ToTimedelta().total_seconds() == pytest.approx(len(SENTENCES) / 16_000, abs=0.1)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "EMPTY_FILE"), (b"%PDF-1.7 " + b"x" * 5000, "NOT_AUDIO"), (b"RIFF\x10\x00\x00\x00WAVE", None)]
)
async def test_a_file_that_is_no_audio_is_refused(caller: Caller, content: bytes, reason: str | None) -> None:
    await caller.open(format={"encoding": "ENCODING_FILE"}, pace="PACE_BATCH")
    if content:
        await caller.call.write(api.StreamRequest(audio=api.Audio(content=content)))
    await caller.call.write(api.StreamRequest(finish=api.Finish()))
    error = await caller.error()
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason is None or error.reason == reason


async def test_a_file_over_the_limit_is_refused(settings: RuntimeSettings) -> None:
    from malha.audio.settings import AudioSettings

    small = AudioSettings(_env_file=None, upload_max_bytes=10_000)
    async with RunningServer(settings, NULL, audio=small) as server, grpc.aio.insecure_channel(server.target) as channel:
        caller = Caller(channel)
        await caller.open(format={"encoding": "ENCODING_FILE"}, pace="PACE_BATCH")
        await caller.call.write(api.StreamRequest(audio=api.Audio(content=bytes(20_000))))
        error = await caller.error()
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "UPLOAD_TOO_LARGE")


async def test_random_frames_in_one_call_leave_the_others_as_they_were(server: RunningServer) -> None:
    """10,000 random messages beside a call: its transcript is what it is alone."""

    async def transcript(channel: grpc.aio.Channel) -> list[tuple[str, float, float]]:
        caller = Caller(channel)
        await caller.open()
        for at in range(0, len(SENTENCES), PIECE):
            await caller.send(SENTENCES[at : at + PIECE])
            await asyncio.sleep(0.01)
        await caller.finish()
        return [(segment.text, segment.start.ToNanoseconds(), segment.end.ToNanoseconds()) for segment in caller.finals]

    async def noise(channel: grpc.aio.Channel) -> int:
        random, sent = np.random.default_rng(7), 0
        while sent < 10_000:
            caller = Caller(channel)
            try:
                await caller.open()
                while sent < 10_000:
                    sent += 1
                    size = int(random.integers(0, 2000)) * (2 if random.random() < 0.995 else 1)
                    position = int(random.integers(0, 2**40)) if random.random() < 0.1 else None
                    await caller.call.write(api.StreamRequest(audio=api.Audio(content=random.bytes(size), position=position)))
                    if caller.call.done():
                        break
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError):
                pass
            caller.call.cancel()
        return sent

    async with grpc.aio.insecure_channel(server.target) as channel, grpc.aio.insecure_channel(server.target) as hostile:
        alone = await transcript(channel)
        noisy = asyncio.create_task(noise(hostile))
        beside = [await transcript(channel)]
        assert await noisy == 10_000
        assert all(found == alone for found in beside)
        assert len(alone) == 2
