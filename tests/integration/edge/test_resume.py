"""Calls of browsers go on: the edge resumes for them while its server is lost, and lets them resume themselves when it is lost too."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from conftest import TOKEN, RunningServer

from fakes.audio_server import serving
from fakes.conversation import conversation
from fakes.resuming import ResumingServer
from fakes.wire import Wire
from malha.edge import resuming
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

from .conftest import RunningEdge, Talk, running_edge, talk

RATE = 16_000
CHUNK = 1_600
SECONDS = 30.0


class Speaker:
    """A browser: sends in pieces of 100 ms, ten times as fast as it is said, and hears all the while."""

    def __init__(self, talk: Talk, pcm: np.ndarray) -> None:
        self.talk = talk
        self.pcm = pcm
        self.at = 0
        self.events: list[dict[str, Any]] = []
        self.code = 0
        self.hearing: asyncio.Task[None] | None = None

    async def start(self, **fields: Any) -> dict[str, Any]:
        started = await self.talk.start(channels=self.pcm.shape[1], **fields)
        self.hearing = asyncio.create_task(self._hear())
        return started

    async def say(self, seconds: float, pause: float = 0.01) -> None:
        """Speak on until then."""
        while self.at < min(int(seconds * RATE), len(self.pcm)):
            await self.talk.socket.send(self.pcm[self.at : self.at + CHUNK].tobytes())
            self.at += CHUNK
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        await self.say(len(self.pcm) / RATE)
        await self.talk.say(event="stop")
        await self.heard_out()

    async def heard_out(self) -> None:
        assert self.hearing is not None
        async with asyncio.timeout(SECONDS):
            await self.hearing

    async def until(self, event: str, count: int = 1) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            while len(self.of(event)) < count:
                await asyncio.sleep(0.01)
        return self.of(event)[-1]

    def of(self, *names: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] in names]

    @property
    def seqs(self) -> list[int]:
        return [event["seq"] for event in self.events if event.get("seq")]

    @property
    def spans(self) -> list[tuple[int, float, float]]:
        return spans(self.events)

    async def _hear(self) -> None:
        before = len(self.talk.events)
        _, self.code = await self.talk.rest()
        self.events = self.talk.events[before:]

    def look(self) -> None:
        self.events = list(self.talk.events)


def spans(events: Sequence[dict[str, Any]]) -> list[tuple[int, float, float]]:
    """(channel, start, end) of the finals with text."""
    finals = [(event, each) for event in events if event["event"] == "batch_processed" for each in event["segments"]]
    return sorted((event["channel"], each["start_sec"], each["end_sec"]) for event, each in finals if each["text"])


def assert_the_same(found: list[tuple[int, float, float]], expected: list[tuple[int, float, float]]) -> None:
    assert [channel for channel, *_ in found] == [channel for channel, *_ in expected], (found, expected)
    for (_, start, end), (_, known_start, known_end) in zip(found, expected, strict=True):
        assert abs(start - known_start) <= 0.1
        assert abs(end - known_end) <= 0.1


def assert_once(speaker: Speaker) -> None:
    assert speaker.seqs == list(range(1, len(speaker.seqs) + 1))
    assert speaker.code == 1000
    assert speaker.events[-1]["event"] == "session_ended"
    assert speaker.of("gap") == []


class Site:
    """Edges, the wire behind them, and the server at its other end."""

    def __init__(
        self, folder: Path, settings: RuntimeSettings, store: tuple[Database, StoreSettings] | None, stack: AsyncExitStack
    ) -> None:
        self.wire = Wire(0)
        self._folder, self._settings, self._store, self._stack = folder, settings, store, stack
        self._server = AsyncExitStack()

    async def serve(self) -> None:
        """A server, on the port of the one before."""
        settings = self._settings.model_copy(update={"grpc_port": self.wire.port, "drain_seconds": 0})
        server = RunningServer(settings, NullEngine(TranscribeSettings(_env_file=None)), in_process=True, store=self._store)
        self.wire.port = (await self._server.enter_async_context(server)).port

    async def end_server(self) -> None:
        await self._server.aclose()

    async def edge(self, **given: Any) -> RunningEdge:
        return await self._stack.enter_async_context(running_edge(self._folder, self.wire.target, TOKEN, grpc_port=self.wire.port, **given))

    async def speaker(self, edge: RunningEdge, pcm: np.ndarray) -> Speaker:
        return Speaker(await self._stack.enter_async_context(talk(edge)), pcm)

    async def undisturbed(self, edge: RunningEdge, pcm: np.ndarray) -> list[tuple[int, float, float]]:
        speaker = await self.speaker(edge, pcm)
        await speaker.start()
        await speaker.say(len(pcm) / RATE, pause=0.0)
        await speaker.stop()
        assert_once(speaker)
        return speaker.spans


@asynccontextmanager
async def site_of(folder: Path, settings: RuntimeSettings, store: tuple[Database, StoreSettings] | None) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        site = Site(folder, settings, store, stack)
        stack.push_async_callback(site.end_server)
        await site.serve()
        await stack.enter_async_context(site.wire.laid())
        yield site


@pytest.fixture
async def site(tmp_path: Path, settings: RuntimeSettings, database: Database, store: StoreSettings) -> AsyncIterator[Site]:
    async with site_of(tmp_path, settings, (database, store)) as site:
        yield site


@pytest.mark.parametrize("relay", [True, False], ids=["relay", "own streams"])
@pytest.mark.parametrize("channels", [1, 2])
async def test_a_browser_hears_everything_once_however_often_its_server_is_lost(site: Site, channels: int, *, relay: bool) -> None:
    edge, pcm = await site.edge(relay=relay), conversation(14, channels)
    expected = await site.undisturbed(edge, pcm)
    assert len(expected) >= 4 * channels
    speaker = await site.speaker(edge, pcm)
    started = await speaker.start()
    for lost, second in enumerate((1.3, 4.0, 4.6, 9.1), 1):
        await speaker.say(second)
        site.wire.cut()
        await resumed(speaker, lost)
    await speaker.stop()
    assert_once(speaker)
    assert_the_same(speaker.spans, expected)
    tokens = [event["resume_token"] for event in (started, *speaker.of("session_resumed"))]
    assert len(set(tokens)) == 5
    assert {event["session_id"] for event in speaker.of("session_resumed")} == {started["session_id"]}


async def resumed(speaker: Speaker, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while sum(event["event"] == "session_resumed" for event in speaker.talk.events) < count:
            await asyncio.sleep(0.01)


async def test_another_server_in_the_place_of_the_first(site: Site) -> None:
    edge, pcm = await site.edge(), conversation(12)
    expected = await site.undisturbed(edge, pcm)
    speaker = await site.speaker(edge, pcm)
    await speaker.start()
    for count, second in enumerate((3.0, 7.5), 1):
        await speaker.say(second)
        site.wire.cut()
        await site.end_server()
        await speaker.say(second + 1.0)  # while there is none
        await site.serve()
        await resumed(speaker, count)
    await speaker.stop()
    assert_once(speaker)
    assert_the_same(speaker.spans, expected)
    assert all(event["lost_ms"] > 0 for event in speaker.of("session_resumed"))


@pytest.mark.parametrize("losses", [(3.2, 8.3), (4.5, 5.0, 9.0)], ids=["just after", "between"])
async def test_controls_keep_their_places(site: Site, losses: Sequence[float]) -> None:
    edge, pcm = await site.edge(), conversation(14, 2)
    script = [
        (3.0, {"event": "mute", "channel": 1, "muted": True}),
        (8.0, {"event": "mute", "channel": 1, "muted": False}),
        (10.0, {"event": "hold", "on_hold": True}),
        (10.1, {"event": "dtmf", "digits": "12#"}),
        (12.0, {"event": "hold", "on_hold": False}),
    ]

    async def play(places: Sequence[float]) -> Speaker:
        speaker, lost = await site.speaker(edge, pcm), 0
        await speaker.start(roles=["agent", "customer"])
        for second in sorted({*(at for at, _ in script), *places}):
            await speaker.say(second)
            for at, message in script:
                if at == second:
                    await speaker.talk.say(**message)
            if second in places:
                await asyncio.sleep(0.05)
                site.wire.cut()
                lost += 1
                await resumed(speaker, lost)
        await speaker.stop()
        assert_once(speaker)
        return speaker

    expected, speaker = await play(()), await play(losses)
    assert_the_same(speaker.spans, expected.spans)
    [summary] = speaker.of("final_summary")
    assert [channel["dtmf_digits"] for channel in summary["channels"]] == [0, 3]


async def test_stop_while_there_is_no_server(site: Site) -> None:
    edge, pcm = await site.edge(), conversation(8)
    expected = await site.undisturbed(edge, pcm)
    speaker = await site.speaker(edge, pcm)
    await speaker.start()
    await speaker.say(4.0)
    site.wire.down = True
    site.wire.cut()
    stopping = asyncio.create_task(speaker.stop())
    await asyncio.sleep(1.0)
    assert not stopping.done()
    site.wire.down = False
    await stopping
    assert_once(speaker)
    assert_the_same(speaker.spans, expected)


async def test_a_client_that_leaves_while_there_is_no_server_leaves_nothing_behind(site: Site, database: Database) -> None:
    edge = await site.edge()
    speaker = await site.speaker(edge, conversation(8))
    started = await speaker.start()
    await speaker.say(3.0)
    site.wire.down = True
    site.wire.cut()
    await asyncio.sleep(0.3)
    await speaker.talk.socket.close()
    await speaker.heard_out()
    async with asyncio.timeout(SECONDS):
        while any(task.get_name() in {"edge-session", "edge-catch-up"} for task in asyncio.all_tasks()):
            await asyncio.sleep(0.02)
    site.wire.down = False
    async with asyncio.timeout(SECONDS):
        while await state_of(database, started["session_id"]) != ("detached", 1):
            await asyncio.sleep(0.05)


async def state_of(database: Database, session_id: str) -> tuple[str, int]:
    async with database.ingest_tx() as connection:
        row = await connection.fetchrow("SELECT state, epoch FROM live_session WHERE session_id = $1", session_id)
    return row["state"], row["epoch"]


async def test_a_server_that_never_comes_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "RESUME_SECONDS", 0.5)
    speaker = await site.speaker(await site.edge(), conversation(4))
    await speaker.start()
    await speaker.say(2.0)
    site.wire.down = True
    site.wire.cut()
    await speaker.heard_out()
    assert (speaker.events[-1]["event"], speaker.events[-1]["retryable"], speaker.code) == ("error", True, 1013)


async def test_a_client_that_comes_back_to_a_call_it_has_all_of_is_told_that_it_is_over(site: Site) -> None:
    edge, pcm = await site.edge(), conversation(4)
    speaker = await site.speaker(edge, pcm)
    started = await speaker.start()
    await speaker.say(4.0)
    await speaker.stop()
    async with talk(edge) as again:
        await again.say(event="resume", token=started["resume_token"], after_seq=speaker.seqs[-1], api_token=TOKEN)
        events, code = await again.rest()
    assert ([event["event"] for event in events], code) == (["session_started"], 1000)


async def test_of_two_tabs_the_newer_goes_on_and_the_older_is_closed(site: Site, database: Database) -> None:
    edge, pcm = await site.edge(), conversation(10)
    older, newer = await site.speaker(edge, pcm), await site.speaker(edge, pcm)
    started = await older.start()
    await older.say(4.0)
    await newer.talk.say(event="resume", token=started["resume_token"], have_from=0, encoding="pcm16", sample_rate=RATE, api_token=TOKEN)
    again = await newer.talk.event("session_started")
    newer.at = again["resume_from"]
    newer.hearing = asyncio.create_task(newer._hear())
    await older.heard_out()
    assert (older.events[-1]["reason"], older.events[-1]["retryable"], older.code) == ("SESSION_MOVED", False, 4409)
    assert older.of("session_resumed") == []
    await newer.stop()
    assert_once(newer)
    assert newer.of("session_resumed") == []
    assert await state_of(database, started["session_id"]) == ("closed", 2)


async def test_a_client_resumes_at_another_edge(site: Site) -> None:
    edge, pcm = await site.edge(), conversation(12)
    expected = await site.undisturbed(edge, pcm)
    first = await site.speaker(edge, pcm)
    started = await first.start()
    await first.say(6.0)
    await asyncio.sleep(0.2)
    first.talk.socket.transport.abort()
    await first.heard_out()
    keep = max(((event["keep_from"], event["keep_from_frame"]) for event in first.of("ack")), default=(0, 0))
    second = await site.speaker(await site.edge(), pcm)
    have = {"have_from": keep[0], "have_from_frame": keep[1], "after_seq": max(first.seqs, default=0)}
    await second.talk.say(event="resume", token=started["resume_token"], encoding="pcm16", sample_rate=RATE, api_token=TOKEN, **have)
    again = await second.talk.event("session_started")
    assert (again["session_id"], again["resume_from"] >= keep[0]) == (started["session_id"], True)
    second.at = again["resume_from"]
    second.hearing = asyncio.create_task(second._hear())
    await second.say(8.0)
    site.wire.cut()  # and this edge resumes for it in turn
    await resumed(second, 1)
    await second.stop()
    assert first.seqs + second.seqs == list(range(1, len(first.seqs + second.seqs) + 1))
    assert_the_same(spans([*first.events, *second.events]), expected)
    assert second.of("gap") == []


async def test_without_a_store_a_lost_server_ends_the_call(tmp_path: Path, settings: RuntimeSettings) -> None:
    async with site_of(tmp_path, settings, None) as site:
        speaker = await site.speaker(await site.edge(), conversation(4))
        started = await speaker.start()
        assert started["resume_token"] == ""
        await speaker.say(2.0)
        site.wire.cut()
        await speaker.heard_out()
        assert (speaker.events[-1]["event"], speaker.events[-1]["retryable"], speaker.code) == ("error", True, 1013)
        assert speaker.of("session_resumed") == []


@pytest.mark.parametrize("relay", [True, False], ids=["relay", "own streams"])
async def test_a_server_that_dies_at_any_message(tmp_path: Path, *, relay: bool) -> None:
    """One death at each step of a call, and two in a row."""
    pcm = np.random.default_rng(1).integers(-9000, 9000, 6 * CHUNK).astype("<i2")
    async with serving() as fake, running_edge(tmp_path, fake.target, relay=relay) as edge:
        for step in range(4, 200):  # from the first answer on: before it there is no call
            fake.behaviour = server = ResumingServer(breaks={step, step + 4}, commit_frames=3_000)
            async with talk(edge) as browser:
                await browser.start(positions=True)
                for at in range(0, len(pcm), CHUNK):
                    await browser.socket.send(at.to_bytes(8, "big") + pcm[at : at + CHUNK].tobytes())
                    if at == CHUNK:
                        await browser.say(event="insights", enabled=False, trigger=True)
                await browser.say(event="stop")
                events, code = await browser.rest()
            assert (code, events[-1]["event"]) == (1000, "session_ended"), (step, events)
            assert [event["seq"] for event in events if event.get("seq")] == [event.seq for event in server.session.events]
            assert server.session.content == pcm.tobytes(), step
            assert (server.session.wishes > 0, server.session.insights) == (True, False), step
            assert not any(event["event"] == "gap" for event in events)
            if server.steps < step:
                return  # that was the last
    pytest.fail("the call has more messages than this test kills it at")


@pytest.mark.parametrize("relay", [True, False], ids=["relay", "own streams"])
async def test_a_call_that_had_ended_is_told_again_to_its_end_though_that_breaks_too(tmp_path: Path, *, relay: bool) -> None:
    async with serving() as fake, running_edge(tmp_path, fake.target, relay=relay) as edge, asyncio.timeout(60):
        fake.behaviour = server = ResumingServer(commit_frames=1_600, lag_frames=0)
        async with talk(edge) as browser:
            started = await browser.start()
            for _ in range(6):
                await browser.socket.send(bytes(2 * CHUNK))
            await browser.say(event="stop")
            told, _ = await browser.rest()
        server.breaks = {server.steps + 6}  # with one event of the rest told
        async with talk(edge) as again:
            shown = {"token": started["resume_token"], "session_id": started["session_id"], "api_token": again.token}
            await again.say(event="resume", after_seq=0, **shown)
            events, code = await again.rest()
    assert "session_resumed" in [event["event"] for event in events], events
    assert [event["seq"] for event in events if event.get("seq")] == [event["seq"] for event in told if event.get("seq")]
    assert (events[-1]["event"], code) == ("session_ended", 1000)


@pytest.mark.parametrize("reason", ["SESSION_UNKNOWN"])
async def test_a_session_that_is_gone_ends_the_call_with_its_reason(tmp_path: Path, reason: str) -> None:
    pcm = bytes(2 * CHUNK)
    async with serving() as fake, running_edge(tmp_path, fake.target) as edge:
        fake.behaviour = server = ResumingServer(breaks={8}, code=grpc.StatusCode.UNAVAILABLE)
        server.refuse = reason
        async with talk(edge) as browser:
            await browser.start()
            for _ in range(6):
                await browser.socket.send(pcm)
            error, code = await browser.refused()
        assert (error["code"], error["retryable"], code) == ("NOT_FOUND", False, 4404)
