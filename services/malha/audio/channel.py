"""One channel of a call: who hears it, what it has come to, and when it was listened to."""

from collections import deque

from malha.audio.endpointing import Endpointer
from malha.audio.events import ChannelFigures, Role
from malha.audio.formats.resample import Resampler
from malha.audio.progress import ChannelProgress, Refooting, Turn
from malha.audio.recogniser import ChannelRecogniser, Utterance
from malha.audio.track import Track
from malha.audio.vad import Samples


class Channel:
    """Endpointing, recognition and figures of a channel."""

    def __init__(self, index: int, role: Role, endpointer: Endpointer, recogniser: ChannelRecogniser) -> None:
        self.index = index
        self.endpointer = endpointer
        self.recogniser = recogniser
        self.resampler: Resampler | None = None
        self.figures = ChannelFigures(role)
        self.utterance: Utterance | None = None
        self.ordinal = 0
        self.deaf = False
        """Whether it is muted or on hold."""
        self.heard_through = 0
        """Frame up to which an earlier owner of the call has heard it."""
        self.ahead: deque[Turn] = deque()
        """Turns of an earlier owner that the audio, heard again, has not come to."""
        self._turns = deque([Turn(0, muted=False, on_hold=False)])
        """The one in force at the first frame that is needed, and those since."""
        self._footings: deque[Refooting] = deque()
        """The last before the first frame that is needed, and those since."""

    def restore(self, progress: ChannelProgress) -> None:
        """Go on where an earlier owner of the call was."""
        self.ordinal, self.heard_through = progress.ordinal, progress.frame
        figures = self.figures
        figures.segments, figures.talk_seconds, figures.dtmf_digits = progress.segments, progress.talk_seconds, progress.dtmf_digits
        first, *later = progress.turns
        self._turns = deque([first])
        self.deaf = first.deaf
        self.ahead = deque(later)

    def prime(self, mono: Samples, track: Track) -> Samples:
        """Keep what an earlier owner has heard from being heard again; what is left."""
        known = track.samples(self.heard_through) - self.endpointer.received
        if known < mono.size:
            self.heard_through = 0
        if known > 0:
            self.endpointer.prime(mono[:known])
            return mono[known:]
        return mono

    def said(self, frame: int, *, muted: bool | None = None, on_hold: bool | None = None) -> Turn:
        """The turn that the client's word makes; it goes before what an earlier owner was told of the same thing."""
        self.ahead = deque(turn.but(turn.frame, muted, on_hold) for turn in self.ahead)
        return self._turns[-1].but(frame, muted, on_hold)

    def turn(self, turn: Turn) -> None:
        """Listen, or not, from here on. An open utterance must have been flushed."""
        self._turns.append(turn)
        self.deaf = turn.deaf

    def restart(self, track: Track) -> None:
        """Begin a new run. An open utterance must have been flushed."""
        self._take_footings(track)
        self.endpointer.restart()

    def needed(self, track: Track) -> int:
        """The first frame that waits for a final or is open. What lies before it is forgotten."""
        waiting = self.recogniser.waiting
        needed: int = waiting[0].context.start_frame if waiting else max(self.heard_through, track.frame(self.endpointer.keep_from))
        self._take_footings(track)
        for marks in (self._turns, self._footings):
            while len(marks) > 1 and marks[1].frame <= needed:
                marks.popleft()
        return needed

    def _take_footings(self, track: Track) -> None:
        self._footings.extend(Refooting(track.frame(each.sample), each.noise_floor, each.offset) for each in self.endpointer.footings())

    def progress(self, track: Track) -> ChannelProgress:
        """As of the last final told."""
        waiting, figures = self.recogniser.waiting, self.figures
        return ChannelProgress(
            frame=self.needed(track),
            ordinal=waiting[0].context.ordinal - 1 if waiting else self.ordinal,
            footing=self._footings[0],
            turns=(*self._turns, *self.ahead),
            segments=figures.segments,
            talk_seconds=figures.talk_seconds,
            dtmf_digits=figures.dtmf_digits,
        )
