"""Calls that go on: over real connections that break, servers that leave or come back, and by an application that was started again."""

import asyncio
import contextlib

import grpc
import pytest

from fakes.audio_server import TOKEN, error_info, serving
from fakes.resuming import ResumingServer
from malha.sdk import (
    Ack,
    AlreadyClosed,
    Closed,
    Final,
    Gap,
    GoAway,
    InvalidRequest,
    Malha,
    NotFound,
    Opened,
    Resumed,
    SessionLost,
    UnsavedAudio,
    _resumption,
)

SECOND = bytes(range(250)) * 128  # 16 kHz mono PCM16
SILENT = {"commit_frames": 10**9, "lag_frames": 0}
"""For a server that acks nothing."""


class Microphone:
    """Pieces of 20 ms, as fast as a test wants, until it is told to stop; what it gave."""

    def __init__(self, pause: float = 0.002, pieces: int = 10**9) -> None:
        self.pause = pause
        self.pieces = pieces
        self.given = b""
        self.stopped = False

    async def __aiter__(self):
        for number in range(self.pieces):
            if self.stopped:
                return
            piece = bytes([number % 251]) * 640
            self.given += piece
            yield piece
            await asyncio.sleep(self.pause)


def kinds(told, *kept):
    return [type(event) for event in told if isinstance(event, kept)]


def check(server, told, given):
    session = server.session
    assert [event.seq for event in told if event.seq] == list(range(1, len(session.events) + 1))
    assert isinstance(told[-1], Closed)
    assert session.content == given


async def listen(call, told, until=None):
    async for event in call:
        told.append(event)
        if until is not None and until(event):
            return


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(_resumption, "WAITS_SECONDS", (0.01,))


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED], ids=str
)
@pytest.mark.usefixtures("fast")
async def test_a_broken_connection_is_not_noticed_but_for_one_event(code):
    server = ResumingServer(breaks=[30, 31, 33, 60, 90], code=code)
    microphone = Microphone(pieces=100)
    async with serving(server) as fake, Malha(fake.target, TOKEN) as malha:
        told = []
        async with asyncio.timeout(60):
            await listen(malha.live(microphone), told)
    check(server, told, microphone.given)
    resumed = [event for event in told if isinstance(event, Resumed)]
    assert 1 <= len(resumed) <= 5
    assert all(event.session_id == told[0].session_id and event.sent_from == event.resume_from for event in resumed)
    assert kinds(told, Opened) == [Opened]


@pytest.mark.usefixtures("fast")
async def test_a_server_that_comes_back_on_the_same_port():
    """Audio and controls go on being taken meanwhile, and are sent in their order."""
    server, microphone, told = ResumingServer(), Microphone(), []
    async with serving(server) as fake:
        port = fake.port
        malha = Malha(fake.target, TOKEN)
        call = malha.live(microphone)
        await call.__aenter__()
        async with asyncio.timeout(30):
            await listen(call, told, lambda event: isinstance(event, Final))
    taken = len(microphone.given)
    async with asyncio.timeout(30):
        while len(microphone.given) < taken + 64_000:
            await asyncio.sleep(0.01)
        await call.mute()
        muted_at = len(microphone.given)
        await asyncio.sleep(0.05)
        await call.unmute()
        unmuted_at = len(microphone.given)
        await call.dtmf("7")
        await call.finish()
        async with serving(server, port=port):
            await listen(call, told)
    await malha.close()
    check(server, told, microphone.given)
    assert kinds(told, Resumed) == [Resumed]
    assert server.session.digits == "7"
    silent = server.session.heard.count(0) * 2
    assert 0 < silent <= unmuted_at - muted_at + 1_280
    assert server.session.heard.find(0) * 2 >= muted_at - 1_280


@pytest.mark.usefixtures("fast")
async def test_a_server_that_leaves_is_left_before_it_ends():
    server, microphone, told = ResumingServer(leaves=range(41, 60)), Microphone(pieces=150), []
    async with serving(server) as fake, Malha(fake.target, TOKEN) as malha:
        async with asyncio.timeout(60):
            await listen(malha.live(microphone), told)
        assert len(fake.calls) >= 2
    check(server, told, microphone.given)
    assert kinds(told, GoAway, Resumed)[0] is GoAway
    assert Resumed in kinds(told, Resumed)
    assert min(event.lost_seconds for event in told if isinstance(event, Resumed)) < 1.0


async def test_a_call_that_our_own_lost_resume_took_from_its_connection_is_taken_up_again(monkeypatch):
    """The server moved the call to a connection whose answer never came, and tells the old one so."""
    monkeypatch.setattr(_resumption, "WAITS_SECONDS", (0.01, 5.0))
    server, microphone, told = ResumingServer(leaves=range(41, 60)), Microphone(), []
    server.lost_answers = 1
    async with serving(server) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        call = malha.live(microphone)
        await call.__aenter__()
        await listen(call, told, lambda event: isinstance(event, Resumed))
        microphone.stopped = True
        await listen(call, told)
        first = fake.calls[0]
        assert first.lost.is_set()
    check(server, told, microphone.given)
    (resumed,) = [event for event in told if isinstance(event, Resumed)]
    assert resumed.lost_seconds < 2.0


@pytest.mark.usefixtures("fast")
async def test_a_call_that_closed_while_nobody_was_connected_is_told_to_its_end():
    """`closed` was stored, and lost on its way."""
    server, told = ResumingServer(commit_frames=1_600, lag_frames=0), []

    async def last_word_is_lost(call):
        if not server.sessions:
            send = call.context.write

            class Deaf:
                def __getattr__(self, name):
                    return getattr(real, name)

                async def write(self, response):
                    if response.HasField("closed"):
                        await real.abort(grpc.StatusCode.UNAVAILABLE, "died")
                    await send(response)

            real, call.context = call.context, Deaf()
        await server(call)

    async with serving(last_word_is_lost) as fake, Malha(fake.target, TOKEN) as malha:
        async with asyncio.timeout(30):
            await listen(malha.live([SECOND]), told)
        assert [request.WhichOneof("request") for request in fake.call.requests][:1] == ["resume"]
    check(server, told, SECOND)
    assert kinds(told, Resumed, Closed) == [Resumed, Closed]


@pytest.mark.usefixtures("fast")
async def test_a_call_that_had_ended_is_told_again_to_its_end_though_that_breaks_too():
    server, told = ResumingServer(commit_frames=1_600, lag_frames=0), []
    async with serving(server) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
        call = malha.live([SECOND])
        await listen(call, told)
        assert isinstance(told[-1], Closed)
        token = told[0].resume_token
        server.breaks = {server.steps + 6}  # with one event of the rest told
        again = []
        await listen(malha.resume(token, call.session_id, []), again)
        assert kinds(again, Opened, Resumed, Closed) == [Opened, Resumed, Closed], "it broke, and went on"
        assert [event.seq for event in again if event.seq] == [event.seq for event in told if event.seq]
        rest = []
        await listen(malha.resume(token, call.session_id, [], after_seq=told[-1].seq), rest)
        assert [type(event) for event in rest] == [Opened], "all of it was there"


@pytest.mark.parametrize("reason", ["SESSION_UNKNOWN", "SESSION_ABANDONED", "SESSION_MOVED"])
@pytest.mark.usefixtures("fast")
async def test_a_refused_resume_is_a_lost_session_with_its_audio(reason):
    server, told = ResumingServer(breaks=[30]), []
    server.refuse = reason
    async with serving(server) as fake, Malha(fake.target, TOKEN) as malha:
        with pytest.raises(SessionLost) as caught:
            await listen(malha.live(Microphone()), told)
        assert len(fake.calls) == 2
    lost = caught.value
    assert (lost.reason, lost.resumable, lost.session_id) == (reason, False, told[0].session_id)
    assert lost.unsaved.complete
    assert len(lost.unsaved.content) > 0
    assert isinstance(lost.__cause__, NotFound)


async def test_a_server_that_stays_away_is_given_up(monkeypatch):
    monkeypatch.setattr(_resumption, "GIVE_UP_SECONDS", 0.5)
    server, told = ResumingServer(), []
    async with serving(server) as fake:
        malha = Malha(fake.target, TOKEN)
        call = malha.live(Microphone())
        await call.__aenter__()
        await listen(call, told, lambda event: isinstance(event, Final))
    with pytest.raises(SessionLost) as caught:
        async with asyncio.timeout(30):
            await listen(call, told)
    assert not caught.value.resumable
    with pytest.raises(AlreadyClosed):
        await call.mute()
    await malha.close()


@pytest.mark.parametrize("way", ["close", "source"])
async def test_a_call_can_be_left_while_its_server_is_away(way):
    class UnpluggedError(Exception):
        pass

    unplugged = asyncio.Event()

    async def source():
        for _ in range(100):
            yield SECOND[:640]
        await unplugged.wait()
        raise UnpluggedError

    server = ResumingServer()
    async with serving(server) as fake:
        malha = Malha(fake.target, TOKEN)
        call = malha.live(source())
        await call.__aenter__()
        told = []
        await listen(call, told, lambda event: isinstance(event, Ack))
    async with asyncio.timeout(5):
        if way == "close":
            await asyncio.sleep(0.1)
            await call.aclose()
            assert [event async for event in call] == []
        else:
            unplugged.set()
            with pytest.raises(UnpluggedError):
                await listen(call, told)
        await malha.close()


@pytest.mark.usefixtures("fast")
async def test_more_than_is_kept_becomes_a_gap_and_that_is_told(monkeypatch):
    """A minute of G.711 is 480 kB; here the caller gives it at once."""
    server, told = ResumingServer(breaks=[40], commit_frames=1_600, lag_frames=0), []
    gone = asyncio.Event()
    taken = 0

    async def behave(call):
        if server.sessions:
            await gone.wait()  # no answer before all is taken
        await server(call)

    async def source():
        nonlocal taken
        while taken < 70 * 8_000:
            yield SECOND[:8_000]
            taken += 8_000
            await asyncio.sleep(0)
            if taken == 100 * 80:
                await asyncio.sleep(0.1)
        gone.set()

    async with serving(behave) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(60):
        await listen(malha.live(source(), encoding="mulaw"), told)
    (resumed,) = [event for event in told if isinstance(event, Resumed)]
    (gap,) = [event for event in told if isinstance(event, Gap)]
    assert (gap.start_position, gap.end_position) == (resumed.resume_from, resumed.sent_from)
    assert resumed.sent_from == taken - 60 * 8_000
    assert server.session.committed == taken
    assert [event.seq for event in told if event.seq] == list(range(1, len(server.session.events) + 1))


@pytest.mark.usefixtures("fast")
async def test_a_recording_waits_for_its_server():
    server, told, taken = ResumingServer(breaks=[12, 22], commit_frames=16_000, lag_frames=100), [], []
    recording = b"".join(bytes([number]) * 32_000 for number in range(20))
    away = False

    async def behave(call):
        nonlocal away
        if server.sessions and not away:
            away = True
            before = len(taken)
            await asyncio.sleep(0.2)
            assert len(taken) <= before + 2
        await server(call)

    async def source():
        for start in range(0, len(recording), 32_000):
            taken.append(start)
            yield recording[start : start + 32_000]

    async with serving(behave) as fake, Malha(fake.target, TOKEN) as malha, asyncio.timeout(60):
        await listen(malha.live(source(), pace="batch"), told)
    check(server, told, recording)
    assert away


async def test_nothing_is_resumed_where_the_server_cannot_or_the_caller_will_not():
    async def breaks(call):
        await call.read()
        await call.opened()
        await call.read()
        await call.abort(grpc.StatusCode.UNAVAILABLE, "gone", error_info("DRAINING"))

    async with serving(breaks) as fake, Malha(fake.target, TOKEN) as malha:
        with pytest.raises(SessionLost) as caught:
            await listen(malha.live(Microphone()), [])
        assert (caught.value.resume_token, len(fake.calls)) == ("", 1)
    server = ResumingServer(breaks=[30])
    async with serving(server) as fake, Malha(fake.target, TOKEN) as malha:
        with pytest.raises(SessionLost) as caught:
            await listen(malha.live(Microphone(), resume=False), [])
        assert (caught.value.resumable, len(fake.calls)) == (True, 1)


async def test_a_crash_that_comes_back_at_once_each_time_is_given_up(monkeypatch):
    """A server that dies of what it hears: it takes the call up each time, and never comes further."""
    monkeypatch.setattr(_resumption, "GIVE_UP_SECONDS", 0.5)
    monkeypatch.setattr(_resumption, "WAITS_SECONDS", (0.02,))
    server = ResumingServer(breaks=range(30, 10**6, 9), **SILENT)
    async with serving(server) as fake, Malha(fake.target, TOKEN) as malha:
        told = []
        with pytest.raises(SessionLost):
            async with asyncio.timeout(30):
                await listen(malha.live(Microphone()), told)
        assert 1 < len(fake.calls) < 60
    assert Resumed in kinds(told, Resumed)


@pytest.mark.parametrize("keeps", [True, False])
async def test_an_application_that_was_started_again_goes_on_with_its_call(keeps):
    server, told, first = ResumingServer(), [], Microphone(pieces=60, pause=0.0)
    async with serving(server) as fake:
        async with Malha(fake.target, TOKEN) as malha:
            stuck = asyncio.Event()

            async def source():
                async for piece in first:
                    yield piece
                await stuck.wait()

            call = malha.live(source())
            await call.__aenter__()
            await listen(call, told, lambda event: isinstance(event, Ack) and event.received_through > 15_000)
            token, unsaved = told[0].resume_token, call.unsaved_audio()
        second = Microphone(pieces=60, pause=0.0)
        async with Malha(fake.target, TOKEN) as malha, asyncio.timeout(30):
            again = malha.resume(token, call.session_id, second, after_seq=call.last_seq, unsaved=unsaved if keeps else None)
            await again.__aenter__()
            await again.mute()
            await again.unmute()
            await listen(again, told)
        asked = fake.call.requests[0].resume
        assert (asked.HasField("have_from"), asked.after_seq) == (keeps, call.last_seq)
    openings = [event for event in told if isinstance(event, Opened)]
    assert len(openings) == 2
    end = unsaved.position * 2 + len(unsaved.content) if keeps else openings[1].resume_from * 2
    check(server, told, first.given[:end] + second.given)


async def test_an_application_that_was_started_again_hears_of_a_call_that_is_not_there():
    async with serving(ResumingServer()) as fake, Malha(fake.target, TOKEN) as malha:
        with pytest.raises(NotFound):
            await listen(malha.resume("token-1", "0192a5d4-0000-7000-8000-000000000000", [SECOND]), [])
        with pytest.raises(InvalidRequest, match="frame"):
            malha.resume("t", "s", [], unsaved=UnsavedAudio(0, b"odd"))


async def test_calls_side_by_side_survive_a_kill_within_two_seconds():
    """20 calls, one server that is gone and back: what each was told and sent is whole."""
    server = ResumingServer()
    async with serving(server) as fake:
        port, malha = fake.port, Malha(fake.target, TOKEN)
        microphones = [Microphone(pause=0.02) for _ in range(20)]
        told = [[] for _ in microphones]
        tasks = [asyncio.create_task(listen(malha.live(each), mine)) for each, mine in zip(microphones, told, strict=True)]
        async with asyncio.timeout(30):
            while not all(kinds(mine, Final) for mine in told):
                await asyncio.sleep(0.02)
    async with serving(server, port=port), asyncio.timeout(60):
        while not all(kinds(mine, Resumed) for mine in told):
            await asyncio.sleep(0.02)
        for each in microphones:
            each.stopped = True
        await asyncio.gather(*tasks)
    with contextlib.suppress(AlreadyClosed):
        await malha.close()
    by_session = {mine[0].session_id: (mine, each.given) for mine, each in zip(told, microphones, strict=True)}
    assert len(by_session) == 20
    for name, session in server.sessions.items():
        mine, given = by_session[name]
        assert session.content == given
        assert [event.seq for event in mine if event.seq] == list(range(1, len(session.events) + 1))
    lost = sorted(event.lost_seconds for mine in told for event in mine if isinstance(event, Resumed))
    print(f"resumed after {lost[len(lost) // 2]:.3f} s (median), {lost[-1]:.3f} s (longest)")
