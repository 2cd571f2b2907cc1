"""DiarizeService over gRPC: a real server, the real engine in its worker, the contract as a client sees it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from conftest import AUTHORIZED, TOKEN

from fakes.diarize_engine import NullDiarizeEngine
from fakes.serving import served
from fakes.talkers import RATE, Talkers, pause
from malha.api.common.v1 import media_pb2
from malha.api.diarize.v1 import diarize_pb2 as api
from malha.api.diarize.v1.diarize_pb2_grpc import DiarizeServiceStub
from malha.bench.der import Talk, errors
from malha.diarize.engine import DiarizationConfig, Turn, VoicePrint
from malha.diarize.engines.resemblyzer import ResemblyzerEngine
from malha.diarize.service import DiarizeService
from malha.diarize.settings import DiarizeSettings
from malha.runtime.durations import seconds
from malha.runtime.errors import MalhaError
from malha.runtime.settings import RuntimeSettings
from malha.runtime.status import from_rpc_error
from malha.sdk._rpc import Rpc

pytestmark = [pytest.mark.engine("resemblyzer"), pytest.mark.asyncio(loop_scope="module")]

DEADLINE = 120.0
PCM16 = media_pb2.ENCODING_PCM16
MAX_SECONDS = 120.0


class Labelled:
    """What a client was told."""

    def __init__(self) -> None:
        self.opened: api.Opened | None = None
        self.closed: api.Closed | None = None
        self.turns: dict[int, api.Turn] = {}
        self.told: list[tuple[float, api.Turn]] = []
        """With the second of audio that had been sent by then."""

    @property
    def talks(self) -> list[Talk]:
        return sorted(Talk(seconds(turn.start), seconds(turn.end), turn.speaker) for turn in self.turns.values())

    def take(self, response: api.DiarizeResponse, sent: float) -> None:
        match response.WhichOneof("event"):
            case "opened":
                self.opened = response.opened
            case "closed":
                self.closed = response.closed
            case "turn":
                turn = response.turn
                known = self.turns.get(turn.id)
                assert turn.revision == 1 or known is None or turn.revision > known.revision
                self.told.append((sent, turn))
                self.turns[turn.id] = turn
                if not turn.speaker:
                    del self.turns[turn.id]


class Client:
    """A server with Diarize alone, and calls to it."""

    def __init__(self, stub: DiarizeServiceStub, engine: Any) -> None:
        self.stub = stub
        self.engine = engine

    async def label(self, pieces: Sequence[bytes], *, rate: int = RATE, channels: int = 1, pause: Any = None, **opening: Any) -> Labelled:
        """Send pieces, each after the ones before are answered as far as ``pause(number, found)`` wants; gather the answer."""
        call = Rpc(self.stub.Diarize(metadata=AUTHORIZED, timeout=DEADLINE))  # a write that meets a refusal would replace its status
        audio = media_pb2.AudioFormat(encoding=PCM16, sample_rate_hertz=rate, channels=channels)
        found, sent = Labelled(), 0.0

        async def send() -> None:
            nonlocal sent
            await call.write(api.DiarizeRequest(open=api.Open(format=audio, **opening)))
            for number, piece in enumerate(pieces):
                if pause is not None:
                    await pause(number, found)
                sent += len(piece) / 2 / channels / rate
                await call.write(api.DiarizeRequest(audio=api.Audio(content=piece)))
            await call.write(api.DiarizeRequest(finish=api.Finish()))

        sending = asyncio.create_task(send())
        try:
            async for response in call.responses():
                found.take(response, sent)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    settings = RuntimeSettings(
        _env_file=None,
        data_dir=tmp_path_factory.mktemp("data"),
        grpc_port=0,
        admin_port=0,
        api_tokens=(f"default:{TOKEN}",),
        drain_seconds=1,
    )
    diarize = DiarizeSettings(_env_file=None, diarize_max_seconds=MAX_SECONDS, diarize_max_streams=3)
    engine = ResemblyzerEngine(diarize)
    service = DiarizeService(engine, diarize, None)
    async with served([service], settings) as server, grpc.aio.insecure_channel(server.target) as channel:
        yield Client(DiarizeServiceStub(channel), engine)


def pieces(samples: np.ndarray, seconds_each: float = 0.1, rate: int = RATE) -> list[bytes]:
    step = int(rate * seconds_each)
    return [samples[at : at + step].astype("<i2").tobytes() for at in range(0, len(samples), step)]


def rate_of(found: Labelled, truth: Sequence[tuple[float, float, str]]) -> float:
    return errors([Talk(*turn) for turn in truth], found.talks).rate


async def test_two_people_are_told_apart(client: Client, talkers: Talkers) -> None:
    samples, truth = talkers.dialogue()
    found = await client.label(pieces(samples))
    assert rate_of(found, truth) < 0.1
    assert found.closed is not None
    assert found.closed.speakers == 2
    assert seconds(found.closed.audio) == pytest.approx(len(samples) / RATE, abs=0.01)
    assert found.opened is not None
    assert (found.opened.engine.name, found.opened.identify) == ("resemblyzer", False)
    assert {talk.speaker for talk in found.talks} == {"S1", "S2"}


async def test_turns_come_while_audio_does_and_a_recording_s_at_its_end(client: Client, talkers: Talkers) -> None:
    samples, truth = talkers.dialogue()
    sent = pieces(samples, 0.5)

    async def hear(number: int, found: Labelled) -> None:
        while number == len(sent) - 2 and len(found.told) < len(truth):  # the call has a deadline
            await asyncio.sleep(0.05)

    await client.label(sent, pause=hear)
    whole = await client.label(pieces(samples, 10.0), background=True)
    assert {turn.revision for _, turn in whole.told} == {1}
    assert rate_of(whole, truth) < 0.1


async def test_a_telephone_line_is_heard_too(client: Client, talkers: Talkers) -> None:
    import soxr

    samples, truth = talkers.dialogue()
    found = await client.label(pieces(soxr.resample(samples, RATE, 8_000), rate=8_000), rate=8_000)
    assert rate_of(found, truth) < 0.15


async def test_of_two_channels_each_is_a_speaker(client: Client, talkers: Talkers) -> None:
    samples, truth = talkers.dialogue()
    both = np.stack([pause(len(samples) / RATE), pause(len(samples) / RATE)], axis=1)
    for start, end, name in truth:
        part = slice(int(start * RATE), int(end * RATE))
        both[part, int(name == "rui")] = samples[part]
    found = await client.label(pieces(both.reshape(-1), 0.4), channels=2)
    assert found.opened.max_speakers == 2
    assert rate_of(found, truth) < 0.1
    assert {(turn.channel, turn.speaker) for turn in found.turns.values()} == {(0, "S1"), (1, "S2")}
    assert len({turn.id for turn in found.turns.values()}) == len(found.turns)


async def test_no_more_speakers_than_asked_for(client: Client, talkers: Talkers) -> None:
    samples, _ = talkers.dialogue()
    found = await client.label(pieces(samples), max_speakers=1)
    assert {turn.speaker for turn in found.turns.values()} == {"S1"}


class _Renaming(NullDiarizeEngine):
    """Whose third voice speaks first, then its second: the first one was given up."""

    async def diarize(self, config: DiarizationConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Turn | VoicePrint]:
        async for _ in audio:
            pass
        for number, voice in enumerate((3, 2, 3), 1):
            yield Turn(number, 1, voice, float(number), number + 1.0)


async def test_who_speaks_first_is_the_first(tmp_path: Path) -> None:
    settings = RuntimeSettings(
        _env_file=None, data_dir=tmp_path, grpc_port=0, admin_port=0, api_tokens=(f"default:{TOKEN}",), drain_seconds=1
    )
    engine, diarize = _Renaming(), DiarizeSettings(_env_file=None)
    async with served([DiarizeService(engine, diarize, None)], settings) as server, grpc.aio.insecure_channel(server.target) as channel:
        found = await Client(DiarizeServiceStub(channel), engine).label(pieces(pause(4.0)), background=True)
    assert [found.turns[number].speaker for number in (1, 2, 3)] == ["S1", "S2", "S1"]


async def test_nobody_speaks(client: Client) -> None:
    for samples in (np.zeros(0, np.int16), pause(3.0)):
        found = await client.label(pieces(samples))
        assert found.closed is not None
        assert (found.turns, found.closed.speakers) == ({}, 0)


async def test_a_worker_that_dies_costs_no_turn(client: Client, talkers: Talkers) -> None:
    samples, truth = talkers.dialogue()

    async def kill(number: int, _: Labelled) -> None:
        await asyncio.sleep(0.02)
        if number in {8, 20}:
            for pid in client.engine.worker_pids:
                os.kill(pid, signal.SIGKILL)

    found = await client.label(pieces(samples, 1.0), pause=kill)
    assert rate_of(found, truth) < 0.1


@pytest.mark.parametrize(
    ("opening", "content", "reason"),
    [
        ({"format": {"encoding": media_pb2.ENCODING_MULAW}}, b"", "UNSUPPORTED_FORMAT"),
        ({"format": {"encoding": PCM16}}, b"\0", "PARTIAL_FRAME"),
        ({"format": {"encoding": PCM16, "channels": 2}}, b"\0\0", "PARTIAL_FRAME"),
        ({"format": {"encoding": PCM16}, "max_speakers": 21}, b"", "INVALID_FIELD"),
    ],
)
async def test_what_cannot_be_labelled_is_refused(client: Client, opening: dict[str, Any], content: bytes, reason: str) -> None:
    call = client.stub.Diarize(metadata=AUTHORIZED, timeout=DEADLINE)
    await call.write(api.DiarizeRequest(open=api.Open(**opening)))
    with pytest.raises(MalhaError) as refused:
        try:
            if content:
                await call.read()
                await call.write(api.DiarizeRequest(audio=api.Audio(content=content)))
            while await call.read() is not grpc.aio.EOF:
                pass
            raise from_rpc_error(
                grpc.aio.AioRpcError(await call.code(), grpc.aio.Metadata(), await call.trailing_metadata(), await call.details())
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
    assert refused.value.reason == reason


async def test_a_stream_has_an_end(client: Client) -> None:
    with pytest.raises(MalhaError) as refused:
        await client.label(pieces(np.zeros(int(RATE * (MAX_SECONDS + 1)), np.int16), 10.0))
    assert refused.value.reason == "AUDIO_TOO_LONG"


async def test_more_streams_than_fit_are_refused(client: Client) -> None:
    audio = media_pb2.AudioFormat(encoding=PCM16)
    calls = [client.stub.Diarize(metadata=AUTHORIZED, timeout=DEADLINE) for _ in range(3)]
    for call in calls:
        await call.write(api.DiarizeRequest(open=api.Open(format=audio)))
        assert (await call.read()).HasField("opened")
    with pytest.raises(MalhaError) as refused:
        await client.label([])
    assert (refused.value.reason, refused.value.quota) == ("ENGINE_BUSY", "diarize_streams")
    for call in calls:
        call.cancel()
    free = None
    async with asyncio.timeout(DEADLINE):  # the places of clients who left are free again
        while free is None:
            with contextlib.suppress(MalhaError):
                free = (await client.label([])).closed
            await asyncio.sleep(0.05)


async def test_without_a_database_nobody_is_enrolled(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.stub.ListSpeakers(api.ListSpeakersRequest(), metadata=AUTHORIZED, timeout=DEADLINE)
    assert from_rpc_error(refused.value).reason == "STORE_NOT_CONFIGURED"
