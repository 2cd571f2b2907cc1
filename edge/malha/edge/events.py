"""A call's events as the WebSocket client's JSON. Names and fields are part of the edge's contract."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.insight.v1 import insight_pb2, rules_pb2
from malha.edge.statuses import row
from malha.runtime.errors import MalhaError

Json = dict[str, Any]

ROLES = {media_pb2.ROLE_UNSPECIFIED: "unknown", media_pb2.ROLE_AGENT: "agent", media_pb2.ROLE_CUSTOMER: "customer"}
TRANSCRIPTS = {
    transcript_pb2.SEGMENT_STATE_PARTIAL: "partial",
    transcript_pb2.SEGMENT_STATE_FINAL: "batch_processed",
    transcript_pb2.SEGMENT_STATE_AMENDED: "amended",
}
INSIGHTS = {value: name.removeprefix("INSIGHT_TYPE_").lower() for name, value in rules_pb2.InsightType.items()}
REASONS = {value: name.removeprefix("CLOSE_REASON_").lower() for name, value in api.CloseReason.items()}


def event_json(response: api.StreamResponse) -> bytes:
    """One event; empty for one this version does not know."""
    kind = response.WhichOneof("event")
    make = _EVENTS.get(kind or "")
    if make is None:
        return b""
    body = {**make(getattr(response, kind or "")), "position": response.position}
    if response.seq:
        body["seq"] = response.seq
    return orjson.dumps(body)


def error_json(error: MalhaError) -> bytes:
    """The `error` event."""
    return orjson.dumps({"event": "error", **error_fields(error)})


def error_fields(error: MalhaError) -> Json:
    """How HTTP and WebSocket both tell an error."""
    fields: Json = {"code": error.code.name, "reason": error.reason, "message": error.message, "retryable": row(error).retryable}
    if error.retry_seconds is not None:
        fields["retry_after_ms"] = round(error.retry_seconds * 1000)
    if error.violations:
        fields["violations"] = error.violations
    return fields


def go_away_json(seconds: float) -> bytes:
    """The `go_away` event."""
    return orjson.dumps({"event": "go_away", "time_left_ms": round(seconds * 1000)})


def resumed_json(opened: api.Opened, lost_seconds: float) -> bytes:
    """The `session_resumed` event: the call goes on with another server, and another resume token. Partials that were open are void."""
    fields = {"session_id": opened.session_id, "engine": opened.engine.name, "resume_token": opened.resume_token}
    return orjson.dumps({"event": "session_resumed", **fields, "lost_ms": round(lost_seconds * 1000)})


def warning_json(reason: str, message: str) -> bytes:
    """A `warning` of the edge itself."""
    return orjson.dumps({"event": "warning", "reason": reason, "message": message, "segment_id": ""})


def segment_fields(segment: transcript_pb2.Segment) -> Json:
    """A segment; what the engine does not know is null. `engine` and `model` stand only where several engines recognise one call."""
    engine = {"engine": segment.engine.name, "model": segment.engine.model} if segment.HasField("engine") else {}
    return {
        "id": segment.id,
        "revision": segment.revision,
        "text": segment.text,
        "start_sec": seconds(segment.start),
        "end_sec": seconds(segment.end),
        "speaker": segment.speaker or None,
        "confidence": _confidence(segment),
        "language": segment.language or None,
        "words": [_word(word) for word in segment.words],
        **engine,
    }


def channel_fields(channel: api.ChannelSummary) -> Json:
    """Figures of one channel."""
    return {
        "channel": channel.channel,
        "role": ROLES.get(channel.role, "unknown"),
        "talk_sec": seconds(channel.talk),
        "segments": channel.segments,
        "dtmf_digits": channel.dtmf_digits,
    }


def seconds(duration: Duration) -> float:
    """To the millisecond."""
    return round(duration.seconds + duration.nanos / 1e9, 3)


def _word(word: transcript_pb2.Word) -> Json:
    return {
        "word": word.text,
        "start_sec": seconds(word.start),
        "end_sec": seconds(word.end),
        "confidence": _confidence(word),
        "speaker": word.speaker or None,
    }


def _confidence(message: Message) -> float | None:
    return round(message.confidence, 4) if message.HasField("confidence") else None  # type: ignore[attr-defined]  # Segment and Word both have it


def _latency(message: Message) -> float | None:
    """Milliseconds."""
    if not message.HasField("latency"):
        return None
    latency: Duration = message.latency  # type: ignore[attr-defined]  # Transcript and Insight both have it
    return round(latency.ToNanoseconds() / 1e6, 3)


def _opened(opened: api.Opened) -> Json:
    return {
        "event": "session_started",
        "session_id": opened.session_id,
        "engine": opened.engine.name,
        "engine_version": opened.engine.version,
        "model": opened.engine.model,
        "resume_token": opened.resume_token,
        "resume_from": opened.resume_from,
        "resume_from_frame": opened.resume_from_frame,
        "clock_rate": opened.clock_rate,
        "languages": list(opened.languages),
        "vad_settings": {"threshold_multiplier": opened.vad.threshold_multiplier, "min_energy": opened.vad.min_energy},
        "batch_window_sec": seconds(opened.window.batch),
        "max_batch_window_sec": seconds(opened.window.max_batch),
        "server_version": opened.server_version,
    }


def _ack(ack: api.Ack) -> Json:
    kept = {"keep_from": ack.keep_from, "keep_from_frame": ack.keep_from_frame}
    return {"event": "ack", "received_through": ack.received_through, **kept}


def _transcript(transcript: api.Transcript) -> Json:
    segment = transcript.segment
    return {
        "event": TRANSCRIPTS.get(segment.state, "partial"),
        "seq": 0,
        "channel": segment.channel,
        "role": ROLES.get(segment.role, "unknown"),
        "segments": [segment_fields(segment)],
        "latency_ms": _latency(transcript),
    }


def _insight(insight: insight_pb2.Insight) -> Json:
    return {
        "event": "insight",
        "id": insight.id,
        "type": INSIGHTS.get(insight.type, "unspecified"),
        "message": insight.message,
        "confidence": round(insight.confidence, 4),
        "evidence": [{"segment_id": evidence.segment_id, "quote": evidence.quote} for evidence in insight.evidence],
        "degraded": insight.degraded,
        "trigger": insight_pb2.Trigger.Name(insight.trigger).removeprefix("TRIGGER_").lower(),
        "rule": insight.rule,
        "engine": insight.engine,
        "interaction_id": insight.interaction_id,
        "latency_ms": _latency(insight),
        "stages_ms": {stage.name: round(stage.time.ToNanoseconds() / 1e6, 3) for stage in insight.stages},
    }


def _summary(summary: api.Summary) -> Json:
    channels = [channel_fields(channel) for channel in summary.channels]
    return {
        "event": "final_summary",
        "duration_sec": seconds(summary.duration),
        "segments": summary.segments,
        "talk_sec": [channel["talk_sec"] for channel in channels],
        "channels": channels,
        "gaps": summary.gaps,
        "dropped_partials": summary.dropped_partials,
        "failed_segments": summary.failed_segments,
    }


_EVENTS: Mapping[str, Callable[[Any], Json]] = {
    "opened": _opened,
    "ack": _ack,
    "speech_started": lambda event: {"event": "speech_started", "channel": event.channel, "time_sec": seconds(event.time)},
    "speech_ended": lambda event: {"event": "speech_ended", "channel": event.channel, "time_sec": seconds(event.time)},
    "transcript": _transcript,
    "gap": lambda event: {"event": "gap", "from": getattr(event, "from"), "to": event.to},
    "insight": _insight,
    "warning": lambda event: {"event": "warning", "reason": event.reason, "message": event.message, "segment_id": event.segment_id},
    "go_away": lambda event: {"event": "go_away", "time_left_ms": round(event.time_left.ToNanoseconds() / 1e6)},
    "summary": _summary,
    "closed": lambda event: {"event": "session_ended", "reason": REASONS.get(event.reason, "unspecified")},
}
