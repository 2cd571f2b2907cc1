"""Who speaks in which stretch of a channel, and so in each segment of its transcript. Times are seconds of the call."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from malha.audio.events import Segment

MOST_SEGMENTS: Final = 1_024
"""Kept for a label that comes late: about an hour of talk."""
MOST_TURNS: Final = 4_096


@dataclass(frozen=True, slots=True)
class Stretch:
    """Somebody speaks from ``start`` to ``end``; nobody where ``speaker`` is empty."""

    start: float
    end: float
    speaker: str


class Labels:
    """Stretches of a channel, any of which may be said anew under its key."""

    def __init__(self) -> None:
        self.through = 0.0
        """Up to here somebody has said who speaks."""
        self._stretches: dict[Hashable, Stretch] = {}
        self._names: dict[str, str] = {}

    def say(self, key: Hashable, stretch: Stretch) -> Stretch:
        """Takes the place of what was said under the key; the time in which anything may have changed."""
        earlier = self._stretches.pop(key, stretch)
        if stretch.speaker and stretch.end > stretch.start:
            self._stretches[key] = stretch
            self.through = max(self.through, stretch.end)
        if len(self._stretches) > MOST_TURNS:
            del self._stretches[next(iter(self._stretches))]
        return Stretch(min(earlier.start, stretch.start), max(earlier.end, stretch.end), "")

    def name(self, speaker: str, name: str) -> None:
        """A label is shown by a name from now on; an empty one takes it back."""
        self._names[speaker] = name

    def label(self, segment: Segment) -> Segment:
        """The segment with who speaks in it, and in each of its words. A word between two turns belongs to the segment's speaker."""
        near = [each for each in self._stretches.values() if each.start < segment.end and each.end > segment.start]
        speaker = self._loudest(near, segment.start, segment.end)
        words = tuple(replace(word, speaker=self._loudest(near, word.start, word.end) or speaker) for word in segment.words)
        return replace(segment, speaker=speaker, words=words)

    def _loudest(self, stretches: Sequence[Stretch], start: float, end: float) -> str:
        """Who speaks for most of the time."""
        seconds: dict[str, float] = {}
        for each in stretches:
            if (shared := min(each.end, end) - max(each.start, start)) > 0:
                seconds[each.speaker] = seconds.get(each.speaker, 0.0) + shared
        speaker = max(seconds, key=lambda who: seconds[who], default="")
        return self._names.get(speaker) or speaker


class Labelled:
    """The segments of a channel as they were told, to be told again where somebody else turns out to speak in them."""

    def __init__(self) -> None:
        self._told: dict[str, Segment] = {}
        """By id, in the order they were told first."""

    def tell(self, segment: Segment, labels: Labels) -> Segment:
        """A final or an amended segment as it is to be told now. Its revision is higher than any told before."""
        earlier = self._told.get(segment.id)
        if earlier is not None and segment.revision <= earlier.revision:
            segment = replace(segment, revision=earlier.revision + 1)
        segment = self._told[segment.id] = labels.label(segment)
        if len(self._told) > MOST_SEGMENTS:
            del self._told[next(iter(self._told))]
        return segment

    def changed(self, within: Stretch, labels: Labels, *, all_heard: bool = False) -> list[Segment]:
        """Segments in a time whose speakers are others than was told: amended. Those whose end nobody has labelled yet wait, unless all is heard."""
        found = []
        for told in self._told.values():
            if told.end <= within.start or told.start >= within.end or (told.end > labels.through and not all_heard):
                continue
            new = labels.label(told)
            if new != told:
                amended = self._told[told.id] = replace(new, revision=told.revision + 1, amended=True, relabelled=True, latency=None)
                found.append(amended)
        return found
