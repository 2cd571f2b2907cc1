"""Where a run's samples lie in the client's audio. A run begins with the call, after a gap, and where a call is resumed."""

from collections import deque

PRE_ROLL_SECONDS = 2.0
"""Audio a client keeps before what is open, so that a new owner of the call can find its footing (voice activity, noise floor)."""

RESTART_SECONDS = 0.5


class Track:
    """Samples of a run to frames, seconds and positions of the call.

    Frames are the media's, at ``rate``; positions are the client's: frames for raw audio, bytes for containers.
    """

    def __init__(self, *, raw: bool, working_rate: int, rate: int, start: tuple[int, int] = (0, 0)) -> None:
        """``start`` is (frame, position)."""
        self.working_rate = working_rate
        self.rate = rate
        """Of the media. A container's is known with its first samples."""
        self._raw = raw
        self._base = start[0]
        self._restarts: deque[tuple[int, int]] = deque([start], maxlen=512)
        """(frame, byte) of the places a container can be decoded from again: those of four minutes"""

    def begin(self, frame: int) -> None:
        """A new run begins here."""
        self._base = frame

    def restart_at(self, frame: int, byte: int) -> None:
        """A container can be decoded from here. Of places that lie close together the first is remembered."""
        if frame - self._restarts[-1][0] >= RESTART_SECONDS * self.rate:
            self._restarts.append((frame, byte))

    def frame(self, sample: int) -> int:
        """The call's frame of a sample of this run."""
        return self._base + sample * self.rate // self.working_rate

    def samples(self, frame: int) -> int:
        """How many samples of this run lie before a frame; less than none where it lies before the run."""
        return -(-(frame - self._base) * self.working_rate // self.rate)

    def seconds(self, sample: int) -> float:
        """The time in the call of a sample of this run."""
        return (self._base * self.working_rate + sample * self.rate) / (self.rate * self.working_rate)

    def kept(self, frame: int) -> tuple[int, int]:
        """(position, frame) from which to keep audio, so that a new owner can hear on from ``frame``: its pre-roll included."""
        wanted = max(0, frame - int(PRE_ROLL_SECONDS * self.rate))
        if self._raw:
            return wanted, wanted
        return next(((byte, at) for at, byte in reversed(self._restarts) if at <= wanted), (self._restarts[0][1], self._restarts[0][0]))
