"""SynthesizeService: the contract's messages to what an engine takes, and back. What one stream does lies in `session`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import grpc

from malha.api.common.v1 import media_pb2
from malha.api.synthesize.v1 import synthesize_pb2 as api
from malha.runtime.auth import Principal
from malha.runtime.errors import InvalidArgument, UnsupportedFormat, UnsupportedLanguage
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.store.database import Database
from malha.synthesize.consent import ConsentBook, Use
from malha.synthesize.encoders import Encoders
from malha.synthesize.engine import Clone, SpeechConfig, SynthesizeEngine, Voice
from malha.synthesize.output import RATES, Coding, OutputFormat, SpeechWriter
from malha.synthesize.reference import cannot_clone, read_reference
from malha.synthesize.session import Pen, Session, SynthesizeStream
from malha.synthesize.settings import SynthesizeSettings
from malha.synthesize.voices import ReferenceVoices

DEFAULT_RAW_HERTZ: Final = 16_000
DEFAULT_COMPRESSED_HERTZ: Final = 24_000
CODINGS: Final = {
    media_pb2.ENCODING_PCM16: Coding.PCM16,
    media_pb2.ENCODING_MULAW: Coding.MULAW,
    media_pb2.ENCODING_ALAW: Coding.ALAW,
    media_pb2.ENCODING_WAV: Coding.WAV,
    media_pb2.ENCODING_OGG: Coding.OGG,
    media_pb2.ENCODING_MP3: Coding.MP3,
}


class SynthesizeService:
    """Serves one engine."""

    name = "malha.api.synthesize.v1.SynthesizeService"

    def __init__(
        self,
        engine: SynthesizeEngine,
        settings: SynthesizeSettings,
        database: Database | None = None,
        diarize: Callable[[], grpc.aio.Channel] | None = None,
    ) -> None:
        """``database``: where the audit lies, without which no voice is cloned; whoever made it closes it. ``diarize``: who hears whether a
        reference is of one person, if anybody.
        """
        self._engine = engine
        self._settings = settings
        self._consents = ConsentBook(database)
        self._voices = ReferenceVoices(diarize)
        self._encoders = Encoders()

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
        self._encoders.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {"Synthesize": StreamMethod(self.synthesize), "ListVoices": UnaryMethod(self.list_voices)}

    async def synthesize(self, stream: SynthesizeStream) -> None:
        """Speak one stream's text. Sentences are spoken one after the other, and text is read as they are done."""
        opening, can = stream.opening.open, self._engine.capabilities
        output = _output_format(opening, can.sample_rate_hertz)
        clone = await self._clone(opening, stream.principal) if opening.reference_audio else None
        voice = clone.voice if clone is not None else self._engine.choose_voice(opening.voice, opening.language)
        await stream.send(api.SynthesizeResponse(opened=self._opened(voice, output)))
        speed = opening.speed if opening.HasField("speed") else 1.0
        timbre = None if clone is None else clone.timbre
        config = SpeechConfig(stream.principal.tenant, voice.name, opening.language, speed, timbre)
        pen = Pen(SpeechWriter(output, can.sample_rate_hertz), self._encoders if output.compressed else None)
        session = Session(stream, self._engine, config, pen, self._settings)
        await session.begin()
        async for request in stream:
            if request.WhichOneof("request") == "text":
                await session.add(request.text.text)
            else:
                await session.flush()
        await session.finish()
        await stream.send(api.SynthesizeResponse(closed=session.closed()))

    async def list_voices(self, request: api.ListVoicesRequest, principal: Principal) -> api.ListVoicesResponse:
        """The voices: all by name, or those that speak a language, the one it chooses first and then those of its region."""
        del principal
        voices: Iterable[Voice] = sorted(self._engine.capabilities.voices, key=lambda voice: voice.name)
        if request.language and self._engine.capabilities.voices:
            try:
                chosen = self._engine.choose_voice("", request.language)
            except UnsupportedLanguage:
                return api.ListVoicesResponse()
            tag = request.language.lower()
            able = (voice for voice in voices if voice.languages == chosen.languages or tag in map(str.lower, voice.languages))
            voices = sorted(able, key=lambda voice: (voice != chosen, voice.languages != chosen.languages))
        return api.ListVoicesResponse(voices=map(_voice_message, voices))

    async def _clone(self, opening: api.Open, principal: Principal) -> Clone:
        """The voice of the reference, whose use the audit tells of. Raises FailedPrecondition and InvalidArgument."""
        can = self._engine.capabilities
        if not can.cloning:
            raise cannot_clone(can.name)
        if opening.voice:
            raise InvalidArgument(
                "a voice and a reference to clone one from were given: leave `voice` or `reference_audio` out",
                reason="VOICE_AMBIGUOUS",
                violations={"open.voice": "excludes reference_audio"},
            )
        self._consents.check(opening.consent_id, principal)
        reference = await self._encoders.run(read_reference, opening.reference_audio)
        one_voice = await self._voices.check(reference)
        clone = await self._engine.clone(principal.tenant, reference, opening.language)
        use = Use(reference, can.name, can.model, one_voice_checked=one_voice)
        await self._consents.record(opening.consent_id, principal, use)
        return clone

    def _opened(self, voice: Voice, output: OutputFormat) -> api.Opened:
        can = self._engine.capabilities
        encoding = next(encoding for encoding, coding in CODINGS.items() if coding is output.coding)
        return api.Opened(
            engine=media_pb2.Engine(name=can.name, version=can.version, model=can.model),
            voice=_voice_message(voice),
            format=media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=output.sample_rate_hertz, channels=1),
            licence=can.licence,
            max_characters=self._settings.synthesize_max_characters,
        )


def _output_format(opening: api.Open, engine_hertz: int) -> OutputFormat:
    """The audio to make. Raises UnsupportedFormat."""
    if not opening.HasField("format"):
        return OutputFormat(Coding.PCM16, engine_hertz)
    coding = CODINGS.get(opening.format.encoding)
    if coding is None or (opening.format.HasField("channels") and opening.format.channels != 1):
        names = [media_pb2.Encoding.Name(encoding) for encoding in CODINGS]
        raise UnsupportedFormat(
            f"Synthesize makes one channel of {', '.join(names[:-1])} or {names[-1]}",
            violations={"open.format": "PCM16, MULAW, ALAW, WAV, OGG or MP3, one channel"},
        )
    if not opening.format.HasField("sample_rate_hertz"):
        return OutputFormat(coding, _default_hertz(coding, engine_hertz))
    rate = opening.format.sample_rate_hertz
    if rate not in RATES.get(coding, (rate,)):
        known = ", ".join(f"{known:,}" for known in RATES[coding])
        raise UnsupportedFormat(f"{coding.value} has no {rate:,} Hz: it has {known}", violations={"open.format.sample_rate_hertz": known})
    return OutputFormat(coding, rate)


def _default_hertz(coding: Coding, engine_hertz: int) -> int:
    """The engine's own where the format tells a player the rate, else the contract's."""
    if coding in RATES:
        return engine_hertz if engine_hertz in RATES[coding] else DEFAULT_COMPRESSED_HERTZ
    return engine_hertz if coding is Coding.WAV else DEFAULT_RAW_HERTZ


def _voice_message(voice: Voice) -> api.Voice:
    return api.Voice(name=voice.name, languages=voice.languages, gender=voice.gender)
