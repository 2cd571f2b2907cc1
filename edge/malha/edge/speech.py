"""``POST /api/v1/tts``: text in, speech out as it is made, chunk by chunk."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from malha.api.common.v1 import media_pb2
from malha.api.synthesize.v1 import synthesize_pb2 as api
from malha.edge.bodies import json_body
from malha.edge.calls import Bidi, bearer, metadata, synthesize_call
from malha.edge.errors import InvalidField, ServiceAway
from malha.edge.fields import Fields
from malha.edge.messages import MAX_INT32
from malha.edge.settings import EdgeSettings
from malha.runtime.errors import DeadlineExceeded, MalhaError, ResourceExhausted
from malha.runtime.mesh import Mesh

FORMATS = {
    "wav": media_pb2.ENCODING_WAV,
    "pcm": media_pb2.ENCODING_PCM16,
    "ogg": media_pb2.ENCODING_OGG,
    "mp3": media_pb2.ENCODING_MP3,
    "mulaw": media_pb2.ENCODING_MULAW,
    "alaw": media_pb2.ENCODING_ALAW,
}
MEDIA_TYPES = {
    media_pb2.ENCODING_WAV: "audio/wav",
    media_pb2.ENCODING_PCM16: "audio/pcm;rate={rate}",
    media_pb2.ENCODING_OGG: "audio/ogg; codecs=opus",
    media_pb2.ENCODING_MP3: "audio/mpeg",
    media_pb2.ENCODING_MULAW: "audio/PCMU;rate={rate}",
    media_pb2.ENCODING_ALAW: "audio/PCMA;rate={rate}",
}
PIECE_CHARACTERS = 4000
"""Most of one `Text` message."""
FIRST_SECONDS = 30.0
NEXT_SECONDS = 60.0


class Speech:
    """Speaks one text a request."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh) -> None:
        self._settings = settings
        self._mesh = mesh

    async def speak(self, request: Request) -> Response:
        """The endpoint. Its status is decided by the first audio."""
        identity = metadata(bearer(request.headers.get("authorization", "")))
        requests = spoken(Fields(await json_body(request, self._settings.max_body_bytes)))
        speaking = _Speaking(synthesize_call(self._mesh.channel("synthesize"), identity), requests)
        try:
            opened, first = await speaking.begin()
        except BaseException:
            await speaking.close()
            raise
        media_type = MEDIA_TYPES.get(opened.format.encoding, "application/octet-stream").format(rate=opened.format.sample_rate_hertz)
        return StreamingResponse(speaking.audio(first), media_type=media_type)


def spoken(fields: Fields) -> list[api.SynthesizeRequest]:
    """The requests of a whole stream. Raises InvalidField."""
    text = fields.text("text")
    if not text.strip():
        raise InvalidField("text", "is required")
    audio = media_pb2.AudioFormat(
        encoding=fields.choice("format", FORMATS) or media_pb2.ENCODING_WAV, sample_rate_hertz=fields.integer("sample_rate", 1, MAX_INT32)
    )
    opening = api.Open(voice=fields.text("voice"), language=fields.text("language"), format=audio, speed=fields.number("speed"))
    unknown = fields.unknown()
    if unknown:
        raise InvalidField(
            unknown[0], f"is not known: there are text, language, voice, format ({', '.join(FORMATS)}), speed and sample_rate"
        )
    pieces = [text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS)]
    texts = [api.SynthesizeRequest(text=api.Text(text=piece)) for piece in pieces]
    return [api.SynthesizeRequest(open=opening), *texts, api.SynthesizeRequest(finish=api.Finish())]


class _Speaking:
    """A stream of Synthesize: a task sends the text while the audio is read."""

    def __init__(self, call: Bidi, requests: list[api.SynthesizeRequest]) -> None:
        self._call = call
        self._characters = sum(len(request.text.text) for request in requests)
        self._sender = asyncio.create_task(self._send(requests), name="edge-speech")

    async def begin(self) -> tuple[api.Opened, bytes]:
        """What was opened, and the first audio; empty audio if the text has nothing to speak."""
        opened = api.Opened()
        while (event := await self._next(FIRST_SECONDS)) is not None:
            kind = event.WhichOneof("event")
            if kind == "opened":
                opened = event.opened
                self._check(opened.max_characters)
            elif kind == "audio":
                return opened, event.audio.content
            elif kind == "closed":
                return opened, b""
        raise ServiceAway("the service ended the speech without a word: try again")

    def _check(self, most: int) -> None:
        """Raises ResourceExhausted for a text of which the end would not be spoken: told later, it could only cut the audio short."""
        if 0 < most < self._characters:
            raise ResourceExhausted(
                f"a text may have {most:,} characters, this one has {self._characters:,}: send it in parts",
                reason="TEXT_TOO_LONG",
                quota="stream_characters",
            )

    async def audio(self, first: bytes) -> AsyncIterator[bytes]:
        """The audio from the first piece on. What goes wrong now can only cut the answer short."""
        try:
            yield first
            while (event := await self._next(NEXT_SECONDS)) is not None:
                if event.HasField("audio"):
                    yield event.audio.content
        finally:
            await self.close()

    async def close(self) -> None:
        self._sender.cancel()
        self._call.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)

    async def _next(self, seconds: float) -> Any | None:
        try:
            async with asyncio.timeout(seconds):
                return await self._call.read()
        except TimeoutError:
            raise DeadlineExceeded(f"no speech came for {seconds:g} s", reason="SPEECH_TIMEOUT") from None

    async def _send(self, requests: list[api.SynthesizeRequest]) -> None:
        opening, *others = requests
        with contextlib.suppress(MalhaError):  # the reader tells it
            await self._call.open(opening)
            for request in others:
                if not await self._call.write(request.SerializeToString()):
                    return
