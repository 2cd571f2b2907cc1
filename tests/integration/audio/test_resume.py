"""Calls that lose their connection or their server go on: nothing durable is lost, nothing is told twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import numpy as np
import pytest
from conftest import AUTHORIZED, OTHER_TOKEN, RunningServer, silence

from fakes.conversation import conversation
from malha.api.audio.v1 import audio_pb2 as api
from malha.audio.session_ids import new_session_id
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

from .resuming import RATE, Resuming, opening, spans


class Site:
    """Servers that share a store."""

    def __init__(self, settings: RuntimeSettings, database: Database, store: StoreSettings, stack: AsyncExitStack) -> None:
        self._settings, self._store, self._stack = settings, (database, store), stack

    async def server(self) -> RunningServer:
        engine = NullEngine(TranscribeSettings(_env_file=None))
        return await self._stack.enter_async_context(RunningServer(self._settings, engine, in_process=True, store=self._store))

    async def channel(self, server: RunningServer) -> grpc.aio.Channel:
        return await self._stack.enter_async_context(grpc.aio.insecure_channel(server.target))

    async def call(self, pcm: np.ndarray, token: str = "", **fields: object) -> Resuming:
        server = await self.server()
        metadata = (("authorization", f"Bearer {token}"),) if token else AUTHORIZED
        request = opening(pcm.shape[1], **fields)
        return Resuming(await self.channel(server), (*metadata, ("malha-session", new_session_id())), pcm, request)


@pytest.fixture
async def site(settings: RuntimeSettings, database: Database, store: StoreSettings) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(settings, database, store, stack)


@asynccontextmanager
async def refused(code: grpc.StatusCode, reason: str) -> AsyncIterator[None]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield
    assert raised.value.code() is code, raised.value
    trailing = b"".join(value for _, value in raised.value.trailing_metadata() or () if isinstance(value, bytes))
    assert reason.encode() in trailing


async def uninterrupted(site: Site, pcm: np.ndarray) -> list[tuple[int, float, float]]:
    call = await site.call(pcm)
    await call.connect()
    await call.finish()
    assert call.seqs == list(range(1, len(call.seqs) + 1))
    return spans(call.segments)


def assert_the_same(found: list[tuple[int, float, float]], expected: list[tuple[int, float, float]]) -> None:
    """Each utterance once, at its time: a detector that begins anew may see an edge a few frames off."""
    assert [channel for channel, *_ in found] == [channel for channel, *_ in expected]
    for (_, start, end), (_, known_start, known_end) in zip(found, expected, strict=True):
        assert abs(start - known_start) <= 0.1
        assert abs(end - known_end) <= 0.1


@pytest.mark.parametrize("channels", [1, 2])
async def test_a_call_lost_again_and_again_is_told_whole_and_once(site: Site, channels: int) -> None:
    pcm = conversation(channels=channels)
    expected = await uninterrupted(site, pcm)
    assert len(expected) >= 8 * channels
    call = await site.call(pcm)
    await call.connect()
    random = np.random.default_rng(3)
    for _ in range(6):
        await call.send(int(random.uniform(0.5, 5) * RATE))
        await asyncio.sleep(random.uniform(0, 0.2))
        await call.lose()
        await call.connect()
    await call.finish()
    assert call.repeated == 0
    assert call.seqs == list(range(1, len(call.seqs) + 1))
    assert_the_same(spans(call.segments), expected)
    assert len(set(call.tokens)) == 7
    summary = call.durable[-2].summary
    assert summary.segments == len(expected)
    assert summary.duration.ToNanoseconds() / 1e9 == pytest.approx(len(pcm) / RATE, abs=0.05)
    talk = sum(channel.talk.ToNanoseconds() / 1e9 for channel in summary.channels)
    assert talk == pytest.approx(sum(end - start for _, start, end in expected), rel=0.05)


async def test_a_call_goes_on_at_another_server_and_the_first_lets_go(site: Site) -> None:
    pcm = conversation()
    expected = await uninterrupted(site, pcm)
    call = await site.call(pcm)
    await call.connect()
    await call.send(8 * RATE)
    await asyncio.sleep(0.3)
    half_open, reader = call.call, call._reader  # the first connection stays, as behind a network that broke
    other = await site.channel(await site.server())
    await call.connect(other)
    await call.finish()
    assert call.repeated == 0
    assert_the_same(spans(call.segments), expected)
    # one message, which has finals in it: where a next one met the end, grpc.aio would hide the status
    await half_open.write(api.StreamRequest(audio=api.Audio(content=pcm[: 6 * RATE].tobytes())))
    async with asyncio.timeout(20):
        assert await half_open.code() is grpc.StatusCode.ABORTED
    await asyncio.wait([reader])
    assert b"SESSION_MOVED" in dict(await half_open.trailing_metadata())["grpc-status-details-bin"]


async def test_of_two_tabs_the_newer_wins_and_the_older_is_told_so(site: Site) -> None:
    call = await site.call(conversation())
    await call.connect()
    await call.send(4 * RATE)
    older, token = call.call, call.token
    newer = Resuming(call.channel, call.metadata, call.pcm, call.open, token=token, position=call.position, keep=call.keep)
    await newer.connect()
    async with asyncio.timeout(20):
        assert await older.code() is grpc.StatusCode.ABORTED
    await newer.finish()
    assert newer.seqs == list(range(1, len(newer.seqs) + 1))


async def test_the_answer_to_a_resume_may_be_lost(site: Site) -> None:
    call = await site.call(conversation(12))
    await call.connect()
    await call.send(5 * RATE)
    await asyncio.sleep(0.2)
    token = call.token
    for _ in range(3):
        await call.lose()
        call.token = token
        await call.connect()
    await call.finish()
    assert call.repeated == 0
    assert call.seqs == list(range(1, len(call.seqs) + 1))


async def test_mute_and_hold_outlive_the_connection(site: Site) -> None:
    call = await site.call(conversation(16, channels=2))
    await call.connect()
    await call.call.write(api.StreamRequest(control=api.Control(mute=api.Mute(channel=1, muted=True))))
    await call.send(6 * RATE)
    await call.stored()  # and the mute with it
    await call.lose()
    await call.connect()
    await call.finish()
    assert {segment.channel for segment in call.segments} == {0}


async def test_after_the_end_the_last_events_can_still_be_had(site: Site) -> None:
    call = await site.call(conversation(8))
    await call.connect()
    await call.send(8 * RATE)
    await asyncio.sleep(1.1)  # acks come by the clock
    await call.send(RATE)
    await call.finish()
    assert call.keep, "it let go of audio, and must not be asked for it"
    seqs, call.last_seq, call.durable, call.closed = call.seqs, 2, [], False
    await call.connect()
    await call.over()
    assert call.seqs == seqs[2:]
    assert call.closed
    assert call.error is None


@pytest.mark.parametrize("frame_told", [True, False])
async def test_silence_that_was_let_go_of_is_not_asked_for_again(site: Site, *, frame_told: bool) -> None:
    pcm = np.concatenate([conversation(6), silence(20, RATE)[:, None], conversation(6, seed=9)])
    expected = await uninterrupted(site, pcm)
    call = await site.call(pcm)
    await call.connect()
    for _ in range(4):
        await call.send(6 * RATE)
        await asyncio.sleep(1.1)  # acks come by the clock
    assert call.keep is not None
    assert call.keep[0] > 15 * RATE
    await call.lose()
    call.keep = (call.keep[0], call.keep[1] if frame_told else 0)
    await call.connect()
    assert call.resumed_from == [call.keep[0]]
    await call.finish()
    assert not any(response.HasField("gap") for response in call.durable)
    assert_the_same(spans(call.segments), expected)


async def test_a_client_that_kept_nothing_has_a_gap(site: Site) -> None:
    call = await site.call(conversation(20))
    await call.connect()
    await call.send(6 * RATE)
    await asyncio.sleep(0.2)
    await call.lose()
    call.keep = None
    await call.connect()
    call.position = 9 * RATE
    await call.finish()
    assert [response.HasField("gap") for response in call.durable].count(True) == 1
    assert call.seqs == list(range(1, len(call.seqs) + 1))


async def test_stale_stolen_and_unknown_tokens_are_the_same_not_found(site: Site) -> None:
    call = await site.call(conversation(6))
    await call.connect()
    await call.send(3 * RATE)
    thief = Resuming(call.channel, (("authorization", f"Bearer {OTHER_TOKEN}"),), call.pcm, call.open, token=call.token)
    unknown = Resuming(call.channel, AUTHORIZED, call.pcm, call.open, token="never seen")
    for client in (thief, unknown):
        async with refused(grpc.StatusCode.NOT_FOUND, "SESSION_UNKNOWN"):
            await client.connect()
    await call.finish()  # and nobody was disturbed
    assert call.closed


async def test_a_session_id_is_taken_once(site: Site) -> None:
    call = await site.call(conversation(6))
    await call.connect()
    await call.send(4 * RATE)
    await call.stored()
    again = Resuming(call.channel, call.metadata, call.pcm, call.open)
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_EXISTS"):
        await again.connect()


async def test_without_a_store_there_is_no_token_and_resume_says_so(server: RunningServer, channel: grpc.aio.Channel) -> None:
    call = Resuming(channel, (*AUTHORIZED, ("malha-session", new_session_id())), conversation(4), opening())
    await call.connect()
    assert call.token == ""
    await call.finish()
    call.token = "something"
    async with refused(grpc.StatusCode.UNIMPLEMENTED, "NOT_IN_THIS_VERSION"):
        await call.connect()


async def test_a_call_of_silence_alone_is_resumed_where_its_silence_ends(site: Site) -> None:
    pcm = np.concatenate([silence(12, RATE)[:, None], conversation(8)])
    expected = await uninterrupted(site, pcm)
    call = await site.call(pcm)
    await call.connect()
    for _ in range(3):
        await call.send(4 * RATE)
        await asyncio.sleep(1.1)
    assert call.keep is not None
    assert call.keep[0] > 5 * RATE
    assert not call.durable
    await call.lose()
    await call.connect()
    assert call.resumed_from == [call.keep[0]]
    await call.finish()
    assert not any(response.HasField("gap") for response in call.durable)
    assert_the_same(spans(call.segments), expected)
