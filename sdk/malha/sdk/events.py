"""What a live call tells, event by event.

Times are seconds from the start of the call, as floats, in names that end in ``_seconds``. Positions count frames (samples per channel) for raw
audio and bytes for containers. Text that may be missing is ``""``, numbers that may be missing are ``None``.
"""

import datetime as dt
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Ack",
    "Amended",
    "CallWarning",
    "ChannelSummary",
    "Closed",
    "Engine",
    "Event",
    "Evidence",
    "Final",
    "Gap",
    "GoAway",
    "Insight",
    "Opened",
    "Partial",
    "Resumed",
    "Role",
    "Segment",
    "SpeechEnded",
    "SpeechStarted",
    "Summary",
    "Transcript",
    "Word",
]

Role = Literal["agent", "customer", ""]
"""Who speaks on a channel; empty: unknown."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Who does the work."""

    name: str
    """``pocketsphinx``, ``faster-whisper``, ``espeak``, ..."""
    version: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word."""

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float | None = None
    """0 to 1."""
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """One utterance on one channel."""

    id: str
    """Stable over its revisions, unique in its call."""
    revision: int
    """Counts from 1; a higher revision replaces a lower one."""
    channel: int
    """0-based."""
    role: Role
    text: str
    start_seconds: float
    end_seconds: float
    speaker: str = ""
    """Set by diarization."""
    confidence: float | None = None
    """0 to 1."""
    language: str = ""
    """BCP 47 tag it was recognised in."""
    words: tuple[Word, ...] = ()
    engine: Engine | None = None
    """Who recognised it, where several engines recognise one call; None: `Opened.engine`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event has."""

    seq: int = 0
    """Counts durable events of a call from 1; 0 for those that are not stored."""
    position: int = 0
    """How far the audio had come when the server decided on this event."""


@dataclass(frozen=True, slots=True)
class Opened(Event):
    """The call is open; this is its effective configuration."""

    session_id: str
    engine: Engine
    clock_rate: int
    """Positions per second; 0 where positions are bytes."""
    languages: tuple[str, ...] = ()
    server_version: str = ""
    resume_token: str = field(default="", repr=False)
    """Empty where this server cannot resume."""
    resume_from: int = 0
    """After ``Malha.resume``: where the server takes audio from."""


@dataclass(frozen=True, slots=True)
class Resumed(Event):
    """The connection was lost, or the server left, and the call goes on by itself.

    Nothing durable is missing or told twice. Partials not yet followed by their Final are void: what was said in them comes again.
    """

    session_id: str
    lost_seconds: float
    """From the loss to now; nearly 0 where the call moved before its connection ended."""
    resume_from: int
    """Where the server takes audio from."""
    sent_from: int
    """Where audio goes on. Later than ``resume_from`` where audio in between was dropped: only the newest 60 s are kept."""


@dataclass(frozen=True, slots=True)
class Ack(Event):
    """How far the server is."""

    received_through: int
    """All audio before this position was received."""
    keep_from: int
    """Audio before this position is not needed again."""
    keep_from_frame: int = 0
    """The frame of the audio that begins there: of containers, whose positions are bytes."""


@dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    """Somebody began to speak."""

    channel: int
    time_seconds: float


@dataclass(frozen=True, slots=True)
class SpeechEnded(Event):
    """Somebody paused: the acoustic end of what was said."""

    channel: int
    time_seconds: float


@dataclass(frozen=True, slots=True)
class Transcript(Event):
    """A segment, or a new revision of one: a Partial, a Final or an Amended."""

    segment: Segment
    latency_seconds: float | None = None
    """From the arrival of the segment's last audio at the server to this event, the end-of-speech silence included. Live calls only."""

    @property
    def text(self) -> str:
        return self.segment.text

    @property
    def channel(self) -> int:
        return self.segment.channel

    @property
    def role(self) -> Role:
        return self.segment.role


@dataclass(frozen=True, slots=True)
class Partial(Transcript):
    """What was understood so far; the next revision replaces it."""


@dataclass(frozen=True, slots=True)
class Final(Transcript):
    """Text and boundaries decided, and stored. An empty text takes the partials of the same id back."""


@dataclass(frozen=True, slots=True)
class Amended(Transcript):
    """A Final whose labels or text were corrected; its boundaries stay."""


@dataclass(frozen=True, slots=True)
class Gap(Event):
    """Audio that never came."""

    start_position: int
    """First missing position."""
    end_position: int
    """First position that came again."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The words an insight rests on."""

    segment_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class Insight(Event):
    """Advice for the operator. Plain text, made from what callers said: never render it as HTML."""

    id: str
    type: str
    """``partial_summary``, ``next_step``, ``risk_alert``, ``upsell``, or one this version does not know."""
    message: str
    confidence: float
    """0 to 1."""
    evidence: tuple[Evidence, ...]
    degraded: bool = False
    """Whether rules stood in for a model that was slow or away."""
    latency_seconds: float | None = None
    """From the trigger to this event."""
    trigger: str = ""
    """``topic``, ``keyword``, ``rule``, ``words``, ``silence``, ``manual``, or one this version does not know."""
    rule: str = ""
    """``id@version`` of the rule behind it; empty where there is none."""
    engine: str = ""
    """``rules``, or the model."""
    interaction_id: str = ""
    created: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class CallWarning(Event):
    """Something is not as asked, or went wrong without ending the call."""

    reason: str
    """UPPER_SNAKE_CASE, stable."""
    message: str
    segment_id: str = ""


@dataclass(frozen=True, slots=True)
class GoAway(Event):
    """The server is about to stop. A call that can be resumed moves by itself: Resumed follows."""

    time_left_seconds: float
    """How long this connection still works."""


@dataclass(frozen=True, slots=True)
class ChannelSummary:
    """Figures of one channel."""

    channel: int
    role: Role
    segments: int
    talk_seconds: float
    dtmf_digits: int = 0


@dataclass(frozen=True, slots=True)
class Summary(Event):
    """The call's figures."""

    duration_seconds: float
    segments: int
    """Finals with text."""
    channels: tuple[ChannelSummary, ...] = ()
    gaps: int = 0
    dropped_partials: int = 0
    """Left out because this reader was behind or engines were busy."""
    failed_segments: int = 0
    """Utterances the recogniser failed on."""


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """The call is over; nothing follows."""

    reason: str
    """``finished``, or ``abandoned``."""
