"""Who spoke when, as it is heard or of a whole recording, and the speakers that are enrolled."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import betterproto2

from malha.sdk._closing import ClosingStream
from malha.sdk._connection import Connection
from malha.sdk._convert import engine_from, seconds
from malha.sdk._format import Format
from malha.sdk._gen.malha.api.diarize import v1 as api
from malha.sdk._pages import all_pages
from malha.sdk._source import AudioInput
from malha.sdk._stream import EventStream, all_of
from malha.sdk.errors import InvalidRequest, ServerError
from malha.sdk.events import Engine

__all__ = ["Diarization", "DiarizationEvent", "DiarizationStream", "EnrolledSpeaker", "SpeakerMatch", "Turn"]

_SERVICE = "/malha.api.diarize.v1.DiarizeService"
_PAGE = 1000
_MOST_BYTES = 262_144
"""Of audio in one message."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks. One of the same ``id`` with a higher ``revision`` takes its place; without a speaker there is no such turn after all."""

    id: int
    revision: int
    speaker: str
    """``S1``, ``S2``, in the order they were told apart."""
    start_seconds: float
    end_seconds: float
    channel: int = 0


@dataclass(frozen=True, slots=True)
class SpeakerMatch:
    """How a speaker of the stream compares with the enrolled. A later one of the same speaker takes its place."""

    speaker: str
    top: str
    """Who it is; empty: nobody who is enrolled."""
    score: float
    """Cosine with the most similar, -1 to 1."""
    all: Mapping[str, float]
    """The most similar enrolled speakers, the best first."""
    speech_seconds: float
    """Speech the scores rest on."""


DiarizationEvent = Turn | SpeakerMatch


@dataclass(frozen=True, slots=True)
class Diarization:
    """Who spoke when in a recording."""

    turns: tuple[Turn, ...]
    """In order of time."""
    matches: Mapping[str, SpeakerMatch]
    """By speaker; empty unless they were to be identified."""
    engine: Engine
    duration_seconds: float
    speech_seconds: float

    @property
    def speakers(self) -> tuple[str, ...]:
        """In the order they first speak."""
        return tuple(dict.fromkeys(turn.speaker for turn in self.turns))


@dataclass(frozen=True, slots=True)
class EnrolledSpeaker:
    """A speaker whose voice the server knows."""

    speaker_id: str
    consent_id: str
    customer_id: str
    speech_seconds: float
    model: str
    """Whose voice print it is."""
    created: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiarizationSettings:
    """What ``open`` says."""

    format: Format
    max_speakers: int | None
    identify: bool
    background: bool

    def to_message(self) -> api.DiarizeRequest:
        return api.DiarizeRequest(
            open=api.Open(
                format=self.format.to_message(), max_speakers=self.max_speakers, identify=self.identify, background=self.background
            )
        )


class DiarizationStream(ClosingStream[DiarizationEvent]):
    """Turns as they are heard, by ``Malha.diarize_live``. Leaving the loop, or the ``async with`` block, stops it."""

    _method = f"{_SERVICE}/Diarize"
    _cut_short = "the server ended before all was labelled"

    def __init__(self, connection: Connection, settings: DiarizationSettings, audio: AudioInput, running: set[EventStream[Any]]) -> None:
        super().__init__(connection, running)
        self._settings = settings
        self._audio = audio
        self._figures = api.Closed()
        self.engine = Engine("", "")
        """Who labels; nameless until the server has answered."""

    @property
    def duration_seconds(self) -> float:
        """Of the audio; 0 until all is labelled."""
        return seconds(self._figures.audio)

    @property
    def speech_seconds(self) -> float:
        """Speech in it; 0 until all is labelled."""
        return seconds(self._figures.speech)

    async def _produce(self) -> None:
        await self._write(self._settings.to_message())
        async with self._audio.chunks() as pieces:
            frame, rest = self._settings.format.frame_bytes, b""
            async for piece in pieces:
                content = rest + piece
                whole = len(content) // frame * frame
                content, rest = content[:whole], content[whole:]
                most = _MOST_BYTES // frame * frame
                for start in range(0, len(content), most):
                    await self._write(api.DiarizeRequest(audio=api.Audio(content=content[start : start + most])))
        if rest:
            raise InvalidRequest("the audio ends inside a frame", reason="PARTIAL_FRAME")
        await self._write(api.DiarizeRequest(finish=api.Finish()))
        await self._half_close()

    def _translate(self, response: bytes) -> DiarizationEvent | None:
        _, event = betterproto2.which_one_of(api.DiarizeResponse.parse(response), "event")
        match event:
            case api.Opened():
                self.engine = engine_from(event.engine)
            case api.Turn():
                return Turn(event.id, event.revision, event.speaker, seconds(event.start), seconds(event.end), event.channel)
            case api.SpeakerMatch():
                scores = {candidate.speaker_id: candidate.score for candidate in event.all}
                return SpeakerMatch(event.speaker, event.top, event.score, scores, seconds(event.speech))
            case api.Closed():
                self._closed, self._figures = True, event
            case _:
                pass
        return None


async def gather(stream: DiarizationStream) -> Diarization:
    """Take a whole stream. Raises what it raises."""
    turns: dict[int, Turn] = {}
    matches: dict[str, SpeakerMatch] = {}
    async for event in all_of(stream):
        if isinstance(event, SpeakerMatch):
            matches[event.speaker] = event
        elif event.speaker:
            turns[event.id] = event
        else:
            turns.pop(event.id, None)
    ordered = tuple(sorted(turns.values(), key=lambda turn: (turn.start_seconds, turn.channel)))
    return Diarization(ordered, matches, stream.engine, stream.duration_seconds, stream.speech_seconds)


async def enroll(connection: Connection, speaker_id: str, wav: bytes, consent_id: str, customer_id: str) -> EnrolledSpeaker:
    """Enrol a voice."""
    request = api.EnrollSpeakerRequest(speaker_id=speaker_id, audio=wav, consent_id=consent_id, customer_id=customer_id)
    answer = await connection.unary(f"{_SERVICE}/EnrollSpeaker", request, api.EnrollSpeakerResponse)
    if answer.speaker is None:
        raise ServerError("the server told nothing of the speaker", reason="EMPTY_ANSWER")
    return _speaker(answer.speaker)


async def speakers(connection: Connection) -> tuple[EnrolledSpeaker, ...]:
    """All who are enrolled."""

    async def page(token: str) -> tuple[Iterable[EnrolledSpeaker], str]:
        request = api.ListSpeakersRequest(page_size=_PAGE, page_token=token)
        answer = await connection.unary(f"{_SERVICE}/ListSpeakers", request, api.ListSpeakersResponse)
        return map(_speaker, answer.speakers), answer.next_page_token

    return await all_pages(page)


async def delete_speaker(connection: Connection, speaker_id: str) -> None:
    """Forget a speaker."""
    request = api.DeleteSpeakerRequest(speaker_id=speaker_id)
    await connection.unary(f"{_SERVICE}/DeleteSpeaker", request, api.DeleteSpeakerResponse, idempotent=False)


def _speaker(kept: api.Speaker) -> EnrolledSpeaker:
    return EnrolledSpeaker(kept.speaker_id, kept.consent_id, kept.customer_id, seconds(kept.speech), kept.model, kept.create_time)
