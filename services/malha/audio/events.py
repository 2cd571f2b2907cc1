"""What a call tells its client. Times are seconds from the start of the call, positions are in the client's units."""

from dataclasses import dataclass, field
from enum import Enum


class Role(Enum):
    """Who speaks on a channel."""

    UNKNOWN = "unknown"
    AGENT = "agent"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class RecognisedWord:
    """A word of a segment, with its times in the call."""

    text: str
    start: float
    end: float
    confidence: float
    speaker: str = ""
    """As of the segment."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The call is open and its recogniser ready."""

    engine: str
    engine_version: str
    model: str
    languages: tuple[str, ...]
    clock_rate: int
    """Positions per second; 0 for containers."""
    aligns: bool = False
    """Whether words are timed by alignment."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Audio up to ``received_through`` has come; what lies before ``keep_from``, which is ``keep_from_frame`` of the media, is not needed again."""

    received_through: int
    keep_from: int
    keep_from_frame: int


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    channel: int
    time: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    channel: int
    time: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the transcript; ``final`` false is a partial. An empty final retracts its partials."""

    id: str
    revision: int
    final: bool
    channel: int
    role: Role
    text: str
    start: float
    end: float
    confidence: float | None = None
    language: str = ""
    words: tuple[RecognisedWord, ...] = ()
    latency: float | None = None
    """From the arrival of the segment's last audio to this event; None where audio does not come live."""
    amended: bool = False
    """A final whose text or speakers were corrected; its boundaries are the same."""
    speaker: str = ""
    """Who speaks, where speakers are told apart: a label, or the name of an enrolled voice."""
    relabelled: bool = False
    """Of an amended one: only its speakers are others."""
    engine: tuple[str, str, str] | None = None
    """Name, version and model of who recognised it; None where it can be nobody but the call's engine."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Audio from ``start`` up to ``end`` never came."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something asked for is not had, or failed; the call goes on."""

    reason: str
    message: str
    segment_id: str = ""


@dataclass(slots=True)
class ChannelFigures:
    """What was counted on one channel."""

    role: Role
    segments: int = 0
    talk_seconds: float = 0.0
    dtmf_digits: int = 0


@dataclass(slots=True)
class Figures:
    """What was counted in the call."""

    channels: list[ChannelFigures]
    duration_seconds: float = 0.0
    gaps: int = 0
    failed_segments: int = 0
    languages: set[str] = field(default_factory=set)

    @property
    def segments(self) -> int:
        """Final segments with text."""
        return sum(channel.segments for channel in self.channels)


CallEvent = Opened | Ack | SpeechStarted | SpeechEnded | Segment | Gap | Warned
