"""A call's durable events as the store keeps them, and back."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.insight.v1 import insight_pb2
from malha.audio.events import ChannelFigures, Figures, Gap, RecognisedWord, Role, Segment
from malha.audio.messages import event_fields, summary_message
from malha.audio.progress import Progress, duration_seconds
from malha.store.session_updates import StoredSegment
from malha.store.sessions import Ending, ReplayedEvent

TRANSCRIPT, GAP, INSIGHT, SUMMARY, CLOSED = "transcript", "gap", "insight", "summary", "closed"
FINISHED, ABANDONED = "finished", "abandoned"
_REASONS = {FINISHED: api.CLOSE_REASON_FINISHED, ABANDONED: api.CLOSE_REASON_ABANDONED}


def event_body(event: Segment | Gap) -> tuple[str, dict[str, Any]]:
    """(kind, body) of an event."""
    if isinstance(event, Gap):
        return GAP, {"from": event.start, "to": event.end}
    return TRANSCRIPT, {
        "id": event.id,
        "revision": event.revision,
        "channel": event.channel,
        "role": event.role.value,
        "text": event.text,
        "start": event.start,
        "end": event.end,
        "confidence": event.confidence,
        "language": event.language,
        "words": [[word.text, word.start, word.end, word.confidence, *([word.speaker] if word.speaker else [])] for word in event.words],
        "latency": event.latency,
        "amended": event.amended,
        "speaker": event.speaker,
        "engine": event.engine,
    }


def segment_row(segment: Segment) -> StoredSegment:
    """A final, as the current state of its segment."""
    return StoredSegment(
        segment_id=segment.id,
        revision=segment.revision,
        channel=segment.channel,
        role=segment.role.value,
        start_seconds=segment.start,
        end_seconds=max(segment.end, segment.start),
        text=segment.text,
        words=[_word(word) for word in segment.words],
        confidence=segment.confidence,
        state="amended" if segment.amended else "final",
        speaker=segment.speaker,
    )


def _word(word: RecognisedWord) -> dict[str, Any]:
    known = {"text": word.text, "start": word.start, "end": word.end, "confidence": word.confidence}
    return known | {"speaker": word.speaker} if word.speaker else known


def insight_body(insight: insight_pb2.Insight) -> dict[str, Any]:
    """A piece of advice."""
    return json_format.MessageToDict(insight, preserving_proto_field_name=True)


def summary_body(figures: Figures, dropped_partials: int) -> dict[str, Any]:
    """The figures of a call."""
    return {
        "duration": figures.duration_seconds,
        "channels": [[each.role.value, each.segments, each.talk_seconds, each.dtmf_digits] for each in figures.channels],
        "gaps": figures.gaps,
        "failed": figures.failed_segments,
        "dropped_partials": dropped_partials,
    }


def closed_body(reason: str) -> dict[str, Any]:
    """Why a call ended."""
    return {"reason": reason}


def replayed(event: ReplayedEvent) -> api.StreamResponse:
    """A stored event, as it was told."""
    return api.StreamResponse(seq=event.seq, position=event.position, **_fields(event.kind, event.body))


def ending(columns: Mapping[str, Any]) -> Ending:
    """The last events of a call whose client never came back, of what was stored of it."""
    progress = Progress.of(columns)
    channels = progress.channels if progress is not None else ()
    figures = Figures(
        [ChannelFigures(Role.UNKNOWN, each.segments, each.talk_seconds, each.dtmf_digits) for each in channels],
        duration_seconds=duration_seconds(progress),
        gaps=progress.gaps if progress is not None else 0,
        failed_segments=progress.failed_segments if progress is not None else 0,
    )
    return Ending(((SUMMARY, summary_body(figures, 0)), (CLOSED, closed_body(ABANDONED))), figures.duration_seconds)


ENDING_EVENTS = 2


def _fields(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    match kind:
        case "transcript":
            words = tuple(RecognisedWord(*word) for word in body["words"])
            known = {key: value for key, value in body.items() if key not in {"role", "words"}}
            return event_fields(Segment(**known, final=True, role=Role(body["role"]), words=words))
        case "gap":
            return event_fields(Gap(body["from"], body["to"]))
        case "insight":
            return {"insight": json_format.ParseDict(dict(body), insight_pb2.Insight(), ignore_unknown_fields=True)}
        case "summary":
            channels = [ChannelFigures(Role(role), *counts) for role, *counts in body["channels"]]
            figures = Figures(channels, body["duration"], body["gaps"], body["failed"])
            return {"summary": summary_message(figures, body["dropped_partials"])}
        case "closed":
            return {"closed": api.Closed(reason=_REASONS[body["reason"]])}
    raise ValueError(kind)
