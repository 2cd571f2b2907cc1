"""Every message of the contract as an event, through the bytes that protobuf writes."""

import datetime as dt

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from malha.api.audio.v1 import audio_pb2 as pb
from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.insight.v1 import insight_pb2
from malha.sdk import events
from malha.sdk._convert import event_from
from malha.sdk._gen.malha.api.audio import v1 as audio

SEGMENT = transcript_pb2.Segment(
    id="s",
    revision=3,
    channel=1,
    role="ROLE_CUSTOMER",
    speaker="Ana",
    text="olá mundo",
    start=Duration(seconds=1, nanos=250_000_000),
    end=Duration(seconds=2),
    confidence=0.5,
    language="pt-BR",
    words=[transcript_pb2.Word(text="olá", start=Duration(seconds=1), end=Duration(seconds=1, nanos=500_000_000), confidence=0.25)],
)
EXPECTED = events.Segment("s", 3, 1, "customer", "olá mundo", 1.25, 2.0, "Ana", 0.5, "pt-BR", (events.Word("olá", 1.0, 1.5, 0.25),))


def transcript(state: str) -> pb.Transcript:
    segment = transcript_pb2.Segment()
    segment.CopyFrom(SEGMENT)
    segment.state = transcript_pb2.SegmentState.Value(f"SEGMENT_STATE_{state}")
    return pb.Transcript(segment=segment, latency=Duration(nanos=300_000_000))


CASES = [
    (
        {
            "opened": pb.Opened(
                session_id="id",
                resume_token="t",
                engine=media_pb2.Engine(name="n", version="v", model="m"),
                clock_rate=8_000,
                languages=["pt-BR"],
                server_version="1",
            )
        },
        events.Opened("id", events.Engine("n", "v", "m"), 8_000, ("pt-BR",), "1", "t"),
    ),
    ({"ack": pb.Ack(received_through=9, keep_from=2)}, events.Ack(9, 2)),
    ({"speech_started": pb.SpeechStarted(channel=1, time=Duration(nanos=500_000_000))}, events.SpeechStarted(1, 0.5)),
    ({"speech_ended": pb.SpeechEnded(time=Duration(seconds=3))}, events.SpeechEnded(0, 3.0)),
    ({"transcript": transcript("PARTIAL")}, events.Partial(EXPECTED, 0.3)),
    ({"transcript": transcript("FINAL")}, events.Final(EXPECTED, 0.3)),
    ({"transcript": transcript("AMENDED")}, events.Amended(EXPECTED, 0.3)),
    ({"gap": pb.Gap(**{"from": 5, "to": 8})}, events.Gap(5, 8)),
    (
        {
            "insight": insight_pb2.Insight(
                id="i",
                type="INSIGHT_TYPE_RISK_ALERT",
                message="stay calm",
                confidence=0.75,
                evidence=[insight_pb2.Evidence(segment_id="s", quote="cancel")],
                degraded=True,
                latency=Duration(seconds=1),
                trigger="TRIGGER_RULE",
                rule="r@1",
                engine="rules",
                interaction_id="n",
                create_time=Timestamp(seconds=1_700_000_000),
            )
        },
        events.Insight(
            "i",
            "risk_alert",
            "stay calm",
            0.75,
            (events.Evidence("s", "cancel"),),
            True,
            1.0,
            "rule",
            "r@1",
            "rules",
            "n",
            dt.datetime.fromtimestamp(1_700_000_000, dt.UTC),
        ),
    ),
    ({"warning": pb.Warning(reason="R", message="m", segment_id="s")}, events.CallWarning("R", "m", "s")),
    ({"go_away": pb.GoAway(time_left=Duration(seconds=9))}, events.GoAway(9.0)),
    (
        {
            "summary": pb.Summary(
                duration=Duration(seconds=60),
                segments=4,
                channels=[pb.ChannelSummary(channel=1, role="ROLE_AGENT", segments=4, talk=Duration(seconds=30), dtmf_digits=2)],
                gaps=1,
                dropped_partials=5,
                failed_segments=6,
            )
        },
        events.Summary(60.0, 4, (events.ChannelSummary(1, "agent", 4, 30.0, 2),), 1, 5, 6),
    ),
    ({"closed": pb.Closed(reason="CLOSE_REASON_FINISHED")}, events.Closed("finished")),
    ({"closed": pb.Closed(reason="CLOSE_REASON_ABANDONED")}, events.Closed("abandoned")),
]


def received(**message) -> events.Event | None:
    return event_from(audio.StreamResponse.parse(pb.StreamResponse(**message).SerializeToString()))


@pytest.mark.parametrize(("message", "event"), CASES, ids=[type(event).__name__ for _, event in CASES])
def test_each_event(message, event):
    assert received(**message) == event


def test_every_event_of_the_contract_is_known():
    told = {name for message, _ in CASES for name in message}
    assert told == {field.name for field in pb.StreamResponse.DESCRIPTOR.oneofs_by_name["event"].fields}


def test_seq_and_position():
    event = received(seq=7, position=16_000, gap=pb.Gap(to=1))
    assert (event.seq, event.position) == (7, 16_000)


def test_a_transcript_reads_like_its_segment():
    event = received(transcript=transcript("FINAL"))
    assert (event.text, event.channel, event.role) == ("olá mundo", 1, "customer")


def test_what_a_later_server_may_send():
    assert event_from(audio.StreamResponse.parse(b"\xfa\x3e\x02\x08\x01")) is None  # field 1007
    assert event_from(audio.StreamResponse.parse(pb.StreamResponse(transcript=pb.Transcript()).SerializeToString())) is None
    assert received(insight=insight_pb2.Insight(type=99)).type == "unknown_99"
    assert received(closed=pb.Closed(reason=99)).reason == "unknown"


def test_a_resume_token_is_not_shown():
    assert "secret" not in repr(received(opened=pb.Opened(resume_token="secret")))
