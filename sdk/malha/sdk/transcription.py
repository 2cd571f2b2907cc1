"""The transcript of a recording, gathered from a call's events."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from malha.sdk import events

__all__ = ["ChannelTranscript", "Progress", "Transcription"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes sent (the server holds back what it cannot take) and the bytes there are, None where that cannot be told."""


@dataclass(frozen=True, slots=True)
class ChannelTranscript:
    """What was said on one channel."""

    channel: int
    """0-based."""
    role: events.Role
    text: str
    talk_seconds: float


@dataclass(frozen=True, slots=True)
class Transcription:
    """A whole recording as text."""

    text: str
    """All segments in the order they were spoken."""
    language: str
    """BCP 47 tag most segments were recognised in; empty: unknown."""
    duration_seconds: float
    segments: tuple[events.Segment, ...]
    """Those with text, by start."""
    channels: tuple[ChannelTranscript, ...]
    engine: events.Engine
    """That recognised most segments, where several do."""
    summary: events.Summary | None
    """The call's figures."""
    warnings: tuple[events.CallWarning, ...] = ()
    """What is not as asked, or failed on the way."""


async def gather(call: AsyncIterator[events.Event]) -> Transcription:
    """Take all events of a call of pace batch. Raises what the call raises."""
    opened: events.Opened | None = None
    summary: events.Summary | None = None
    latest: dict[str, events.Segment] = {}
    warnings: list[events.CallWarning] = []
    async for event in call:
        match event:
            case events.Opened():
                opened = event
            case events.Final() | events.Amended():
                known = latest.get(event.segment.id)
                if known is None or known.revision <= event.segment.revision:
                    latest[event.segment.id] = event.segment
            case events.Summary():
                summary = event
            case events.CallWarning():
                warnings.append(event)
            case _:
                pass
    return _result(opened, summary, latest.values(), warnings)


def _result(
    opened: events.Opened | None, summary: events.Summary | None, latest: Iterable[events.Segment], warnings: list[events.CallWarning]
) -> Transcription:
    segments = sorted((s for s in latest if s.text), key=lambda s: (s.start_seconds, s.channel))
    languages = Counter(s.language for s in segments if s.language)
    asked = opened.languages[0] if opened is not None and opened.languages else ""
    first = opened.engine if opened is not None else events.Engine("", "")
    engines = Counter(s.engine or first for s in segments)
    return Transcription(
        text=" ".join(s.text for s in segments),
        language=languages.most_common(1)[0][0] if languages else asked,
        duration_seconds=summary.duration_seconds if summary is not None else 0.0,
        segments=tuple(segments),
        channels=tuple(_channels(summary, segments)),
        engine=engines.most_common(1)[0][0] if engines else first,
        summary=summary,
        warnings=tuple(warnings),
    )


def _channels(summary: events.Summary | None, segments: list[events.Segment]) -> Iterable[ChannelTranscript]:
    for figures in summary.channels if summary is not None else ():
        text = " ".join(s.text for s in segments if s.channel == figures.channel)
        yield ChannelTranscript(figures.channel, figures.role, text, figures.talk_seconds)
