"""The events as a browser sees them."""

import grpc
import orjson
import pytest
from google.protobuf.duration_pb2 import Duration

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import transcript_pb2
from malha.edge.events import error_json, event_json
from malha.edge.statuses import BY_CODE, BY_REASON, row
from malha.edge.transcript import Transcript
from malha.runtime import errors


def told(**event: object) -> dict[str, object]:
    return orjson.loads(event_json(api.StreamResponse(**{"position": 3200, **event})))


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(value * 1e9))
    return duration


def segment(state: str, **fields: object) -> transcript_pb2.Segment:
    word = transcript_pb2.Word(text="hello,", start=seconds(1.5), end=seconds(1.75), confidence=0.5)
    return transcript_pb2.Segment(
        **{"id": "s1", "revision": 2, "state": f"SEGMENT_STATE_{state}", "channel": 1, "role": "ROLE_CUSTOMER", "text": "hello,", "start": seconds(1.5), "end": seconds(2),
           "confidence": 0.75, "speaker": "S1", "language": "en", "words": [word]} | fields
    )  # fmt: skip


@pytest.mark.parametrize(("state", "event"), [("PARTIAL", "partial"), ("FINAL", "batch_processed"), ("AMENDED", "amended")])
def test_a_transcript(state: str, event: str) -> None:
    assert told(seq=4, transcript=api.Transcript(segment=segment(state), latency=seconds(0.3125))) == {
        "event": event,
        "seq": 4,
        "position": 3200,
        "channel": 1,
        "role": "customer",
        "segments": [
            {
                "id": "s1",
                "revision": 2,
                "text": "hello,",
                "start_sec": 1.5,
                "end_sec": 2.0,
                "speaker": "S1",
                "confidence": 0.75,
                "language": "en",
                "words": [{"word": "hello,", "start_sec": 1.5, "end_sec": 1.75, "confidence": 0.5, "speaker": None}],
            }
        ],
        "latency_ms": 312.5,
    }


def test_what_is_not_known_is_null() -> None:
    bare = transcript_pb2.Segment(id="s1", state="SEGMENT_STATE_FINAL")
    event = told(seq=1, transcript=api.Transcript(segment=bare))
    assert event["latency_ms"] is None
    assert event["role"] == "unknown"
    (only,) = event["segments"]
    assert (only["text"], only["speaker"], only["confidence"], only["language"], only["words"]) == ("", None, None, None, [])


def test_of_several_engines_a_segment_names_its_own() -> None:
    event = told(
        seq=1, transcript=api.Transcript(segment=segment("FINAL", engine={"name": "openai", "version": "1", "model": "whisper-1"}))
    )
    (only,) = event["segments"]
    assert (only["engine"], only["model"]) == ("openai", "whisper-1")


def test_a_recording_is_that_of_the_engine_of_most_of_its_text() -> None:
    transcript = Transcript()
    transcript.add(api.StreamResponse(opened=api.Opened(engine={"name": "first", "model": "m"})))
    assert (transcript.json()["engine"], transcript.json()["model"]) == ("first", "m")
    for name, text, engine in (("a", "short", None), ("b", "a longer one", {"name": "second", "model": "n"})):
        transcript.add(api.StreamResponse(transcript=api.Transcript(segment=segment("FINAL", id=name, text=text, engine=engine))))
    assert (transcript.json()["engine"], transcript.json()["model"]) == ("second", "n")
    assert [each.get("engine") for each in transcript.json()["segments"]] == [None, "second"]


def test_the_other_events() -> None:
    assert told(ack=api.Ack(received_through=3200, keep_from=16, keep_from_frame=16)) == {
        "event": "ack",
        "received_through": 3200,
        "keep_from": 16,
        "keep_from_frame": 16,
        "position": 3200,
    }
    assert told(speech_started=api.SpeechStarted(channel=1, time=seconds(0.42))) == {
        "event": "speech_started",
        "channel": 1,
        "time_sec": 0.42,
        "position": 3200,
    }
    assert told(speech_ended=api.SpeechEnded(time=seconds(2))) == {"event": "speech_ended", "channel": 0, "time_sec": 2.0, "position": 3200}
    assert told(seq=9, gap=api.Gap(**{"from": 5, "to": 7})) == {"event": "gap", "from": 5, "to": 7, "position": 3200, "seq": 9}
    assert told(warning=api.Warning(reason="R", message="m", segment_id="s")) == {
        "event": "warning",
        "reason": "R",
        "message": "m",
        "segment_id": "s",
        "position": 3200,
    }
    assert told(go_away=api.GoAway(time_left=seconds(9.5)))["time_left_ms"] == 9500
    assert told(seq=3, closed=api.Closed(reason="CLOSE_REASON_ABANDONED")) == {
        "event": "session_ended",
        "reason": "abandoned",
        "position": 3200,
        "seq": 3,
    }


def test_an_insight() -> None:
    event = told(
        seq=2,
        insight={
            "id": "i1",
            "type": "INSIGHT_TYPE_RISK_ALERT",
            "message": "wants to cancel",
            "confidence": 0.9,
            "evidence": [{"segment_id": "s1", "quote": "cancel it"}],
            "degraded": True,
            "trigger": "TRIGGER_RULE",
            "rule": "r@1",
            "engine": "rules",
            "interaction_id": "n1",
            "stages": [{"name": "rules", "time": seconds(0.002)}],
            "latency": seconds(1.5),
        },
    )
    assert event == {
        "event": "insight",
        "seq": 2,
        "position": 3200,
        "id": "i1",
        "type": "risk_alert",
        "message": "wants to cancel",
        "confidence": 0.9,
        "evidence": [{"segment_id": "s1", "quote": "cancel it"}],
        "degraded": True,
        "trigger": "rule",
        "rule": "r@1",
        "engine": "rules",
        "interaction_id": "n1",
        "latency_ms": 1500.0,
        "stages_ms": {"rules": 2.0},
    }


def test_a_summary() -> None:
    channels = [
        api.ChannelSummary(channel=0, role="ROLE_AGENT", segments=3, talk=seconds(2.5), dtmf_digits=2),
        api.ChannelSummary(channel=1, segments=1, talk=seconds(1)),
    ]
    event = told(
        seq=8, summary=api.Summary(duration=seconds(61.25), segments=4, channels=channels, gaps=1, dropped_partials=2, failed_segments=3)
    )
    assert event["event"] == "final_summary"
    assert (event["duration_sec"], event["segments"], event["talk_sec"]) == (61.25, 4, [2.5, 1.0])
    assert event["channels"][0] == {"channel": 0, "role": "agent", "talk_sec": 2.5, "segments": 3, "dtmf_digits": 2}
    assert (event["gaps"], event["dropped_partials"], event["failed_segments"]) == (1, 2, 3)


def test_the_event_comes_first_and_an_unknown_one_is_left_out() -> None:
    for field in api.StreamResponse.DESCRIPTOR.oneofs_by_name["event"].fields:
        response = api.StreamResponse()
        getattr(response, field.name).SetInParent()
        assert event_json(response).startswith(b'{"event":"'), field.name
    assert event_json(api.StreamResponse()) == b""


def test_an_error_carries_all_that_its_status_has() -> None:
    error = errors.ResourceExhausted("full", reason="TOO_MANY_STREAMS", retry_seconds=1.5, quota="streams")
    assert orjson.loads(error_json(error)) == {
        "event": "error",
        "code": "RESOURCE_EXHAUSTED",
        "reason": "TOO_MANY_STREAMS",
        "message": "full",
        "retryable": True,
        "retry_after_ms": 1500,
    }
    wrong = errors.InvalidArgument("no", violations={"open.format": "is required"})
    assert orjson.loads(error_json(wrong))["violations"] == {"open.format": "is required"}


def test_the_table_has_a_row_for_every_status() -> None:
    assert set(BY_CODE) == set(grpc.StatusCode)
    for each in (*BY_CODE.values(), *BY_REASON.values()):
        assert 200 <= each.http < 600
        assert each.close in {1000, 1003, 1007, 1009, 1011, 1012, 1013} or each.close == 4000 + each.http or each.close == 4408
    assert row(errors.Unauthenticated("")).close == 4401
    assert row(errors.PermissionDenied("", reason="FOREIGN_TENANT")).close == 4403
    assert row(errors.Unimplemented("")).http == 501
