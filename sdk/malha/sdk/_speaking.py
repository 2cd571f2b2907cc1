"""The client's part that speaks."""

from typing import Any

from malha.sdk import speech
from malha.sdk._connection import Connection
from malha.sdk._stream import EventStream
from malha.sdk.speech import SpeechEncoding, SpeechSettings, SpeechStream, TextSource, make_speech_format


class Speaking:
    """Speech, as it is made or whole."""

    _connection: Connection
    _streams: set[EventStream[Any]]

    def say(
        self,
        text: TextSource,
        *,
        language: str = "",
        voice: str = "",
        encoding: SpeechEncoding = "pcm16",
        sample_rate: int | None = None,
        speed: float | None = None,
        reference_audio: bytes = b"",
        consent_id: str = "",
    ) -> SpeechStream:
        """Speech as it is made: ``async for chunk in malha.say("Bom dia", language="pt-BR")``.

        Args:
            text: The text, or its pieces as they come. Speech starts with the first whole sentence, or clause of a long one.
            language: BCP 47 tag; needed where no voice is given.
            voice: A voice's name (see ``voices``); none: the first that speaks the language.
            encoding: ``pcm16``, ``mulaw``, ``alaw``, ``wav``, ``ogg`` (Opus) or ``mp3``.
            sample_rate: Hz; none: the engine's own, which each chunk tells.
            speed: Times the voice's own pace, 0.5 to 2.
            reference_audio: A WAV file of 6 to 30 s of the voice to clone, where the engine can. Needs ``consent_id``, and no voice.
            consent_id: The record of the consent of whose voice it is.

        The iteration raises the text's own errors and MalhaError.
        """
        settings = _settings(voice, language, encoding, sample_rate, speed, reference_audio, consent_id)
        return SpeechStream(self._connection, settings, text, self._streams)

    def speak(
        self,
        text: TextSource,
        *,
        language: str = "",
        voice: str = "",
        encoding: SpeechEncoding = "pcm16",
        sample_rate: int | None = None,
        speed: float | None = None,
        reference_audio: bytes = b"",
        consent_id: str = "",
        pause_seconds: float = 0.8,
    ) -> SpeechStream:
        """Speech of a text that is being made: ``async for chunk in malha.speak(malha.chat("Qual é o prazo?"), language="pt-BR")``.

        As ``say``, for whom somebody waits: where no more text comes for ``pause_seconds``, what there is is spoken, whole sentence or not.
        """
        settings = _settings(voice, language, encoding, sample_rate, speed, reference_audio, consent_id)
        return SpeechStream(self._connection, settings, text, self._streams, pause_seconds)

    async def synthesize(
        self,
        text: TextSource,
        *,
        language: str = "",
        voice: str = "",
        sample_rate: int | None = None,
        speed: float | None = None,
        reference_audio: bytes = b"",
        consent_id: str = "",
    ) -> speech.Speech:
        """The whole text spoken, as PCM16. The arguments are those of ``say``. Raises MalhaError."""
        stream = self.say(
            text,
            language=language,
            voice=voice,
            sample_rate=sample_rate,
            speed=speed,
            reference_audio=reference_audio,
            consent_id=consent_id,
        )
        async with stream:
            return await speech.gather(stream)


def _settings(
    voice: str, language: str, encoding: str, sample_rate: int | None, speed: float | None, reference_audio: bytes, consent_id: str
) -> SpeechSettings:
    """Raises InvalidRequest."""
    return SpeechSettings(
        voice=voice,
        language=language,
        format=make_speech_format(encoding, sample_rate),
        speed=speed,
        reference_audio=reference_audio,
        consent_id=consent_id,
    )
