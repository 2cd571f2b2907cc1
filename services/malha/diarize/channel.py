"""Labels one channel as it is heard: its speech, the windows of it to compare, their voices, the turns that follow from these.

It computes no voice print itself: `hear` says which windows need one, and `label` takes them. What grouping all windows would be worth its time
is asked for by `grouping`, and taken by `regroup`. No clock and no engine: the same audio leads to the same turns.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain, takewhile
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from malha.diarize.clustering import Array, Labels
from malha.diarize.engine import Embedding, Turn, VoicePrint
from malha.diarize.online import Voices
from malha.diarize.speech import FRAME_SAMPLES, FRAME_SECONDS, SpeechFinder, Stretch
from malha.diarize.timeline import Span, bridged, spans_of
from malha.diarize.turns import ToldTurns
from malha.diarize.windows import Window, WindowPlanner

FIRST_GROUPING, GROWTH = 8, 1.25
"""All windows are grouped once there are so many, then whenever there are so many times more."""
LEADING_FRAMES: Final = 10
"""Kept of silence: a stretch begins a little before it is known to."""
TOLD_AGAIN_SECONDS: Final = 1.0
"""How often a turn is told as it grows."""
PRINT_SECONDS: Final = 3.0
"""Of speech that a voice needs before its print is told; it is told again at each doubling, and at the end."""

Samples = npt.NDArray[np.int16]


class Job(NamedTuple):
    """A window and its audio."""

    window: Window
    pcm: bytes


class Grouping(NamedTuple):
    """All windows so far, to be grouped."""

    prints: Array
    seconds: Array


class Channel:
    """One channel of one stream. With ``alone`` it has one speaker, and needs no prints to know whose turn it is."""

    def __init__(self, max_speakers: int = 0, *, alone: bool = False) -> None:
        self._alone = alone
        self._finder = SpeechFinder()
        self._planner = WindowPlanner()
        self._voices = Voices(1 if alone else max_speakers)
        self._turns = ToldTurns()
        self._audio, self._audio_from = np.empty(0, np.int16), 0
        """What later windows may need, and the sample of the stream where it begins."""
        self._windows: list[Window] = []
        self._prints: list[Embedding] = []
        self._labels: list[int] = []
        self._of_stretch: dict[int, list[int]] = {}
        """Windows by where their stretch begins."""
        self._unlabelled: deque[int] = deque()
        """Where the stretches begin of windows that were asked for and have no print yet."""
        self._stretches: list[Stretch] = []
        """Those that have ended."""
        self._dropped: set[int] = set()
        """Where those began that turned out to be nobody's."""
        self._settled: list[Span] = []
        self._settled_stretches = 0
        """Spans of so many stretches, all of whose windows have their prints: only a grouping changes these."""
        self._grouped = 0
        self._told_frame = 0
        self._told_seconds: dict[int, float] = {}

    @property
    def frames(self) -> int:
        """Audio heard."""
        return self._finder.heard

    @property
    def speech_seconds(self) -> float:
        """Speech in it, but for what still goes on."""
        return self._finder.speech * FRAME_SECONDS

    @property
    def stretches(self) -> int:
        """How many stretches of speech have ended."""
        return len(self._stretches) + len(self._dropped)

    def hear(self, samples: Samples) -> list[Job]:
        """Take more audio; the windows that became whole by it."""
        self._audio = np.concatenate((self._audio, samples))
        jobs = self._close(self._finder.feed(samples))
        if self._finder.open is not None:
            jobs += self._jobs(self._planner.grow(self._finder.open))
        self._forget()
        return jobs

    def finish(self) -> list[Job]:
        """No more audio comes; the last windows."""
        return self._close(self._finder.end())

    def label(self, jobs: Sequence[Job], prints: Array) -> None:
        """Take the prints of windows, in the order they were asked for."""
        for (window, _), embedding in zip(jobs, prints, strict=True):
            self._unlabelled.popleft()
            if window.stretch in self._dropped:
                continue
            self._of_stretch.setdefault(window.stretch, []).append(len(self._windows))
            self._windows.append(window)
            self._prints.append(embedding)
            self._labels.append(self._voices.hear(embedding, _seconds(window)))

    def grouping(self, *, last: bool = False) -> Grouping | None:
        """All windows, where it is time to group them."""
        count = len(self._windows)
        due = count > self._grouped if last else count >= max(FIRST_GROUPING, self._grouped * GROWTH)
        if self._alone or not due:
            return None
        self._grouped = count
        return Grouping(np.array(self._prints), self._window_seconds())

    def regroup(self, groups: Labels) -> None:
        """Take the groups of all windows: every turn so far is looked at again."""
        heard = np.array(self._labels)
        labels = self._voices.adopt(np.array(self._prints), self._window_seconds(), groups, heard)
        self._labels = labels.tolist()
        self._settled, self._settled_stretches = [], 0

    def turns(self) -> list[Turn]:
        """What has to be told of turns now. What windows without a print change in them comes with a later call."""
        ended = self._stretches[self._settled_stretches :]
        complete = ended if self._alone else list(takewhile(self._is_labelled, ended))
        self._settled_stretches += len(complete)
        self._settled[-1:] = self._continued(complete)
        going = [self._finder.open] if self._finder.open is not None else []
        spans = [*self._settled[:-1], *self._continued([*ended[len(complete) :], *going])]
        self._told_frame = self._finder.heard
        return self._turns.update(spans)

    @property
    def due(self) -> bool:
        """Whether the present turn has grown enough to be told again."""
        return self._finder.open is not None and (self._finder.heard - self._told_frame) * FRAME_SECONDS >= TOLD_AGAIN_SECONDS

    def prints(self, *, last: bool = False) -> list[VoicePrint]:
        """Voice prints that are to be told now."""
        found = []
        for voice, (embedding, seconds) in enumerate(zip(self._voices.means, self._voices.seconds.tolist(), strict=True)):
            told = self._told_seconds.get(voice, 0.0)
            if seconds >= PRINT_SECONDS and (seconds >= 2 * told or (last and seconds != told)):
                self._told_seconds[voice] = seconds
                found.append(VoicePrint(voice + 1, embedding, self._spoken_seconds(voice)))
        return found

    def _close(self, stretches: Iterable[Stretch]) -> list[Job]:
        jobs: list[Job] = []
        for stretch in stretches:
            if stretch.dismissed:
                self._drop(stretch)
            else:
                jobs += self._jobs(self._planner.close(stretch))
                self._stretches.append(stretch)
        return jobs

    def _drop(self, stretch: Stretch) -> None:
        """Forget the windows of a stretch that turned out to be nobody's."""
        self._dropped.add(stretch.start)
        gone = self._of_stretch.pop(stretch.start, [])
        if gone:
            first = gone[0]
            for kept in (self._windows, self._prints, self._labels):
                del kept[first:]

    def _jobs(self, windows: Iterable[Window]) -> list[Job]:
        jobs = [Job(window, self._cut(window)) for window in windows]
        self._unlabelled.extend(job.window.stretch for job in jobs)
        return jobs

    def _cut(self, window: Window) -> bytes:
        start, end = (frame * FRAME_SAMPLES - self._audio_from for frame in (window.start, window.end))
        return self._audio[start:end].tobytes()

    def _forget(self) -> None:
        """Let go of audio that no later window can have."""
        began = self._finder.began
        first = self._finder.heard - LEADING_FRAMES if began is None else self._planner.needed_from(began)
        spare = first * FRAME_SAMPLES - self._audio_from
        if spare > 0:
            self._audio, self._audio_from = self._audio[spare:], self._audio_from + spare

    def _is_labelled(self, stretch: Stretch) -> bool:
        """Whether all windows of a stretch that has ended have their prints, which come in the order of time."""
        return not self._unlabelled or stretch.start < self._unlabelled[0]

    def _continued(self, stretches: Iterable[Stretch]) -> list[Span]:
        """The last span that is settled, and those of further stretches."""
        return bridged(chain(self._settled[-1:], *map(self._spans, stretches)))

    def _spans(self, stretch: Stretch) -> list[Span]:
        if self._alone:
            return [Span(stretch.start, stretch.end, 0)]
        indices = self._of_stretch.get(stretch.start, [])
        if not indices:
            return []
        cosines = np.array([self._prints[index] for index in indices]) @ self._voices.means.T
        return spans_of(stretch, [self._windows[index] for index in indices], cosines)

    def _spoken_seconds(self, voice: int) -> float:
        """Speech in the windows of a voice; where they overlap it counts once."""
        frames = until = 0
        for window, label in zip(self._windows, self._labels, strict=True):
            if label == voice:
                frames += max(0, window.end - max(window.start, until))
                until = max(until, window.end)
        return round(frames * FRAME_SECONDS, 3)

    def _window_seconds(self) -> Array:
        return np.array([_seconds(window) for window in self._windows], np.float32)


def _seconds(window: Window) -> float:
    return (window.end - window.start) * FRAME_SECONDS
