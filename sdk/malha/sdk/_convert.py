"""From the messages of the contract to the events of ``malha.sdk.events``."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import betterproto2

from malha.sdk import events
from malha.sdk._gen.malha.api.audio import v1 as audio
from malha.sdk._gen.malha.api.common import v1 as common
from malha.sdk._gen.malha.api.insight import v1 as insight

_ROLES: Mapping[int, events.Role] = {common.Role.AGENT: "agent", common.Role.CUSTOMER: "customer"}
_STATES: Mapping[int, type[events.Transcript]] = {
    common.SegmentState.PARTIAL: events.Partial,
    common.SegmentState.FINAL: events.Final,
    common.SegmentState.AMENDED: events.Amended,
}


def event_from(response: audio.StreamResponse) -> events.Event | None:
    """The event in a message; None for one that a later server may send and this version does not know."""
    name, value = betterproto2.which_one_of(response, "event")
    make = _EVENTS.get(name)
    return None if make is None else make(value, {"seq": response.seq, "position": response.position})


def engine_from(engine: common.Engine | None) -> events.Engine:
    """The engine; nameless where the server named none."""
    return events.Engine("", "") if engine is None else events.Engine(engine.name, engine.version, engine.model)


def seconds(duration: dt.timedelta | None) -> float:
    """Seconds; 0 where unset, which is how protobuf sends no time at all."""
    return 0.0 if duration is None else duration.total_seconds()


def _optional_seconds(duration: dt.timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _segment(segment: common.Segment) -> events.Segment:
    return events.Segment(
        id=segment.id,
        revision=segment.revision,
        channel=segment.channel,
        role=_ROLES.get(segment.role, ""),
        text=segment.text,
        start_seconds=seconds(segment.start),
        end_seconds=seconds(segment.end),
        speaker=segment.speaker,
        confidence=segment.confidence,
        language=segment.language,
        words=tuple(
            events.Word(word.text, seconds(word.start), seconds(word.end), word.confidence, word.speaker) for word in segment.words
        ),
        engine=None if segment.engine is None else engine_from(segment.engine),
    )


def _opened(opened: audio.Opened, place: Mapping[str, int]) -> events.Opened:
    return events.Opened(
        session_id=opened.session_id,
        engine=engine_from(opened.engine),
        clock_rate=opened.clock_rate,
        languages=tuple(opened.languages),
        server_version=opened.server_version,
        resume_token=opened.resume_token,
        resume_from=opened.resume_from,
        **place,
    )


def _transcript(transcript: audio.Transcript, place: Mapping[str, int]) -> events.Transcript | None:
    segment = transcript.segment
    kind = _STATES.get(segment.state) if segment is not None else None
    if segment is None or kind is None:
        return None
    return kind(_segment(segment), _optional_seconds(transcript.latency), **place)


def insight_from(advice: insight.Insight, place: Mapping[str, int]) -> events.Insight:
    """Advice; ``place`` is where in a call it was told."""
    return events.Insight(
        id=advice.id,
        type=(advice.type.name or "").lower() or f"unknown_{int(advice.type)}",
        message=advice.message,
        confidence=advice.confidence,
        evidence=tuple(events.Evidence(piece.segment_id, piece.quote) for piece in advice.evidence),
        degraded=advice.degraded,
        latency_seconds=_optional_seconds(advice.latency),
        trigger=(advice.trigger.name or "").lower() or f"unknown_{int(advice.trigger)}",
        rule=advice.rule,
        engine=advice.engine,
        interaction_id=advice.interaction_id,
        created=advice.create_time,
        **place,
    )


def _summary(summary: audio.Summary, place: Mapping[str, int]) -> events.Summary:
    return events.Summary(
        duration_seconds=seconds(summary.duration),
        segments=summary.segments,
        channels=tuple(
            events.ChannelSummary(c.channel, _ROLES.get(c.role, ""), c.segments, seconds(c.talk), c.dtmf_digits) for c in summary.channels
        ),
        gaps=summary.gaps,
        dropped_partials=summary.dropped_partials,
        failed_segments=summary.failed_segments,
        **place,
    )


_EVENTS: Mapping[str, Callable[[Any, Mapping[str, int]], events.Event | None]] = {
    "opened": _opened,
    "ack": lambda ack, place: events.Ack(ack.received_through, ack.keep_from, ack.keep_from_frame, **place),
    "speech_started": lambda speech, place: events.SpeechStarted(speech.channel, seconds(speech.time), **place),
    "speech_ended": lambda speech, place: events.SpeechEnded(speech.channel, seconds(speech.time), **place),
    "transcript": _transcript,
    "gap": lambda gap, place: events.Gap(gap.from_, gap.to, **place),
    "insight": insight_from,
    "warning": lambda warning, place: events.CallWarning(warning.reason, warning.message, warning.segment_id, **place),
    "go_away": lambda leaving, place: events.GoAway(seconds(leaving.time_left), **place),
    "summary": _summary,
    "closed": lambda closed, place: events.Closed((closed.reason.name or "unknown").lower(), **place),
}
