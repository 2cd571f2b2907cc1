"""The SDK's calls go on with real servers that share a real store: connections cut at random, servers stopped and others in their place."""

import asyncio
import io
import random
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise

import numpy as np
import pytest
from conftest import TOKEN, RunningServer, silence, voice

from fakes.wire import Wire
from malha.runtime.settings import RuntimeSettings
from malha.sdk import Ack, Closed, Final, Gap, LiveCall, Malha, Opened, Resumed
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

RATE = 16_000


class Site:
    """Servers that share a store."""

    def __init__(self, settings: RuntimeSettings, store: tuple[Database, StoreSettings], stack: AsyncExitStack) -> None:
        self._settings, self._store, self._stack = settings, store, stack

    async def server(self) -> RunningServer:
        engine = NullEngine(TranscribeSettings(_env_file=None))
        return await self._stack.enter_async_context(RunningServer(self._settings, engine, in_process=True, store=self._store))


@pytest.fixture
async def site(settings: RuntimeSettings, database: Database, store: StoreSettings) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(settings, (database, store), stack)


def conversation(seconds: float, quiet: float = 0.0) -> bytes:
    """Utterances with pauses; ``quiet`` seconds before the first."""
    chosen = np.random.default_rng(7)
    parts = [silence(quiet, RATE)] if quiet else []
    while sum(map(len, parts)) < (quiet + seconds) * RATE:
        pause, speech = chosen.uniform(0.6, 1.2), chosen.uniform(0.8, 1.8)
        parts += [silence(pause, RATE, seed=int(chosen.integers(1000))), voice(speech, RATE, seed=int(chosen.integers(1000)))]
    return np.concatenate([*parts, silence(1.0, RATE)]).tobytes()


async def spoken(pcm: bytes, pause: float = 0.01, until: asyncio.Event | None = None):
    """Ten times as fast as it was said."""
    for start in range(0, len(pcm), 3_200):
        yield pcm[start : start + 3_200]
        await asyncio.sleep(pause)
    if until is not None:
        await until.wait()


async def listen(call: LiveCall, told: list, until=None) -> None:
    async for event in call:
        told.append(event)
        if until is not None and until(event):
            return


def spans(told) -> list[tuple[float, float]]:
    finals = [event.segment for event in told if isinstance(event, Final) and event.text]
    return [(segment.start_seconds, segment.end_seconds) for segment in finals]


def check(told, expected) -> None:
    durable = [event.seq for event in told if event.seq]
    assert durable == list(range(1, len(durable) + 1))
    assert isinstance(told[0], Opened)
    assert isinstance(told[-1], Closed)
    assert not any(isinstance(event, Gap) for event in told)
    found = spans(told)
    assert len(found) == len(expected)
    for span, known in zip(found, expected, strict=True):
        assert span == pytest.approx(known, abs=0.1)


async def uninterrupted(site: Site, pcm: bytes) -> list[tuple[float, float]]:
    server = await site.server()
    told: list = []
    async with Malha(server.target, TOKEN) as malha, asyncio.timeout(60):
        await listen(malha.live(spoken(pcm, 0.0)), told)
    check(told, spans(told))
    assert len(spans(told)) >= 4
    return spans(told)


async def test_a_wire_cut_at_random_is_not_noticed_in_the_transcript(site: Site):
    pcm = conversation(20)
    expected = await uninterrupted(site, pcm)
    server = await site.server()
    chosen = random.Random(11)
    told: list = []
    async with Wire(server.port).laid() as wire, Malha(wire.target, TOKEN) as malha, asyncio.timeout(120):
        listening = asyncio.create_task(listen(malha.live(spoken(pcm)), told))
        for _ in range(6):
            await asyncio.sleep(chosen.uniform(0.1, 0.6))
            wire.cut()
        await listening
    check(told, expected)
    resumed = [event for event in told if isinstance(event, Resumed)]
    assert resumed
    assert all(event.sent_from == event.resume_from for event in resumed)


async def test_a_container_goes_on_in_its_middle(site: Site):
    """The server keeps the header; the caller sends bytes from the middle of the file."""
    pcm = conversation(20)
    expected = await uninterrupted(site, pcm)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(pcm)
    first, second = await site.server(), await site.server()
    told: list = []
    async with Wire(first.port).laid() as wire, Malha(wire.target, TOKEN) as malha, asyncio.timeout(60):
        call = malha.live(spoken(file.getvalue()), encoding="wav")
        await call.__aenter__()
        await listen(call, told, lambda event: isinstance(event, Final) and event.segment.end_seconds > 6)
        wire.port = second.port
        wire.cut()
        await listen(call, told)
    check(told, expected)
    assert sum(isinstance(event, Resumed) for event in told) == 1


async def test_another_server_goes_on_with_what_was_said_meanwhile(site: Site):
    """The first is cut off; the wire leads to the second after a while in which the caller talks on and, in a pause, presses mute."""
    pcm = conversation(20)
    expected = await uninterrupted(site, pcm)
    pauses = [(end, start) for (_, end), (start, _) in pairwise(expected[3:])]
    at = int(sum(max(pauses, key=lambda pause: pause[1] - pause[0])) / 2 * RATE) * 2
    paused, go = asyncio.Event(), asyncio.Event()

    async def caller():
        async for piece in spoken(pcm[:at]):
            yield piece
        paused.set()
        await go.wait()
        async for piece in spoken(pcm[at:]):
            yield piece

    first, second = await site.server(), await site.server()
    told: list = []
    async with Wire(first.port).laid() as wire, Malha(wire.target, TOKEN) as malha, asyncio.timeout(120):
        call = malha.live(caller())
        await call.__aenter__()
        await listen(call, told, lambda event: isinstance(event, Final))
        wire.port = 9  # nobody there
        wire.cut()
        await paused.wait()
        await call.mute(0)
        await call.unmute(0)
        go.set()
        wire.port = second.port
        await listen(call, told)
    check(told, expected)
    assert sum(isinstance(event, Resumed) for event in told) == 1


async def test_a_server_that_is_stopped_is_left_for_the_next_one(site: Site, settings: RuntimeSettings):
    """`malha up` again: draining tells go_away, new connections find the next."""
    pcm = conversation(20)
    expected = await uninterrupted(site, pcm)
    first, second = await site.server(), await site.server()
    told: list = []
    stopped = asyncio.Event()
    async with Wire(first.port).laid() as wire, Malha(wire.target, TOKEN) as malha, asyncio.timeout(120):
        call = malha.live(spoken(pcm, until=stopped))  # a call that ends before its server does needs no other
        await call.__aenter__()
        await listen(call, told, lambda event: isinstance(event, Final))
        stopping = asyncio.create_task(first.server.stop())
        stopping.add_done_callback(lambda _: stopped.set())
        wire.port = second.port
        await listen(call, told)
        await stopping
    check(told, expected)
    assert sum(isinstance(event, Resumed) for event in told) >= 1


async def test_a_quiet_call_is_taken_up_where_its_silence_ends(site: Site):
    """Nothing was stored yet, and what was judged silence is kept no more."""
    pcm = conversation(8, quiet=12.0)
    expected = await uninterrupted(site, pcm)
    server = await site.server()
    told: list = []
    async with Wire(server.port).laid() as wire, Malha(wire.target, TOKEN) as malha, asyncio.timeout(60):
        call = malha.live(spoken(pcm))
        await call.__aenter__()
        await listen(call, told, lambda event: isinstance(event, Ack) and event.keep_from > 4 * RATE)
        wire.cut()
        await listen(call, told)
    check(told, expected)


async def test_who_is_muted_stays_so_though_nothing_was_stored_since(site: Site):
    pcm = conversation(20)
    server = await site.server()
    told: list = []
    async with Wire(server.port).laid() as wire, Malha(wire.target, TOKEN) as malha, asyncio.timeout(60):
        call = malha.live(spoken(pcm))
        await call.__aenter__()
        await listen(call, told, lambda event: isinstance(event, Final))
        await call.mute()
        muted_at = call.unsaved_audio().position
        await listen(call, told, lambda event: isinstance(event, Ack) and event.keep_from > muted_at + 4 * RATE)
        wire.cut()
        await listen(call, told)
    assert sum(isinstance(event, Resumed) for event in told) == 1
    assert isinstance(told[-1], Closed)
    last = max(end for _, end in spans(told))
    assert last < muted_at / RATE + 4.0


async def test_an_application_started_again_goes_on(site: Site):
    pcm = conversation(20)
    expected = await uninterrupted(site, pcm)
    server = await site.server()
    told: list = []
    stuck = asyncio.Event()
    half = len(pcm) // 6_400 * 3_200
    async with Malha(server.target, TOKEN) as malha, asyncio.timeout(60):
        call = malha.live(spoken(pcm[:half], until=stuck))
        await call.__aenter__()
        await listen(call, told, lambda event: isinstance(event, Ack) and event.received_through > half // 4)
        token, unsaved = told[0].resume_token, call.unsaved_audio()
    rest = pcm[unsaved.position * 2 + len(unsaved.content) :]
    async with Malha(server.target, TOKEN) as malha, asyncio.timeout(60):
        again: list = []
        await listen(malha.resume(token, call.session_id, spoken(rest, 0.0), after_seq=call.last_seq, unsaved=unsaved), again)
    assert isinstance(again[0], Opened)
    check([*told, *again[1:]], expected)
