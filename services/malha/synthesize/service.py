"""SynthesizeService: the contract's messages to sentences for an engine, and its speech back."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Final

from google.protobuf.duration_pb2 import Duration

from malha.api.common.v1 import media_pb2
from malha.api.synthesize.v1 import synthesize_pb2 as api
from malha.runtime.auth import Principal
from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, UnsupportedFormat, UnsupportedLanguage
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.runtime.stream import Stream
from malha.synthesize.engine import Mark, SpeechConfig, SynthesizeEngine, Voice
from malha.synthesize.output import Coding, OutputFormat, SpeechWriter
from malha.synthesize.sentences import Sentence, SentenceBuffer
from malha.synthesize.settings import SynthesizeSettings

DEFAULT_RAW_HERTZ: Final = 16_000
CODINGS: Final = {
    media_pb2.ENCODING_PCM16: Coding.PCM16,
    media_pb2.ENCODING_MULAW: Coding.MULAW,
    media_pb2.ENCODING_ALAW: Coding.ALAW,
    media_pb2.ENCODING_WAV: Coding.WAV,
}

SynthesizeStream = Stream[api.SynthesizeRequest, api.SynthesizeResponse]


class SynthesizeService:
    """Serves one engine."""

    name = "malha.api.synthesize.v1.SynthesizeService"

    def __init__(self, engine: SynthesizeEngine, settings: SynthesizeSettings) -> None:
        self._engine = engine
        self._settings = settings

    @property
    def engine(self) -> str:
        """The engine's name."""
        return self._engine.capabilities.name

    async def start(self) -> None:
        """Load the engine."""
        await self._engine.start()

    async def close(self) -> None:
        """Give it back."""
        await self._engine.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {"Synthesize": StreamMethod(self.synthesize), "ListVoices": UnaryMethod(self.list_voices)}

    async def synthesize(self, stream: SynthesizeStream) -> None:
        """Speak one stream's text. Sentences are spoken one after the other, and text is read as they are done."""
        opening, can = stream.opening.open, self._engine.capabilities
        if opening.reference_audio and not can.cloning:
            raise FailedPrecondition(
                f"engine {can.name} cannot clone a voice; the coqui extra, which can, is not in this version: leave reference_audio out",
                reason="CLONING_UNAVAILABLE",
            )
        voice = self._engine.choose_voice(opening.voice, opening.language)
        output = _output_format(opening, can.sample_rate_hertz)
        await stream.send(api.SynthesizeResponse(opened=self._opened(voice, output)))
        speed = opening.speed if opening.HasField("speed") else 1.0
        config = SpeechConfig(stream.principal.tenant, voice.name, opening.language, speed)
        session = _Session(stream, self._engine, config, SpeechWriter(output, can.sample_rate_hertz), self._settings)
        await session.begin()
        async for request in stream:
            if request.WhichOneof("request") == "text":
                await session.add(request.text.text)
            else:
                await session.flush()
        await session.flush()
        await stream.send(api.SynthesizeResponse(closed=session.closed()))

    async def list_voices(self, request: api.ListVoicesRequest, principal: Principal) -> api.ListVoicesResponse:
        """The voices: all by name, or those that speak a language, the one it chooses first and then those of its region."""
        del principal
        voices: Iterable[Voice] = sorted(self._engine.capabilities.voices, key=lambda voice: voice.name)
        if request.language:
            try:
                chosen = self._engine.choose_voice("", request.language)
            except UnsupportedLanguage:
                return api.ListVoicesResponse()
            tag = request.language.lower()
            able = (voice for voice in voices if voice.languages == chosen.languages or tag in map(str.lower, voice.languages))
            voices = sorted(able, key=lambda voice: (voice != chosen, voice.languages != chosen.languages))
        return api.ListVoicesResponse(voices=map(_voice_message, voices))

    def _opened(self, voice: Voice, output: OutputFormat) -> api.Opened:
        can = self._engine.capabilities
        encoding = next(encoding for encoding, coding in CODINGS.items() if coding is output.coding)
        return api.Opened(
            engine=media_pb2.Engine(name=can.name, version=can.version),
            voice=_voice_message(voice),
            format=media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=output.sample_rate_hertz, channels=1),
        )


class _Session:
    """One stream's text and speech."""

    def __init__(
        self, stream: SynthesizeStream, engine: SynthesizeEngine, config: SpeechConfig, writer: SpeechWriter, settings: SynthesizeSettings
    ) -> None:
        self._stream = stream
        self._engine = engine
        self._config = config
        self._writer = writer
        self._max_characters = settings.synthesize_max_characters
        self._reader_seconds = settings.synthesize_reader_seconds
        self._sentences = SentenceBuffer()
        self._received = 0
        self._spoken = 0
        self._first_began: float | None = None
        self._first_seconds: float | None = None

    async def begin(self) -> None:
        """Send what the format has before the speech."""
        await self._send_audio(self._writer.header())

    async def add(self, text: str) -> None:
        """Take text; speak the sentences that are whole. Raises ResourceExhausted beyond the stream's limit."""
        self._received += len(text)
        if self._received > self._max_characters:
            raise ResourceExhausted(
                f"a stream may have {self._max_characters:,} characters spoken: open another one",
                reason="TEXT_TOO_LONG",
                quota="stream_characters",
            )
        for sentence in self._sentences.feed(text):
            await self._speak(sentence)

    async def flush(self) -> None:
        """Speak what has gathered."""
        for sentence in self._sentences.flush():
            await self._speak(sentence)

    def closed(self) -> api.Closed:
        """The stream's figures."""
        first = None if self._first_seconds is None else _duration(self._first_seconds)
        return api.Closed(audio=_duration(self._writer.seconds), characters=self._spoken, first_audio=first)

    async def _speak(self, sentence: Sentence) -> None:
        if not sentence.text.strip():
            return
        if self._first_began is None:
            self._first_began = monotonic()
        start = self._writer.seconds
        speech = self._engine.speak(self._config, sentence.text)
        async with contextlib.aclosing(speech) as chunks:  # type: ignore[type-var]  # an engine's iterator is an async generator
            async for chunk in chunks:
                for mark in chunk.marks:
                    await self._send(api.SynthesizeResponse(mark=_mark(mark, sentence, start)))
                await self._send_audio(self._writer.write(chunk.pcm))
                if self._first_seconds is None and self._writer.samples:
                    self._first_seconds = monotonic() - self._first_began
        await self._send_audio(self._writer.end_sentence())
        self._spoken += len(sentence.text.strip())

    async def _send_audio(self, content: bytes) -> None:
        if content:
            await self._send(api.SynthesizeResponse(audio=api.Audio(content=content)))

    async def _send(self, response: api.SynthesizeResponse) -> None:
        """Send once there is room. A client that has stopped reading must not hold its place at the engine for ever."""
        try:
            async with asyncio.timeout(self._reader_seconds):
                await self._stream.send(response)
        except TimeoutError:
            raise DeadlineExceeded(f"the audio was not read for {self._reader_seconds:g} s", reason="READER_SLOW") from None


def _output_format(opening: api.Open, engine_hertz: int) -> OutputFormat:
    """The audio to make. Raises UnsupportedFormat."""
    if not opening.HasField("format"):
        return OutputFormat(Coding.PCM16, engine_hertz)
    coding = CODINGS.get(opening.format.encoding)
    if coding is None or (opening.format.HasField("channels") and opening.format.channels != 1):
        raise UnsupportedFormat(
            "Synthesize makes one channel of ENCODING_PCM16, ENCODING_MULAW, ENCODING_ALAW or ENCODING_WAV",
            violations={"open.format": "PCM16, MULAW, ALAW or WAV, one channel"},
        )
    if opening.format.HasField("sample_rate_hertz"):
        return OutputFormat(coding, opening.format.sample_rate_hertz)
    return OutputFormat(coding, engine_hertz if coding is Coding.WAV else DEFAULT_RAW_HERTZ)


def _voice_message(voice: Voice) -> api.Voice:
    return api.Voice(name=voice.name, languages=voice.languages, gender=voice.gender)


def _mark(mark: Mark, sentence: Sentence, start: float) -> api.Mark:
    """A word of a sentence whose speech begins at ``start`` seconds."""
    word = sentence.text[mark.text_start : mark.text_end]
    return api.Mark(word=word, text_offset=sentence.offset + mark.text_start, time=_duration(start + mark.time))


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
