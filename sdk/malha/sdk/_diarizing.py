"""The client's part that tells speakers apart, and knows who they are."""

import asyncio
import os
from pathlib import Path
from typing import Any

from malha.sdk import diarization as labels
from malha.sdk._connection import Connection
from malha.sdk._format import make_format
from malha.sdk._source import AudioInput, AudioSource, is_whole
from malha.sdk._stream import EventStream
from malha.sdk._wav import MOST_WAV_BYTES, is_wav, read_wav, wav_of
from malha.sdk.diarization import Diarization, DiarizationSettings, DiarizationStream, EnrolledSpeaker
from malha.sdk.errors import InvalidRequest

_PIECE_BYTES = 262_144


class Diarizing:
    """Who spoke when, and enrolled speakers."""

    _connection: Connection
    _streams: set[EventStream[Any]]

    def diarize_live(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        channels: int = 1,
        max_speakers: int | None = None,
        identify: bool = False,
    ) -> DiarizationStream:
        """Turns as they are heard: ``async for event in malha.diarize_live(microphone())``; Turn and SpeakerMatch events.

        Args:
            audio: PCM16 in chunks of any size as they come, or all of it.
            sample_rate: Hz, 8,000 to 48,000. Default 16,000.
            channels: 1, or 2 interleaved: then each is a speaker.
            max_speakers: At most so many; none: as many as are found.
            identify: Whether to compare them with the enrolled.

        Raises InvalidRequest; the iteration raises the audio's own errors and MalhaError.
        """
        wanted = make_format("pcm16", sample_rate, channels)
        settings = DiarizationSettings(format=wanted, max_speakers=max_speakers, identify=identify, background=False)
        return DiarizationStream(self._connection, settings, AudioInput(audio, _PIECE_BYTES), self._streams)

    async def diarize(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        channels: int = 1,
        max_speakers: int | None = None,
        identify: bool = False,
    ) -> Diarization:
        """Who spoke when in a recording: a WAV file (its path, its bytes), or PCM16 with its ``sample_rate`` and ``channels``.

        The other arguments are those of ``diarize_live``. Raises InvalidRequest, OSError where a file cannot be read, and MalhaError.
        """
        if is_whole(audio):
            content = await _content(audio)
            pcm, sample_rate, channels = read_wav(content) if is_wav(content) else (content, sample_rate, channels)
            audio = pcm
        wanted = make_format("pcm16", sample_rate, channels)
        settings = DiarizationSettings(format=wanted, max_speakers=max_speakers, identify=identify, background=True)
        async with DiarizationStream(self._connection, settings, AudioInput(audio, _PIECE_BYTES), self._streams) as stream:
            return await labels.gather(stream)

    async def enroll(
        self, speaker_id: str, audio: AudioSource, *, consent_id: str, customer_id: str = "", sample_rate: int = 16_000
    ) -> EnrolledSpeaker:
        """Have the server know a voice, or know it anew. Needs a record of the speaker's consent.

        Args:
            speaker_id: Who it is: an operator's number, no name.
            audio: 6 to 60 s of that speaker alone: a WAV file (its path, its bytes), or PCM16 of one channel.
            consent_id: The record of the consent, by the id it has with you.
            customer_id: The customer whose voice it is, and is erased with; empty: an operator's.
            sample_rate: Of PCM16.

        Raises InvalidRequest (``reason``: TOO_SHORT, TOO_LONG, NO_SPEECH, SEVERAL_VOICES), OSError, and MalhaError.
        """
        content = await _content(audio)
        wav = content if is_wav(content) else wav_of(content, sample_rate)
        if len(wav) > MOST_WAV_BYTES:
            raise InvalidRequest(f"the audio is over {MOST_WAV_BYTES:,} bytes: send 6 to 60 s of one speaker", reason="TOO_LONG")
        return await labels.enroll(self._connection, speaker_id, wav, consent_id, customer_id)

    async def speakers(self) -> tuple[EnrolledSpeaker, ...]:
        """All enrolled speakers, by id. Raises MalhaError."""
        return await labels.speakers(self._connection)

    async def delete_speaker(self, speaker_id: str) -> None:
        """Forget a speaker: the consent is withdrawn. Raises NotFound, MalhaError."""
        await labels.delete_speaker(self._connection, speaker_id)


async def _content(audio: AudioSource) -> bytes:
    """All of it. Raises OSError where a file cannot be read."""
    if isinstance(audio, bytes | bytearray | memoryview):
        return bytes(audio)
    if isinstance(audio, str | os.PathLike):
        return await asyncio.to_thread(Path(audio).read_bytes)
    async with AudioInput(audio, _PIECE_BYTES).chunks() as chunks:
        return b"".join([chunk async for chunk in chunks])
