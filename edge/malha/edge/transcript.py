"""A recording's transcript, gathered from its call's events and told as one JSON object."""

from collections import Counter
from typing import Any

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import transcript_pb2
from malha.edge.events import ROLES, channel_fields, seconds, segment_fields


class Transcript:
    """Keeps the newest revision of each segment."""

    def __init__(self) -> None:
        self.closed = False
        self._opened = api.Opened()
        self._summary = api.Summary()
        self._segments: dict[str, transcript_pb2.Segment] = {}
        self._warnings: list[dict[str, str]] = []

    def warn(self, reason: str, message: str, segment_id: str = "") -> None:
        self._warnings.append({"reason": reason, "message": message, "segment_id": segment_id})

    def add(self, response: api.StreamResponse) -> None:
        """Take one event of the call."""
        match response.WhichOneof("event"):
            case "opened":
                self._opened = response.opened
            case "transcript":
                self._add_segment(response.transcript.segment)
            case "warning":
                self.warn(response.warning.reason, response.warning.message, response.warning.segment_id)
            case "summary":
                self._summary = response.summary
            case "closed":
                self.closed = True

    def _add_segment(self, segment: transcript_pb2.Segment) -> None:
        known = self._segments.get(segment.id)
        if segment.state != transcript_pb2.SEGMENT_STATE_PARTIAL and (known is None or segment.revision > known.revision):
            self._segments[segment.id] = segment

    def json(self) -> dict[str, Any]:
        """The answer of ``POST /api/v1/asr``. Segments stand in order of their start; those retracted (empty) are left out.

        Its language and its engine are those of most of the text.
        """
        segments = sorted(
            (segment for segment in self._segments.values() if segment.text), key=lambda segment: segment.start.ToNanoseconds()
        )
        languages, engines = Counter[str](), Counter[tuple[str, str]]()
        for segment in segments:
            engine = segment.engine if segment.HasField("engine") else self._opened.engine
            languages[segment.language] += len(segment.text)
            engines[engine.name, engine.model] += len(segment.text)
        language = next((most for most, _ in languages.most_common(1)), "")
        engine_name, model = next((most for most, _ in engines.most_common(1)), (self._opened.engine.name, self._opened.engine.model))
        return {
            "text": " ".join(segment.text for segment in segments),
            "language": language or next(iter(self._opened.languages), None),
            "duration_sec": seconds(self._summary.duration),
            "engine": engine_name,
            "model": model,
            "segments": [_placed(segment) for segment in segments],
            "channels": [channel_fields(channel) for channel in self._summary.channels],
            "warnings": self._warnings,
        }


def _placed(segment: transcript_pb2.Segment) -> dict[str, Any]:
    return {**segment_fields(segment), "channel": segment.channel, "role": ROLES.get(segment.role, "unknown")}
