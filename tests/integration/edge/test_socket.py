"""Calls over the WebSocket, before the real Audio and Transcribe services."""

import asyncio
import uuid
from typing import Any

import numpy as np
import pytest
from conftest import OTHER_TOKEN, silence, voice
from integration.edge.conftest import RunningEdge, talk
from prometheus_client import REGISTRY

from fakes.audio_server import FakeServer
from malha.edge.framing import POSITION

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHUNK = 1600


def spoken() -> np.ndarray:
    return np.concatenate([silence(0.5), voice(1.2), silence(0.8), voice(1.0, seed=3), silence(0.8)])


def chunks(samples: np.ndarray, frames: int = CHUNK) -> list[bytes]:
    return [samples[start : start + frames].tobytes() for start in range(0, len(samples), frames)]


def finals(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == "batch_processed"]


async def test_a_call_from_start_to_stop(edge: RunningEdge) -> None:
    samples = spoken()
    async with talk(edge) as call:
        started = await call.start(channels=1, roles=["customer"])
        assert uuid.UUID(started["session_id"]).version == 7
        assert started["engine"] == "null"
        assert started["clock_rate"] == 16_000
        assert next(iter(started)) == "event"
        for chunk in chunks(samples):
            await call.socket.send(chunk)
        await call.say(event="stop")
        events, code = await call.rest()
    assert code == 1000
    assert [event["event"] for event in events][-2:] == ["final_summary", "session_ended"]
    assert events[-1]["reason"] == "finished"
    assert len(finals(events)) == 2
    for final in finals(events):
        assert final["channel"] == 0
        assert final["role"] == "customer"
        assert final["seq"] > 0
        assert final["position"] > 0
        assert final["latency_ms"] >= 0
        (segment,) = final["segments"]
        assert {"id", "revision", "text", "start_sec", "end_sec", "speaker", "confidence", "words"} <= segment.keys()
        assert segment["end_sec"] > segment["start_sec"]
    summary = events[-2]
    assert summary["duration_sec"] == pytest.approx(len(samples) / 16_000, abs=0.05)
    assert summary["segments"] == 2
    assert len(summary["talk_sec"]) == 1
    assert summary["talk_sec"][0] > 1
    assert {"speech_started", "speech_ended", "ack"} <= {event["event"] for event in events}
    assert [event["seq"] for event in events if event.get("seq")] == list(range(1, len(finals(events)) + 3))


async def test_stereo_has_a_transcript_for_each_channel(edge: RunningEdge) -> None:
    left, right = np.concatenate([voice(1.0), silence(2.0)]), np.concatenate([silence(1.5), voice(1.0), silence(0.5)])
    both = np.stack([left, right], axis=1).reshape(-1)
    async with talk(edge) as call:
        await call.start(channels=2, roles=["agent", "customer"])
        for chunk in chunks(both, 2 * CHUNK):
            await call.socket.send(chunk)
        await call.say(event="stop")
        events, _ = await call.rest()
    assert {(final["channel"], final["role"]) for final in finals(events)} == {(0, "agent"), (1, "customer")}
    assert len(events[-2]["talk_sec"]) == 2


async def test_flush_ends_the_utterance(edge: RunningEdge) -> None:
    async with talk(edge) as call:
        await call.start()
        for chunk in chunks(voice(1.0)):
            await call.socket.send(chunk)
        await call.say(event="flush")
        final = await call.event("batch_processed")
        assert final["segments"][0]["end_sec"] == pytest.approx(1.0, abs=0.2)


async def test_a_gap_and_an_overlap_in_positions(edge: RunningEdge) -> None:
    samples = spoken()
    pieces = [(start, samples[start : start + CHUNK].tobytes()) for start in range(0, len(samples), CHUNK)]
    missing, repeated = pieces.pop(3), pieces[5]
    async with talk(edge) as call:
        await call.start(positions=True)
        for position, chunk in [*pieces[:6], repeated, *pieces[6:]]:
            await call.socket.send(POSITION.pack(position) + chunk)
        await call.say(event="stop")
        events, code = await call.rest()
    assert code == 1000
    gaps = [event for event in events if event["event"] == "gap"]
    assert [(gap["from"], gap["to"]) for gap in gaps] == [(missing[0], missing[0] + CHUNK)]
    assert events[-2]["gaps"] == 1
    assert events[-2]["duration_sec"] == pytest.approx(len(samples) / 16_000, abs=0.05)


async def test_what_this_version_has_not_is_a_warning(edge: RunningEdge) -> None:
    async with talk(edge) as call:
        await call.start(enable_insights=True, enable_diarization=True, volume=11)
        await call.say(event="stop")
        await call.rest()
    warnings = [event["reason"] for event in call.events if event["event"] == "warning"]
    assert sorted(warnings) == ["NOT_IN_THIS_VERSION", "NOT_IN_THIS_VERSION", "UNKNOWN_FIELD"]


@pytest.mark.parametrize("how", ["header", "subprotocol"])
async def test_the_token_may_come_with_the_upgrade(edge: RunningEdge, how: str) -> None:
    options = (
        {"additional_headers": {"Authorization": f"Bearer {edge.token}"}}
        if how == "header"
        else {"subprotocols": ["malha", f"bearer.{edge.token}"]}
    )
    async with talk(edge, **options) as call:
        assert call.socket.subprotocol == (None if how == "header" else "malha")
        await call.start(token=None)


async def test_tokens_and_tenants(edge: RunningEdge) -> None:
    for given, code, reason in (
        ({"token": "nobody"}, 4401, "TOKEN_UNKNOWN"),
        ({"token": ""}, 4401, "TOKEN_MISSING"),
        ({"token": "not\na token"}, 4401, "TOKEN_MISSING"),
        ({"tenant_id": "other"}, 4403, "FOREIGN_TENANT"),
        ({"tenant_id": "default", "token": OTHER_TOKEN}, 4403, "FOREIGN_TENANT"),
    ):
        async with talk(edge) as call:
            await call.say(**{"event": "start", "encoding": "pcm16", "token": edge.token, **given})
            error, closed = await call.refused()
        assert (closed, error["reason"]) == (code, reason)
        assert error["retryable"] is False
    async with talk(edge) as call:
        await call.start(tenant_id="default")


async def test_the_session_id_is_the_clients_where_it_gives_one(edge: RunningEdge) -> None:
    from malha.edge.ids import new_session_id

    given = new_session_id()
    async with talk(edge) as call:
        assert (await call.start(session_id=given))["session_id"] == given


async def test_resume_is_told_to_be_unimplemented(edge: RunningEdge) -> None:
    async with talk(edge, additional_headers={"Authorization": f"Bearer {edge.token}"}) as call:
        await call.say(event="resume", token="once-given", after_seq=3)
        error, code = await call.refused()
    assert code == 4501
    assert error["code"] == "UNIMPLEMENTED"
    assert error["reason"] == "NOT_IN_THIS_VERSION"


async def test_controls_reach_the_service(fake: FakeServer, fake_edge: RunningEdge) -> None:
    said = [
        {"event": "mute", "channel": 0, "muted": True},
        {"event": "hold", "on_hold": True},
        {"event": "dtmf", "digits": "12#"},
        {"event": "feedback", "insight_id": "i1", "action": "used"},
        {"event": "insights", "enabled": False, "trigger": True},
        {"event": "flush"},
    ]
    async with talk(fake_edge) as call:
        await call.start()
        for message in said:
            await call.say(**message)
        await call.say(event="stop")
        _, code = await call.rest()
        assert code == 1000
        control = [request.control for request in fake.call.requests if request.HasField("control")]
        assert [each.WhichOneof("control") for each in control] == ["mute", "hold", "dtmf", "insights", "flush"]
        assert control[0].mute.channel == 0
        assert control[0].mute.muted
        assert control[2].dtmf.digits == "12#"
        assert not control[3].insights.enabled
        assert control[3].insights.trigger
        feedback = next(request.feedback for request in fake.call.requests if request.HasField("feedback"))
        assert (feedback.insight_id, feedback.action) == ("i1", 2)


async def test_the_whole_start_reaches_the_service(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start(
            conversation_id="call-7", language=["pt-BR", "es"], encoding="mulaw", sample_rate=8000, channels=2, roles=["agent", "customer"],
            batch_window_sec=2.5, max_batch_window_sec=4, enable_insights=True, enable_diarization=True, model="whisper/small", interim=False, words=True,
            vad_settings={"threshold_multiplier": 2, "min_energy": 80.5}, pace="batch",
        )  # fmt: skip
        opened = fake.call.requests[0].open
    assert opened.conversation_id == "call-7"
    assert list(opened.languages) == ["pt-BR", "es"]
    assert (opened.format.encoding, opened.format.sample_rate_hertz, opened.format.channels) == (2, 8000, 2)
    assert [channel.role for channel in opened.channels] == [1, 2]
    assert opened.window.batch.ToMilliseconds() == 2500
    assert opened.window.max_batch.ToMilliseconds() == 4000
    assert (opened.vad.threshold_multiplier, opened.vad.min_energy) == (2, 80.5)
    assert opened.insights
    assert opened.diarize
    assert opened.words
    assert opened.HasField("interim")
    assert not opened.interim
    assert opened.model == "whisper/small"
    assert opened.pace == 2


async def test_auto_means_any_language_and_containers_carry_their_own_format(fake: FakeServer, fake_edge: RunningEdge) -> None:
    async with talk(fake_edge) as call:
        await call.start(language="auto", encoding="webm", sample_rate=None)
        opened = fake.call.requests[0].open
        assert not opened.languages
        assert not opened.format.HasField("sample_rate_hertz")
        assert not opened.format.HasField("channels")
        await call.socket.send(b"\x1a\x45")
        await call.event("ack")
        assert fake.call.content == b"\x1a\x45", "a container's pieces are not gathered"


async def test_calls_are_counted(edge: RunningEdge) -> None:
    def count(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"malha_edge_{name}", labels) or 0

    closed, heard, told, size = (
        count("closes_total", code="1000"),
        *(count("messages_total", direction=way) for way in ("heard", "told")),
        count("bytes_total", direction="heard"),
    )
    async with talk(edge) as call:
        await call.start()
        assert count("sockets_open") >= 1
        for _ in range(5):
            await call.socket.send(bytes(2 * CHUNK))
        await call.say(event="stop")
        await call.rest()
    async with asyncio.timeout(10):
        while count("closes_total", code="1000") == closed:
            await asyncio.sleep(0.01)
    assert count("messages_total", direction="heard") - heard >= 6
    assert count("bytes_total", direction="heard") - size >= 10 * CHUNK
    assert count("messages_total", direction="told") - told >= 3
