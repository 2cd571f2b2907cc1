"""What a call's client has said and its server may need again: audio from the last ack on, and the controls between."""

from collections import deque
from dataclasses import dataclass

from malha.api.audio.v1 import audio_pb2 as api
from malha.edge.framing import Piece, placed

KEPT_SECONDS = 60
CONTAINER_BYTES = 4 * 1024 * 1024
"""60 s of a container, whatever it holds."""
MOST_ENTRIES = 10_000
"""Pieces and controls: 60 s of 20 ms each are 3,000."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A control, or `finish`: where in the audio, and what."""

    position: int
    request: api.StreamRequest


class Kept:
    """In the order it was said. What is older than 60 s of audio is dropped, and becomes a gap if it is needed again.

    So is what comes before the last `MOST_ENTRIES`: a client that sends controls and no audio gets no ack, and one may send byte by byte.
    """

    def __init__(self, second_units: int) -> None:
        """``second_units``: positions per second; 0 for containers, whose positions are bytes."""
        self.keep_from = (0, 0)
        """(position, frame) of the last ack."""
        self._limit = KEPT_SECONDS * second_units or CONTAINER_BYTES
        self._entries: deque[Piece | _Said] = deque()
        self._units = 0
        self._forgotten = 0
        self._muted: dict[int | None, api.StreamRequest] = {}
        self._held: api.StreamRequest | None = None
        self._switched: api.StreamRequest | None = None
        """Whether insights are wanted, where that was said."""
        self._received = 0

    def add(self, piece: Piece) -> None:
        """Keep a piece of audio."""
        self._entries.append(piece)
        self._units += piece[2]
        self._bound()

    def say(self, position: int, request: api.StreamRequest) -> None:
        """Keep a control. Keys are not kept: they could be counted twice."""
        if request.control.WhichOneof("control") != "dtmf":
            self._entries.append(_Said(position, request))
            self._bound()

    def forget(self, received: int, keep_from: int, frame: int) -> None:
        """Let go of what an ack says is not needed again: what was said before ``received`` came, audio is needed from ``keep_from`` on."""
        self._received = max(self._received, received)
        self.keep_from = (keep_from, frame)
        entries = self._entries
        while entries:
            first = entries[0]
            if first.position >= keep_from if isinstance(first, _Said) else first[1] + first[2] > keep_from:
                return
            self._drop()

    def begin_at(self, position: int, frame: int) -> None:
        """The client itself resumed its call: nothing before is ours to keep."""
        self.keep_from = position, frame

    def state(self) -> list[bytes]:
        """The controls in force where what is kept begins."""
        return [request.SerializeToString() for request in (*self._muted.values(), self._held, self._switched) if request is not None]

    @property
    def end(self) -> int:
        """How much was ever kept: the number the next entry will have."""
        return self._forgotten + len(self._entries)

    @property
    def begin(self) -> int:
        """The number of the first entry there is."""
        return self._forgotten

    def request(self, number: int) -> bytes:
        """An entry, as it is sent again: audio with its position. Empty: it came, and is not."""
        entry = self._entries[number - self._forgotten]
        if not isinstance(entry, _Said):
            return placed(entry[0], entry[1])
        request = entry.request if entry.position >= self._received else _lasting(entry.request)
        return b"" if request is None else request.SerializeToString()

    def _bound(self) -> None:
        while self._units > self._limit or len(self._entries) > MOST_ENTRIES:
            self._drop()

    def _drop(self) -> None:
        entry = self._entries.popleft()
        self._forgotten += 1
        if not isinstance(entry, _Said):
            self._units -= entry[2]
            return
        control = entry.request.control
        if control.HasField("mute"):
            channel = control.mute.channel if control.mute.HasField("channel") else None
            if channel is None:
                self._muted.clear()
            self._muted.pop(channel, None)
            self._muted[channel] = entry.request
        elif control.HasField("hold"):
            self._held = entry.request
        elif control.HasField("insights"):
            self._switched = _lasting(entry.request) or self._switched


def _lasting(request: api.StreamRequest) -> api.StreamRequest | None:
    """What of a control that came is said again. A wish for an insight and feedback would count twice."""
    if request.HasField("feedback"):
        return None
    if not request.control.HasField("insights"):
        return request
    insights = request.control.insights
    if not insights.HasField("enabled"):
        return None
    return api.StreamRequest(control=api.Control(insights=api.InsightControl(enabled=insights.enabled)))
