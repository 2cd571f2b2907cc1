"""What endpointing finds, as utterances on their way to their channel's recogniser."""

import time
from collections import deque
from collections.abc import Callable

from malha.audio.channel import Channel
from malha.audio.endpointing import Ended, EndpointEvent, Speech, Started
from malha.audio.events import CallEvent, SpeechEnded, SpeechStarted
from malha.audio.results import OpenUtterance
from malha.audio.timeline import Timeline
from malha.audio.track import Track


class Utterances:
    """Begins, feeds and ends the utterances of a call's channels, and remembers when their audio came in."""

    def __init__(self, emit: Callable[[CallEvent, int], None], timeline: Timeline, track: Track) -> None:
        self._emit = emit
        self._timeline = timeline
        self._track = track
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=64)
        """(samples of this run through which audio came, when)"""

    def came(self, through: int, when: float) -> None:
        """Audio came, through this sample of the run."""
        self._arrivals.append((through, when))

    def restart(self) -> None:
        """A new run begins. Open utterances must have been ended."""
        self._arrivals.clear()

    def take(self, channel: Channel, event: EndpointEvent) -> None:
        """What was found in a channel."""
        if isinstance(event, Speech):
            assert channel.utterance is not None
            channel.recogniser.add(channel.utterance, event)
        elif isinstance(event, Started):
            self._begin(channel, event)
        elif isinstance(event, Ended):
            self._end(channel, event)

    def _begin(self, channel: Channel, event: Started) -> None:
        channel.ordinal += 1
        context = OpenUtterance(
            channel.index,
            channel.figures,
            f"{channel.index}-{channel.ordinal}",
            self._track.seconds(event.start),
            self._track.seconds(event.speech_start),
            self._track.frame(event.start),
            channel.ordinal,
        )
        channel.utterance = channel.recogniser.begin(context)
        self._emit(SpeechStarted(channel.index, context.start), self._timeline.received_through)

    def _end(self, channel: Channel, event: Ended) -> None:
        utterance, channel.utterance = channel.utterance, None
        assert utterance is not None
        context: OpenUtterance = utterance.context
        position = self._timeline.received_through
        context.end = self._track.seconds(event.speech_end)
        context.decided_position = position
        context.arrived = next((when for through, when in self._arrivals if through >= event.speech_end), time.monotonic())
        self._emit(SpeechEnded(channel.index, context.end), position)
        channel.recogniser.end(utterance)
