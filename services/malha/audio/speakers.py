"""Who speaks in a call. Of two channels each is a speaker; the audio of a single one goes to Diarize, and who speaks in each segment comes back.

Diarize is not on the call's path: a live call waits for nothing here and goes on without it. Where it is lost it is asked again, and knows
nobody from before: its labels then carry the number of the stream they come from. A whole file may wait for it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import grpc

from malha.api.common.v1 import media_pb2
from malha.api.diarize.v1 import diarize_pb2 as api
from malha.api.diarize.v1 import diarize_pb2_grpc
from malha.audio.events import CallEvent, Role, Segment
from malha.audio.labels import Labelled, Labels, Stretch
from malha.audio.vad import Samples
from malha.runtime import logs
from malha.runtime.durations import seconds
from malha.runtime.logs import Event
from malha.runtime.status import from_rpc_error

log = logs.get("audio.speakers")

MOST_WAITING_SECONDS: Final = 30.0
"""Audio kept for a Diarize that is away or slow; of more a live call lets the oldest go, and a file waits."""
GATHERED_SECONDS: Final = 0.3
"""Audio in one message: what a message costs hardly depends on its size."""
SAMPLE_BYTES: Final = 2
BACKOFF_SECONDS: Final = (0.05, 0.25, 1.0, 2.0)
LIVE_FINISH_SECONDS: Final = 5.0
"""How long the end of a live call waits for the last labels."""
FILE_FINISH_SECONDS: Final = 120.0
NEVER: Final = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
    }
)
"""Answers that will be the same next time."""

Metadata = tuple[tuple[str, str], ...]
Emit = Callable[[CallEvent, int], None]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Audio of a channel, and the second of the call where it begins."""

    began: float
    samples: Samples


class CallSpeakers:
    """Labels the segments of one call. What is told goes through `tell`, to be told on with who speaks."""

    def __init__(
        self,
        channel: Callable[[], grpc.aio.Channel],
        metadata: Metadata,
        emit: Emit,
        refused: Callable[[str, str], None],
        *,
        live: bool,
        number: int = 1,
    ) -> None:
        """``emit`` tells events on; ``refused(reason, message)`` why there will be no labels. ``number`` counts the owners of the call."""
        self.apart = False
        """Whether each channel has a speaker of its own."""
        self._channel = channel
        self._metadata = metadata
        self._emit = emit
        self._refused = refused
        self._live = live
        self._number = number
        self._stream = 0
        self._rate = 0
        self._labels = Labels()
        self._labelled = Labelled()
        self._position = 0
        self._waiting: deque[_Piece] = deque()
        self._waiting_seconds = 0.0
        self._places: list[tuple[float, float]] = []
        """(second of the stream, second of the call) from where on they run alike."""
        self._sent = 0.0
        """Seconds of the stream."""
        self._wake, self._room = asyncio.Event(), asyncio.Event()
        self._finishing = self._given_up = False
        self._task = asyncio.create_task(self._run(), name="call-speakers")

    def tell(self, event: CallEvent, position: int) -> None:
        """Tell an event on, a final with who speaks in it."""
        self._position = max(self._position, position)
        if isinstance(event, Segment) and event.final:
            event = _by_channel(event) if self.apart else self._labelled.tell(event, self._labels)
        self._emit(event, position)

    def add(self, samples: Samples, began: float, rate: int) -> None:
        """More audio of the only channel, which begins at a second of the call."""
        if self._given_up or self.apart or not samples.size:
            return
        self._rate = rate
        self._waiting.append(_Piece(began, samples))
        self._waiting_seconds += samples.size / rate
        while self._live and self._waiting_seconds > MOST_WAITING_SECONDS:
            self._waiting_seconds -= self._waiting.popleft().samples.size / rate
        if self._waiting_seconds >= GATHERED_SECONDS:
            self._wake.set()

    async def room(self) -> None:
        """Wait while a file has more audio than is to be kept."""
        while not self._live and self._waiting_seconds > MOST_WAITING_SECONDS and not self._task.done():
            self._room.clear()
            await self._room.wait()

    async def finish(self) -> None:
        """All is heard: wait for the last labels."""
        self._finishing = True
        self._wake.set()
        await asyncio.wait([self._task], timeout=LIVE_FINISH_SECONDS if self._live else FILE_FINISH_SECONDS)
        self._amend(Stretch(0.0, float("inf"), ""), all_heard=True)

    async def close(self) -> None:
        """No more is wanted."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        attempts = 0
        try:
            while True:
                try:
                    opened = await self._diarize()
                except grpc.aio.AioRpcError as error:
                    if error.code() in NEVER:
                        told = from_rpc_error(error)
                        self._refused(told.reason, told.message)
                        return
                    opened = False
                if self._finishing:
                    return
                attempts = 0 if opened else attempts + 1
                log.warning(Event.DIARIZE_LOST)
                await asyncio.sleep(BACKOFF_SECONDS[min(attempts, len(BACKOFF_SECONDS) - 1)])
        finally:
            self._given_up = True
            self._room.set()

    async def _diarize(self) -> bool:
        """One stream. Returns whether it was opened; raises AioRpcError."""
        while not self._rate and not self._finishing:
            self._wake.clear()
            await self._wake.wait()
        if not self._rate:
            return True
        call = diarize_pb2_grpc.DiarizeServiceStub(self._channel()).Diarize(metadata=self._metadata)
        sender: asyncio.Task[None] | None = None
        self._stream += 1
        self._places, self._sent = [], 0.0
        try:
            await call.write(api.DiarizeRequest(open=self._opening()))
            while (response := await call.read()) is not grpc.aio.EOF:
                match response.WhichOneof("event"):
                    case "opened" if sender is None:
                        sender = asyncio.create_task(self._send(call), name="call-speakers-send")
                    case "turn":
                        self._on_turn(response.turn)
                    case "speaker_match":
                        self._on_match(response.speaker_match)
                    case "closed":
                        self._finishing = True
                        return True
            await call.code()
            return sender is not None
        finally:
            call.cancel()
            if sender is not None:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, grpc.RpcError, asyncio.InvalidStateError):
                    await sender

    def _opening(self) -> api.Open:
        audio = media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16, sample_rate_hertz=self._rate, channels=1)
        return api.Open(format=audio, identify=True, background=not self._live)

    async def _send(self, call: Any) -> None:
        """Hand on what waits, then the end."""
        while True:
            while self._waiting:
                await call.write(api.DiarizeRequest(audio=api.Audio(content=self._gathered())))
            if self._finishing:
                await call.write(api.DiarizeRequest(finish=api.Finish()))
                return
            self._wake.clear()
            await self._wake.wait()

    def _gathered(self) -> bytes:
        """The next message: of what waits, as many pieces as fill it."""
        gathered = bytearray()
        most = int(GATHERED_SECONDS * self._rate) * SAMPLE_BYTES
        while self._waiting and (not gathered or len(gathered) < most):
            piece = self._waiting.popleft()
            self._waiting_seconds -= piece.samples.size / self._rate
            self._place(piece)
            gathered += piece.samples.tobytes()
        self._room.set()
        return bytes(gathered)

    def _place(self, piece: _Piece) -> None:
        if not self._places or abs(self._second(self._sent) - piece.began) > 0.001:
            self._places.append((self._sent, piece.began))
        self._sent += piece.samples.size / self._rate

    def _second(self, second: float) -> float:
        """Of the call."""
        at, begin = next((place for place in reversed(self._places) if place[0] <= second), self._places[0])
        return begin + second - at

    def _on_turn(self, turn: api.Turn) -> None:
        if not self._places:
            return
        start, end = self._second(seconds(turn.start)), self._second(seconds(turn.end))
        stretch = Stretch(start, end, self._label(turn.speaker))
        self._amend(self._labels.say((self._stream, turn.id), stretch))

    def _on_match(self, match: api.SpeakerMatch) -> None:
        self._labels.name(self._label(match.speaker), match.top)
        self._amend(Stretch(0.0, float("inf"), ""))

    def _label(self, speaker: str) -> str:
        """Labels of one stream say nothing about those of another."""
        if not speaker or self._number == self._stream == 1:
            return speaker
        return f"{speaker}.{self._number}" if self._stream == 1 else f"{speaker}.{self._number}.{self._stream}"

    def _amend(self, within: Stretch, *, all_heard: bool = False) -> None:
        for segment in self._labelled.changed(within, self._labels, all_heard=all_heard):
            self._emit(segment, self._position)


def _by_channel(segment: Segment) -> Segment:
    speaker = f"S{segment.channel + 1}" if segment.role is Role.UNKNOWN else segment.role.value
    return replace(segment, speaker=speaker, words=tuple(replace(word, speaker=speaker) for word in segment.words))
