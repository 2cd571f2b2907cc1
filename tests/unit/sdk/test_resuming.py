"""A call that is lost at any message, by a model of a server that stores what is durable and forgets the rest."""

import asyncio
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.resuming import MemoryConnection, ResumingServer
from malha.sdk import Closed, Final, Gap, Opened, Resumed, _resumption
from malha.sdk._call_settings import CallSettings
from malha.sdk._format import make_format
from malha.sdk._source import AudioInput
from malha.sdk.live import LiveCall

CONTENT = bytes(range(251)) * 64  # 8,032 frames of PCM16
PIECE = 320
messages = st.sets(st.integers(1, 140), max_size=7)
said = st.dictionaries(st.integers(0, 24), st.sampled_from(["mute", "unmute", "1", "2"]), max_size=6)


async def source(call_of, controls, *, pause):
    """Pieces, and what is said between them."""
    for number, start in enumerate(range(0, len(CONTENT), PIECE * 2)):
        yield CONTENT[start : start + PIECE * 2]
        for _ in range(pause):
            await asyncio.sleep(0)
        match controls.get(number):
            case "mute" | "unmute" as name:
                await getattr(call_of(), name)()
            case str() as digit:
                await call_of().dtmf(digit)


async def run(server, controls, *, drops=False, encoding="pcm16", pause=3):
    with mock.patch.object(_resumption, "WAITS_SECONDS", (0.0,)):
        connection = MemoryConnection(server, drops=drops)
        call_settings = CallSettings(format=make_format(encoding, None, None))
        calls = []
        given_audio = AudioInput(source(lambda: calls[0], controls, pause=pause), PIECE)
        calls.append(LiveCall(connection, call_settings, given_audio, set()))
        async with asyncio.timeout(60):
            told = [event async for event in calls[0]]
        await calls[0].aclose()
        await asyncio.wait([rpc.task for rpc in connection.rpcs], timeout=5)
        assert all(rpc.task.done() for rpc in connection.rpcs)
        return told


def heard_where_said(controls, frame):
    """1 for each frame the caller was not muted in."""
    expected, muted = bytearray(), False
    for number, start in enumerate(range(0, len(CONTENT), PIECE * 2)):
        expected += bytes([not muted]) * (len(CONTENT[start : start + PIECE * 2]) // frame)
        muted = {"mute": True, "unmute": False}.get(controls.get(number), muted)
    return bytes(expected)


def check(server, told, controls, frame=2):
    session = server.session
    durable = [event for event in told if event.seq]
    assert [event.seq for event in durable] == list(range(1, len(session.events) + 1))
    texts = [event.transcript.segment.text for event in session.events if event.HasField("transcript")]
    assert [event.text for event in told if isinstance(event, Final)] == texts
    assert isinstance(told[0], Opened)
    assert isinstance(told[-1], Closed)
    assert not any(isinstance(event, Gap) for event in told)
    assert session.content == CONTENT
    assert session.skipped == []
    assert session.heard == heard_where_said(controls, frame)
    digits = [control for control in controls.values() if control.isdigit()]
    assert len(session.digits) >= len(digits)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(messages, messages, said, st.booleans(), st.integers(0, 2), st.sampled_from(["pcm16", "webm"]), st.integers(0, 4))
def test_nothing_durable_is_lost_or_told_twice_and_all_audio_is_heard_where_it_was_said(
    breaks, leaves, controls, drops, lost_answers, encoding, pause
):
    async def play():
        server = ResumingServer(breaks=breaks, leaves=leaves)
        server.lost_answers = lost_answers
        told = await run(server, controls, drops=drops, encoding=encoding, pause=pause)
        check(server, told, controls, frame=2 if encoding == "pcm16" else 1)
        if not breaks & set(range(1, server.steps + 1)) and not leaves:
            assert not any(isinstance(event, Resumed) for event in told)

    # before the first answer a call is refused, not lost
    breaks, leaves = {step + 4 for step in breaks}, {step + 4 for step in leaves}
    asyncio.run(play())
