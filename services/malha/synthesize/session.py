"""One stream of Synthesize: its text, cut into sentences, spoken by an engine and written in the client's format."""

import asyncio
import contextlib
from collections.abc import Callable
from time import monotonic

from malha.api.synthesize.v1 import synthesize_pb2 as api
from malha.runtime.durations import duration
from malha.runtime.errors import DeadlineExceeded, ResourceExhausted
from malha.runtime.stream import Stream
from malha.synthesize.encoders import Encoders
from malha.synthesize.engine import Mark, SpeechConfig, SynthesizeEngine
from malha.synthesize.output import SpeechWriter
from malha.synthesize.sentences import Sentence, SentenceBuffer
from malha.synthesize.settings import SynthesizeSettings

SynthesizeStream = Stream[api.SynthesizeRequest, api.SynthesizeResponse]


class Pen:
    """Writes a stream's speech; off the event loop where it is compressed."""

    def __init__(self, writer: SpeechWriter, encoders: Encoders | None) -> None:
        self._writer = writer
        self._encoders = encoders

    @property
    def seconds(self) -> float:
        """Length of what was written so far."""
        return self._writer.seconds

    async def header(self) -> bytes:
        return await self._run(self._writer.header)

    async def write(self, pcm: bytes) -> bytes:
        return await self._run(lambda: self._writer.write(pcm))

    async def end_sentence(self) -> bytes:
        return await self._run(self._writer.end_sentence)

    async def finish(self) -> bytes:
        return await self._run(self._writer.finish)

    async def _run(self, work: Callable[[], bytes]) -> bytes:
        return work() if self._encoders is None else await self._encoders.run(work)


class Session:
    """One stream's text and speech."""

    def __init__(
        self, stream: SynthesizeStream, engine: SynthesizeEngine, config: SpeechConfig, pen: Pen, settings: SynthesizeSettings
    ) -> None:
        self._stream = stream
        self._engine = engine
        self._config = config
        self._pen = pen
        self._max_characters = settings.synthesize_max_characters
        self._reader_seconds = settings.synthesize_reader_seconds
        self._sentences = SentenceBuffer(engine.capabilities.max_sentence_characters)
        self._received = 0
        self._spoken = 0
        self._first_began: float | None = None
        self._first_seconds: float | None = None

    async def begin(self) -> None:
        """Send what the format has before the speech."""
        await self._send_audio(await self._pen.header())

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

    async def finish(self) -> None:
        """Speak the rest, and end the audio."""
        await self.flush()
        await self._send_audio(await self._pen.finish())

    def closed(self) -> api.Closed:
        """The stream's figures."""
        first = None if self._first_seconds is None else duration(self._first_seconds)
        return api.Closed(audio=duration(self._pen.seconds), characters=self._spoken, first_audio=first)

    async def _speak(self, sentence: Sentence) -> None:
        if not sentence.text.strip():
            return
        if self._first_began is None:
            self._first_began = monotonic()
        start = self._pen.seconds
        speech = self._engine.speak(self._config, sentence.text)
        async with contextlib.aclosing(speech) as chunks:  # type: ignore[type-var]  # an engine's iterator is an async generator
            async for chunk in chunks:
                for mark in chunk.marks:
                    await self._send(api.SynthesizeResponse(mark=_mark(mark, sentence, start)))
                await self._send_audio(await self._pen.write(chunk.pcm))
                if self._first_seconds is None and self._pen.seconds:
                    self._first_seconds = monotonic() - self._first_began
        await self._send_audio(await self._pen.end_sentence())
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


def _mark(mark: Mark, sentence: Sentence, start: float) -> api.Mark:
    """A word of a sentence whose speech begins at ``start`` seconds."""
    word = sentence.text[mark.text_start : mark.text_end]
    return api.Mark(word=word, text_offset=sentence.offset + mark.text_start, time=duration(start + mark.time))
