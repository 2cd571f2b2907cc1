"""How far a call has come: what is stored with its durable events, so that another process can go on with it. No audio is in it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from malha.audio.track import PRE_ROLL_SECONDS


class Turn(NamedTuple):
    """Whether a channel is listened to from a frame on."""

    frame: int
    muted: bool
    on_hold: bool

    @property
    def deaf(self) -> bool:
        """Whether it is not."""
        return self.muted or self.on_hold

    def but(self, frame: int, muted: bool | None, on_hold: bool | None) -> "Turn":
        """Another, at ``frame``; what is None stays."""
        return Turn(frame, self.muted if muted is None else muted, self.on_hold if on_hold is None else on_hold)


class Refooting(NamedTuple):
    """Where the detector of a channel began anew, last before a frame; see `malha.audio.vad.Footing`."""

    frame: int
    noise_floor: float
    offset: float


@dataclass(frozen=True, slots=True)
class ChannelProgress:
    """One channel. All audio before ``frame`` is in durable finals or was judged silence."""

    frame: int
    ordinal: int
    """Of the last utterance before it."""
    footing: Refooting
    """Audio is judged again from here on, so that what follows ``frame`` is judged as it would have been."""
    turns: tuple[Turn, ...]
    """The one in force at ``frame``, and those after it."""
    segments: int
    talk_seconds: float
    dtmf_digits: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A call. Its audio can be heard on from ``position``, in the client's units, which is ``frame`` of the media."""

    position: int
    frame: int
    rate: int
    channels: tuple[ChannelProgress, ...]
    gaps: int
    gap_through: int
    """Where the last gap that was told ends, in the client's units: it may be met again."""
    failed_segments: int
    insights: bool
    """Whether they are wanted: the client may have turned them off."""
    header: bytes
    """Of a container: what a decoder needs before it can begin in the middle."""

    def columns(self) -> dict[str, Mapping[str, Any]]:
        """As `SessionUpdate` takes it."""
        channels = self.channels
        return {
            "committed": {"position": self.position, "frame": self.frame} | {str(k): each.frame for k, each in enumerate(channels)},
            "segment_ordinals": {str(k): each.ordinal for k, each in enumerate(channels)},
            "noise_floors": {str(k): each.footing.noise_floor for k, each in enumerate(channels)},
            "flags": {
                "rate": self.rate,
                "footings": [[each.footing.frame, each.footing.offset] for each in channels],
                "turns": [each.turns for each in channels],
                "figures": [[each.segments, each.talk_seconds, each.dtmf_digits] for each in channels],
                "gaps": self.gaps,
                "gap_through": self.gap_through,
                "failed": self.failed_segments,
                "insights": self.insights,
                "header": base64.b64encode(self.header).decode(),
            },
        }

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> Self | None:
        """What `columns` made; None where nothing was stored yet."""
        committed, flags = columns["committed"], columns["flags"]
        if not committed:
            return None
        ordinals, floors, figures = columns["segment_ordinals"], columns["noise_floors"], flags["figures"]
        footings = [Refooting(frame, floors[str(k)], offset) for k, (frame, offset) in enumerate(flags["footings"])]
        channels = tuple(
            ChannelProgress(committed[str(k)], ordinals[str(k)], footings[k], tuple(Turn(*turn) for turn in turns), *figures[k])
            for k, turns in enumerate(flags["turns"])
        )
        header = base64.b64decode(flags["header"])
        insights = flags.get("insights", True)  # a call may have been stored by a version that did not tell
        counts = (flags["gaps"], flags["gap_through"], flags["failed"], insights, header)
        return cls(committed["position"], committed["frame"], flags["rate"], channels, *counts)

    def starting_at(self, position: int, frame: int) -> Self:
        """The same, where the client has only kept audio from here on: it was told that nothing before is needed."""
        if position <= self.position:
            return self
        heard = frame + int(PRE_ROLL_SECONDS * self.rate)
        channels = tuple(replace(channel, frame=max(channel.frame, heard)) for channel in self.channels)
        return replace(self, position=position, frame=frame, channels=channels)


def duration_seconds(progress: Progress | None) -> float:
    """How much of the call was heard, where nobody is left to say."""
    if progress is None or not progress.rate:
        return 0.0
    return max((channel.frame for channel in progress.channels), default=0) / progress.rate
