"""Speech from text, in pieces as it is made, or whole."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, get_args

import betterproto2

from malha.sdk._closing import ClosingStream
from malha.sdk._connection import Connection
from malha.sdk._convert import engine_from, seconds
from malha.sdk._format import make_format
from malha.sdk._gen.malha.api.common import v1 as common
from malha.sdk._gen.malha.api.synthesize import v1 as synthesize
from malha.sdk._source import items_of
from malha.sdk._stream import EventStream, all_of
from malha.sdk._wav import wav_of
from malha.sdk.chat import ChatAnswer, ChatDelta
from malha.sdk.errors import InvalidRequest
from malha.sdk.events import Engine

__all__ = ["Mark", "Speech", "SpeechChunk", "SpeechEncoding", "SpeechStream", "TextPiece", "TextSource"]

SpeechEncoding = Literal["pcm16", "mulaw", "alaw", "wav", "ogg", "mp3"]
"""``pcm16`` (little-endian), ``mulaw`` and ``alaw`` are raw; ``wav`` is of unknown length, as live streams are; ``ogg`` holds Opus."""

TextPiece = str | ChatDelta | ChatAnswer
"""Of what ``Malha.chat`` gives, the deltas are spoken; the whole answer only where it came without them."""

TextSource = str | AsyncIterable[TextPiece] | Iterable[TextPiece]
"""A text, or its pieces as they come; a sentence may come in several."""

_MOST_CHARACTERS = 4_000
_END = object()
"""After the last piece."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a word begins."""

    word: str
    text_offset: int
    """Characters before it in all the text."""
    time_seconds: float
    """From the start of the speech."""


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of speech, and the words told since the piece before."""

    audio: bytes
    """In the encoding asked for, one channel. Empty where only marks were left."""
    sample_rate: int
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Speech:
    """A whole text spoken."""

    pcm: bytes
    """Signed 16-bit little-endian samples, one channel."""
    sample_rate: int
    marks: tuple[Mark, ...]
    engine: Engine
    voice: str

    @property
    def duration_seconds(self) -> float:
        return len(self.pcm) / 2 / self.sample_rate if self.sample_rate else 0.0

    def wav(self) -> bytes:
        """As a WAV file."""
        return wav_of(self.pcm, self.sample_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechSettings:
    """What ``open`` says."""

    voice: str
    language: str
    format: common.AudioFormat | None
    """None: PCM16 at the engine's own rate."""
    speed: float | None
    reference_audio: bytes = b""
    consent_id: str = ""

    def to_message(self) -> synthesize.SynthesizeRequest:
        return synthesize.SynthesizeRequest(
            open=synthesize.Open(
                voice=self.voice,
                language=self.language,
                format=self.format,
                speed=self.speed,
                reference_audio=self.reference_audio,
                consent_id=self.consent_id,
            )
        )


class SpeechStream(ClosingStream[SpeechChunk]):
    """Speech as it is made, by ``Malha.say`` or ``speak``. Leaving the loop, or the ``async with`` block, stops it."""

    _method = "/malha.api.synthesize.v1.SynthesizeService/Synthesize"
    _cut_short = "the server ended the speech before it was closed"

    def __init__(
        self,
        connection: Connection,
        settings: SpeechSettings,
        text: TextSource,
        running: set[EventStream[Any]],
        pause_seconds: float | None = None,
    ) -> None:
        """``pause_seconds``: where no more text comes for so long, what there is is spoken."""
        super().__init__(connection, running)
        self._settings = settings
        self._text = text
        self._engine = Engine("", "")
        self._voice = ""
        self._licence = ""
        self._sample_rate = 0
        self._marks: list[Mark] = []
        self._pause_seconds = pause_seconds
        self._duration_seconds = 0.0

    @property
    def engine(self) -> Engine:
        """Who speaks; nameless until the first chunk."""
        return self._engine

    @property
    def voice(self) -> str:
        """The voice in use; empty until the first chunk."""
        return self._voice

    @property
    def licence(self) -> str:
        """Of the engine's model, where it says one: ``CPML-1.0 (non-commercial)`` limits what the speech may be used for."""
        return self._licence

    @property
    def duration_seconds(self) -> float:
        """Of all the speech; 0 until its end."""
        return self._duration_seconds

    async def _produce(self) -> None:
        await self._write(self._settings.to_message())
        source = [self._text] if isinstance(self._text, str) else self._text
        async with items_of(source) as pieces, aclosing(_texts(pieces, self._pause_seconds)) as texts:
            async for text in texts:
                await self._send(text)
        await self._write(synthesize.SynthesizeRequest(finish=synthesize.Finish()))
        await self._half_close()

    async def _send(self, text: str | None) -> None:
        """Send a text of any length; None: what there is is to be spoken."""
        if text is None:
            await self._write(synthesize.SynthesizeRequest(flush=synthesize.Flush()))
            return
        for start in range(0, len(text), _MOST_CHARACTERS):
            piece = synthesize.Text(text=text[start : start + _MOST_CHARACTERS])
            await self._write(synthesize.SynthesizeRequest(text=piece))

    def _translate(self, response: bytes) -> SpeechChunk | None:
        _, event = betterproto2.which_one_of(synthesize.SynthesizeResponse.parse(response), "event")
        match event:
            case synthesize.Opened():
                self._open(event)
            case synthesize.Mark():
                self._marks.append(Mark(event.word, event.text_offset, seconds(event.time)))
            case synthesize.Audio():
                return self._chunk(event.content)
            case synthesize.Closed():
                self._closed = True
                self._duration_seconds = seconds(event.audio)
                return self._chunk(b"") if self._marks else None
            case _:
                pass
        return None

    def _open(self, opened: synthesize.Opened) -> None:
        self._engine = engine_from(opened.engine)
        self._voice = opened.voice.name if opened.voice is not None else ""
        self._licence = opened.licence
        if opened.format is not None:
            self._sample_rate = opened.format.sample_rate_hertz or 0

    def _chunk(self, audio: bytes) -> SpeechChunk:
        marks, self._marks = tuple(self._marks), []
        return SpeechChunk(audio, self._sample_rate, marks)


def make_speech_format(encoding: str, sample_rate: int | None) -> common.AudioFormat | None:
    """The format to ask for; None: PCM16 at the engine's own rate. Raises InvalidRequest."""
    if encoding not in get_args(SpeechEncoding):
        names = ", ".join(get_args(SpeechEncoding))
        raise InvalidRequest(f"unknown encoding {encoding!r}: speech is one of {names}", reason="UNSUPPORTED_FORMAT")
    if encoding == "pcm16" and sample_rate is None:
        return None
    if encoding == "mp3":
        return common.AudioFormat(encoding=common.Encoding.MP3, sample_rate_hertz=sample_rate, channels=1)
    return make_format(encoding, sample_rate, 1).to_message()


async def _texts(pieces: AsyncIterator[TextPiece], pause_seconds: float | None) -> AsyncGenerator[str | None, None]:
    """The text of the pieces, and None where no piece has come for so long."""
    delta = False
    while True:
        coming = asyncio.ensure_future(_next(pieces))
        try:
            if pause_seconds is not None and not (await asyncio.wait({coming}, timeout=pause_seconds))[0]:
                yield None
            piece = await coming
        finally:
            coming.cancel()
            await asyncio.wait({coming})  # an iterator that is still asked cannot be closed
        if piece is _END:
            return
        if not isinstance(piece, TextPiece):
            raise TypeError(f"text comes as str, not as {type(piece).__name__}")
        if isinstance(piece, ChatAnswer):
            yield "" if delta else piece.text
        else:
            delta = delta or isinstance(piece, ChatDelta)
            yield piece if isinstance(piece, str) else piece.text


async def _next(pieces: AsyncIterator[object]) -> object:
    return await anext(pieces, _END)


async def gather(stream: SpeechStream) -> Speech:
    """Take a whole stream of PCM16. Raises what the stream raises."""
    pcm = bytearray()
    marks: list[Mark] = []
    sample_rate = 0
    async for chunk in all_of(stream):
        pcm += chunk.audio
        marks += chunk.marks
        sample_rate = chunk.sample_rate
    return Speech(bytes(pcm), sample_rate, tuple(marks), stream.engine, stream.voice)
